// Sorting, picking and opening lines of the table that the page came with.

/** What a line is sorted by: a number or a text; null where it has none, which always comes last. */
const sortValue = (line, key) => {
  const row = rowOf(line);
  const texts = {
    label: row.label, place: D.places[row.place], runtime: line.runtime, mark: line.mark,
    seed: line.seed === null ? null : line.seed,
  };
  const value = key in texts ? texts[key] : number(line, key);
  return value === '' || value === undefined ? null : value;
};

const compareValues = (first, second) => (
  typeof first === 'string' ? first.localeCompare(second, 'en', { numeric: true }) : first - second);

/** Orders the lines by a column: best first, then the other way round, then as they were. */
const sortBy = (key) => {
  const column = D.columns[columnAt[key]];
  const bestIsHigh = column ? column.better === 'high' : false;
  if (state.sort.key !== key) state.sort = { key, down: bestIsHigh };
  else if (state.sort.down === bestIsHigh) state.sort = { key, down: !bestIsHigh };
  else state.sort = { key: '', down: false };
  order();
};

const order = () => {
  const { key, down } = state.sort;
  const places = D.lines.map((_, at) => at);
  if (key) {
    const values = D.lines.map((line) => sortValue(line, key));
    places.sort((a, b) => {
      if (values[a] === null || values[b] === null) return (values[a] === null) - (values[b] === null) || a - b;
      return (down ? -1 : 1) * compareValues(values[a], values[b]) || a - b;
    });
  }
  state.order = places;
  const body = $('table').tBodies[0];
  body.append(...places.map((at) => D.trs[at]));
  for (const head of $('table').tHead.rows[0].cells) {
    if (head.dataset.key === key && key) head.setAttribute('aria-sort', down ? 'descending' : 'ascending');
    else head.removeAttribute('aria-sort');
  }
  const shown = new Set(state.shown);
  state.shown = places.filter((at) => shown.has(at));
};

/** Marks the lines of the rows that are open or picked. */
const markRows = () => {
  D.lines.forEach((line, at) => {
    const picked = state.picks.indexOf(line.row);
    D.trs[at].classList.toggle('opened', !state.comparing && line.row === state.open);
    D.trs[at].classList.toggle('picked', picked >= 0);
    D.trs[at].querySelector('.pick').checked = picked >= 0;
  });
};

/** Moves the focus to the same control of the line above or below. */
const step = (event) => {
  const move = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  const kind = ['open', 'pick'].find((name) => event.target.classList.contains(name));
  if (!move || !kind) return;
  const at = state.shown.indexOf(Number(event.target.closest('tr').dataset.line)) + move;
  if (at < 0 || at >= state.shown.length) return;
  event.preventDefault();
  D.trs[state.shown[at]].querySelector(`.${kind}`).focus();
};

const startTable = () => {
  D.trs = [];
  for (const row of $('table').tBodies[0].rows) D.trs[Number(row.dataset.line)] = row;
  $('table').tHead.addEventListener('click', (event) => {
    const head = event.target.closest('th');
    if (head) {
      sortBy(head.dataset.key);
      drawCharts();
    }
  });
  const body = $('table').tBodies[0];
  body.addEventListener('keydown', step);
  body.addEventListener('change', (event) => pick(D.lines[Number(event.target.closest('tr').dataset.line)].row));
  body.addEventListener('click', (event) => {
    if (event.target.closest('.pick') || String(getSelection())) return;
    const line = D.lines[Number(event.target.closest('tr').dataset.line)];
    openRow(line.row, line.seed);
  });
  $('all').addEventListener('click', () => {
    const all = $('table').classList.toggle('all');
    $('all').setAttribute('aria-pressed', String(all));
  });
};
