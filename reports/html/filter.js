// Which lines are shown: by words, network, runtime, kind, status, seeds, accuracy and size.

const valueOf = (id) => ($(id) ? $(id).value.trim() : '');

/** What can be found of a line: of a control what it is, not which rows it is a control of. */
const wordsOf = (line) => {
  const row = rowOf(line);
  const control = row.control.split(': of ')[0];
  return `${row.label} ${row.chain} ${control} ${D.places[row.place]} ${line.runtime} ${line.status} ${line.reason}`
    .toLowerCase();
};

const wanted = () => {
  const find = valueOf('find').toLowerCase().split(/\s+/).filter(Boolean);
  const [place, runtime, kind, status] = ['place', 'runtime', 'kind', 'status'].map(valueOf);
  const least = valueOf('least') === '' ? null : Number(valueOf('least')) / 100;
  const file = D.columns[columnAt.file_bytes];
  const most = valueOf('most') === '' || !file ? null : Number(valueOf('most')) / file.factor;
  const each = valueOf('seeds') === 'each' || !several();
  return (line, words) => {
    const row = rowOf(line);
    if ((line.seed === null) === each) return false;
    if (place !== '' && row.place !== Number(place)) return false;
    if (runtime !== '' && line.runtime !== runtime) return false;
    if (kind !== '' && (row.role === 'asked') !== (kind === 'asked')) return false;
    if (status !== '' && (line.status === 'ok') !== (status === 'ok')) return false;
    if (least !== null && !(number(line, 'accuracy') >= least)) return false;
    const bytes = number(line, 'file_bytes');
    if (most !== null && !(known(bytes) && bytes <= most * (1 + 1e-12))) return false;
    return find.every((word) => words.includes(word));
  };
};

/** Hides and shows the lines of the table, and says how many there are. */
const filter = () => {
  const passes = wanted();
  const each = valueOf('seeds') === 'each' || !several();
  const shown = new Set(D.lines.map((line, at) => (passes(line, D.words[at]) ? at : -1)).filter((at) => at >= 0));
  state.shown = state.order.filter((at) => shown.has(at));
  for (const row of $('table').tBodies[0].rows) row.hidden = !shown.has(Number(row.dataset.line));
  const all = D.lines.filter((line) => (line.seed === null) !== each).length;
  $('count').textContent = shown.size === all ? `${all} lines` : `${shown.size} of ${all} lines`;
  $('table').classList.toggle('none', shown.size === 0);
};

const startFilters = (changed) => {
  D.words = D.lines.map(wordsOf);
  const form = $('filters');
  form.addEventListener('submit', (event) => event.preventDefault());
  form.addEventListener('input', () => { filter(); changed(); });
  form.addEventListener('reset', () => setTimeout(() => { filter(); changed(); }));
};
