// What the page knows, and what the person chose. D is the data as Python wrote it; see reports/html/data.py.

let D = null;
const state = {
  shown: [],        // places of the lines that pass the filters, in the order of the table
  order: [],        // of all lines, as sorted
  sort: { key: '', down: false },
  open: null,       // the row whose details are shown
  seed: null,       // of that row
  picks: [],        // rows to compare, two at most
  comparing: false,
  hidden: new Set(),  // names of the legend that the charts leave out
  theme: 'auto',
};
const columnAt = {};  // place of a column by its key
let firstFocus = null;  // what had the focus before the panel opened

/** The text of an element that holds gzip in base64; the element gives its memory back. */
const inflate = async (id) => {
  const holder = $(id);
  const raw = Uint8Array.from(atob(holder.textContent), (letter) => letter.charCodeAt(0));
  holder.remove();
  return new Response(new Blob([raw]).stream().pipeThrough(new DecompressionStream('gzip'))).text();
};

const number = (line, key) => (key in columnAt ? line.numbers[columnAt[key]] : null);
const rowOf = (line) => D.rows[line.row];
const several = () => D.lines.some((line) => line.seed === null);

/** A value in its column's unit, as the table writes it. */
const inUnit = (value, column) => {
  if (!known(value)) return MISSING;
  if (column.factor === 100) return (100 * value).toFixed(2);
  if (column.unit === '') return exact(value);
  return rounded(value * column.factor) + (column.unit === '×' ? '×' : '');
};

/** The lines of a row that stand for it: means where there are several seeds, one a runtime. */
const linesOf = (row) => {
  const own = D.lines.filter((line) => line.row === row);
  const means = own.filter((line) => line.seed === null);
  return means.length ? means : own;
};

const casesOf = (row) => D.cases.filter((one) => one.row === row);

/** The dense network's case of the same place and seed. */
const denseOf = (one) => D.cases.find((other) => {
  const row = D.rows[other.row];
  const same = row.place === D.rows[one.row].place && other.seed === one.seed;
  return same && row.chain === 'dense' && other.status === 'ok';
});

/** What Python computed of rows i and j: i less j. Null where they have no seed in common, or are of two networks. */
const differenceOf = (i, j) => {
  for (const place of D.differences.places) {
    let [a, b] = [place.rows.indexOf(i), place.rows.indexOf(j)];
    if (a < 0 || b < 0 || a === b) continue;
    const turned = a > b;
    if (turned) [a, b] = [b, a];
    const n = place.rows.length;
    const at = a * n - (a * (a + 1)) / 2 + (b - a - 1);
    if (place.gap[at] === null) return null;
    const sign = turned ? -1 : 1;
    const [low, high] = [place.low[at] * sign, place.high[at] * sign];
    return {
      gap: place.gap[at] * sign, low: Math.min(low, high), high: Math.max(low, high), side: place.side[at] * sign || 0,
      how: D.differences.how[place.how[at]], p: place.p[at], apart: place.apart[at], tests: place.tests,
    };
  }
  return null;
};

/** The colours of the theme that is shown, or of the light one for paper. */
const colours = () => {
  const styles = getComputedStyle(document.documentElement);
  const of = (name) => styles.getPropertyValue(name).trim();
  return {
    of, text: of('--text'), muted: of('--muted'), line: of('--line'), surface: of('--surface'), accent: of('--accent'),
  };
};

const later = (act, milliseconds) => {
  let waiting = null;
  return () => {
    clearTimeout(waiting);
    waiting = setTimeout(act, milliseconds);
  };
};
