// Elements and texts. Text from records only ever becomes a text node, an attribute, or goes through `plain`.

const $ = (id) => document.getElementById(id);

/** An element with attributes (a function is a listener, `true` an empty attribute); no child is read as markup. */
const el = (name, attributes = {}, ...children) => {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (typeof value === 'function') made.addEventListener(key, value);
    else if (value === true) made.setAttribute(key, '');
    else if (value !== false && value !== null && value !== undefined) made.setAttribute(key, value);
  }
  made.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== ''));
  return made;
};

/** Text for the chart library, which reads a few tags in texts. */
const plain = (text) => text.replace(/&/g, '&amp;').replace(/</g, '&lt;').replace(/>/g, '&gt;');

/** Lines of at most `width` characters, broken where a setting or a method ends if one does. */
const wrapped = (text, width, most = 6) => {
  const lines = [];
  let rest = text;
  while (rest.length > width && lines.length < most - 1) {
    const cut = Math.max(...[':', '+', ',', ' '].map((sign) => rest.lastIndexOf(sign, width - 1)));
    const end = cut > width / 3 ? cut + 1 : width;
    lines.push(rest.slice(0, end));
    rest = rest.slice(end);
  }
  return [...lines, rest.length > width ? `${rest.slice(0, width - 1)}…` : rest];
};

const MISSING = '–';
const known = (value) => typeof value === 'number' && Number.isFinite(value);

/** As Python writes `value:.{places}e`: of two decimals that are as near, the even one. */
const exponential = (value, places) => {
  const text = value.toExponential(places);
  const [digits] = value.toExponential(Math.min(100, places + 60)).split('e');
  const [kept, rest] = [digits.replace('-', '').replace('.', '').slice(0, places + 1),
    digits.replace('-', '').replace('.', '').slice(places + 1)];
  const even = Number(kept.at(-1)) % 2 === 0;
  if (!/^50*$/.test(rest) || !even) return text;
  const [, power] = value.toExponential(Math.min(100, places + 60)).split('e');
  const mantissa = places ? `${kept[0]}.${kept.slice(1)}` : kept;
  return `${value < 0 ? '-' : ''}${mantissa}e${power}`;
};

/** `digits` significant digits with separators, as `reports.cells.rounded`: 3.14, 31.4, 3,140. */
const rounded = (value, digits = 3) => {
  if (!known(value)) return MISSING;
  const number = Number(exponential(value, digits - 1));
  if (number === 0) return '0';
  const places = Math.min(12, Math.max(0, digits - 1 - Math.floor(Math.log10(Math.abs(number)))));
  return number.toLocaleString('en-US', { minimumFractionDigits: places, maximumFractionDigits: places });
};

const exact = (value) => (known(value) ? Math.round(value).toLocaleString('en-US') : MISSING);

const bytesText = (value) => {
  if (!known(value)) return MISSING;
  const units = [['GB', 1e9], ['MB', 1e6], ['kB', 1e3]];
  const [unit, size] = units.find(([, least]) => value >= least) ?? ['B', 1];
  return `${rounded(value / size)} ${unit}`;
};

/** Hundredths of a point as points with their sign: +0.52. */
const points = (hundredths) => `${hundredths < 0 ? '-' : '+'}${(Math.abs(hundredths) / 100).toFixed(2)}`;

/** A p-value as it is read: three digits, or that it is below a millionth. */
const chance = (p) => (p < 1e-6 ? 'below 0.000001' : `= ${p >= 0.9995 ? '1' : rounded(p, 2)}`);

/** What a button that copies `text` does: says for a moment that it did. */
const copy = async (button, text) => {
  const before = button.textContent;
  try {
    await navigator.clipboard.writeText(text);
    button.textContent = 'Copied';
  } catch {
    const range = document.createRange();  // no clipboard here: the text is marked instead
    range.selectNodeContents(button.parentElement.querySelector('code'));
    getSelection().removeAllRanges();
    getSelection().addRange(range);
    button.textContent = 'Marked';
  }
  setTimeout(() => { button.textContent = before; }, 1500);
};

/** A table in a box of its own that scrolls: heads, lines, and a last line for totals. */
const tableOf = (name, heads, lines, foot = null) => el('div', {
  class: 'scroll', tabindex: 0, role: 'region', 'aria-label': name,
}, el('table', {}, el('thead', {}, el('tr', {}, heads.map((head) => el('th', { scope: 'col' }, head)))),
  el('tbody', {}, lines), foot ? el('tfoot', {}, foot) : ''));

/** A command in a box with a button that copies it. */
const commandBox = (text) => el('div', { class: 'copied' },
  el('pre', { tabindex: 0 }, el('code', {}, text)),
  el('button', { type: 'button', class: 'quiet', click: (event) => copy(event.currentTarget, text) }, 'Copy'));

/** Text that may be broken where a setting or a method ends. */
const breakable = (text) => text.split(/(?<=[:+,/])/).flatMap((part, at) => (at ? [el('wbr'), part] : [part]));

/** A label as a stretch of code. */
const labelOf = (row) => el('code', { class: 'label' }, breakable(row.label));
