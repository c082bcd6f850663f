// The points of one chart: which lines, where, in which look, and which of them no other beats.

const FAMILY_SYMBOLS = ['circle', 'square', 'triangle-up', 'diamond', 'triangle-down', 'cross', 'x', 'triangle-left',
  'triangle-right', 'pentagon', 'hexagon'];
const FAMILY_COLOURS = 6;
const ROLE_SYMBOLS = {
  longer: 'triangle-down-open', small: 'circle-open', random: 'x-open', half: 'hexagon-open', xz: 'cross-open',
  untaught: 'diamond-open', part: 'square-open', order: 'triangle-up-open',
};
const ROLE_NAMES = {
  longer: 'dense, trained longer', small: 'small dense', random: 'random pruning', half: '16 bits', xz: 'xz',
  untaught: 'without teacher', part: 'part of a chain', order: 'another order',
};

/** Columns that can be an axis. */
const axes = () => D.columns.filter((column) => column.better !== '');

/** The lines of a place and runtime that have both quantities, with where they are. */
const pointsOf = (place, runtime, x, y) => {
  const [across, up] = [D.columns[columnAt[x]], D.columns[columnAt[y]]];
  const found = [];
  for (const at of [...state.shown].sort((a, b) => a - b)) {
    const line = D.lines[at];
    const [a, b] = [number(line, x), number(line, y)];
    if (rowOf(line).place !== place || (runtime !== '' && line.runtime !== runtime)) continue;
    if (state.hidden.has(lookOf(rowOf(line)).name)) continue;
    if (!known(a) || !known(b) || (across.log && a <= 0) || (up.log && b <= 0)) continue;
    found.push({ at, line, row: rowOf(line), x: a, y: b });
  }
  return found;
};

/** Of points those that no other beats at a cost as low, in rising cost; as reports.statistics.pareto_front. */
const paretoFront = (points, x, y) => {
  const cost = (one) => (x.better === 'low' ? one.x : -one.x);
  const value = (one) => (y.better === 'high' ? one.y : -one.y);
  const sorted = points.map((one, at) => [one, at])
    .sort(([a, i], [b, j]) => cost(a) - cost(b) || value(b) - value(a) || i - j);
  const front = [];
  for (const [one] of sorted) if (!front.length || value(one) > value(front.at(-1))) front.push(one);
  return front;
};

/** The front of what was asked for, and of the controls that beat a method on it; as reports.panels. */
const frontOf = (points, x, y) => {
  const asked = paretoFront(points.filter((one) => one.row.role === 'asked'), x, y);
  const better = (a, b, of) => (of.better === 'low' ? a <= b : a >= b);
  const beats = (one, other) => better(one.x, other.x, x) && better(one.y, other.y, y)
    && (one.x !== other.x || one.y !== other.y);
  const methods = asked.filter((one) => one.row.chain !== 'dense');
  const controls = points.filter((one) => one.row.role !== 'asked' && methods.some((other) => beats(one, other)));
  return paretoFront([...asked, ...controls], x, y);
};

/** The name, colour and symbol of the trace that a row belongs to; the colour as a property of the style sheet. */
const lookOf = (row) => {
  if (row.chain === 'dense') return { name: 'dense', ink: '--dense', symbol: 'star', size: 14, rank: -1 };
  if (row.role !== 'asked') {
    return { name: ROLE_NAMES[row.role], ink: '--grey', symbol: ROLE_SYMBOLS[row.role], size: 9, rank: 1000 };
  }
  const at = D.families.indexOf(row.family);
  return {
    name: row.family, ink: `--family-${at % FAMILY_COLOURS}`, symbol: FAMILY_SYMBOLS[at % FAMILY_SYMBOLS.length],
    size: 10, rank: at,
  };
};

/** What a point says when it is pointed at; the chart library reads tags, so labels go through `plain`. */
const hoverOf = (point) => {
  const { line, row } = point;
  const parts = ['accuracy', 'file_bytes', 'latency_ms_b1', 'speedup_b1'].filter((key) => known(number(line, key)))
    .map((key) => {
      const column = D.columns[columnAt[key]];
      const unit = column.unit === '×' ? '' : plain(column.unit);
      return `${plain(column.head)} ${inUnit(number(line, key), column)} ${unit}`;
    });
  const bar = line.bars.accuracy;
  if (bar) parts[0] += ` (${(100 * bar[0]).toFixed(1)}–${(100 * bar[1]).toFixed(1)})`;
  const seed = line.seed === null ? '' : several() ? `, seed ${line.seed}` : '';
  const label = wrapped(row.label, 46).map(plain).join('<br>');
  return `<b>${label}</b><br>${plain(line.runtime + seed)}<br>${parts.join('<br>')}`;
};
