// Two rows side by side: what they differ by, with the interval and the test that Python computed.

/** Picks a row to be compared, or puts it back; of three the one that was picked first goes. */
const pick = (row) => {
  state.picks = state.picks.includes(row) ? state.picks.filter((one) => one !== row) : [...state.picks, row].slice(-2);
  drawTray();
  markRows();
  if (state.comparing) {
    if (state.picks.length === 2) compare();
    else closePanel();
  } else drawCharts();
};

const drawTray = () => {
  const tray = $('tray');
  tray.hidden = state.picks.length === 0 || state.comparing;
  const button = el('button', {
    type: 'button', class: 'main', id: 'compare', disabled: state.picks.length < 2, click: compare,
  }, 'Compare');
  const chip = (row, at) => el('span', { class: 'chip' }, el('b', {}, 'AB'[at]), el('code', {}, D.rows[row].label),
    el('button', {
      type: 'button', class: 'quiet', 'aria-label': `Put ${D.rows[row].label} back`, click: () => pick(row),
    }, '✕'));
  tray.replaceChildren(...state.picks.map(chip),
    state.picks.length < 2 ? el('span', { class: 'hint' }, 'pick one more row') : '', button);
};

const compare = () => {
  if (state.picks.length < 2) return;
  const rows = state.picks;
  state.comparing = true;
  state.open = null;
  const runtimes = [...new Set(linesOf(rows[0]).map((line) => line.runtime))]
    .filter((name) => linesOf(rows[1]).some((line) => line.runtime === name));
  const runtime = runtimes.find((name) => name && name === runtimeOfCharts) ?? runtimes.find(Boolean) ?? '';
  showPanel(...compareParts(rows, runtimes, runtime));
  drawTray();
  drawTraining($('training-plot'), rows.map(firstCase));
};

const firstCase = (row) => casesOf(row).find((one) => one.status === 'ok') ?? casesOf(row)[0];

const compareParts = (rows, runtimes, runtime) => {
  const turn = () => {
    state.picks.reverse();
    compare();
  };
  const swap = el('button', { type: 'button', class: 'quiet', id: 'swap', click: turn }, 'Swap');
  const box = el('div', { id: 'quantities' }, quantities(rows, runtime));
  const choice = runtimes.length > 1 ? choiceOf('Runtime', runtimes.map((name) => [name, name || 'none']), runtime,
    (name) => box.replaceChildren(quantities(rows, name))) : '';
  return [
    panelHead('Compare', 'A against B', swap),
    el('ol', { class: 'sides' }, rows.map((row, at) => el('li', {}, el('b', {}, 'AB'[at]),
      el('div', {}, labelOf(D.rows[row]), D.places.length > 1 ? el('small', {}, D.places[D.rows[row].place]) : '')))),
    section('Accuracy', accuracyOf(rows)),
    section('Numbers', choice, box),
    section('Bytes', bytesOf(rows)),
    section('Training', rows.some((row) => firstCase(row).training)
      ? el('div', { id: 'training-plot', class: 'plot small' }) : el('p', { class: 'empty' }, 'Neither was trained.')),
    section('Kernels', kernelsOf(rows)),
    section('Commands', rows.map((row, at) => el('div', {}, el('b', {}, 'AB'[at]), commandOf(D.rows[row])))),
  ];
};

/** The paired difference in accuracy in words, with its interval drawn. */
const accuracyOf = (rows) => {
  if (D.rows[rows[0]].place !== D.rows[rows[1]].place) {
    return el('p', { class: 'empty' }, 'They are of different networks or data: their accuracies are not paired.');
  }
  const found = differenceOf(...rows);
  if (!found) return el('p', { class: 'empty' }, 'They have no seed in common that both were measured with.');
  const outside = found.side !== 0;
  const apart = found.apart === null ? outside : Boolean(found.apart);
  const verdict = !apart ? 'They cannot be told apart' : found.gap > 0 ? 'A is more accurate' : 'A is less accurate';
  return el('div', {},
    el('p', { class: 'verdict' }, `${verdict}${found.apart === null ? ', by the interval' : ''}`),
    el('p', { class: 'big' }, points(found.gap), el('small', {}, ' points')),
    intervalBar(found),
    el('p', {}, `A less B, interval ${points(found.low)} to ${points(found.high)} points (${found.how}).`),
    el('p', { class: 'meta' }, testOf(found, outside)));
};

/** The test in words, and why it can say something else than the interval. */
const testOf = (found, outside) => {
  if (found.p === null) return 'Not tested: of so many rows only pairs with the best and with dense are.';
  const start = `Test of equal accuracy: p ${chance(found.p)}`;
  if (found.apart === null) return `${start}, not corrected: the marks do not compare this pair.`;
  const apart = found.apart ? 'told apart' : 'not told apart';
  const end = `${apart} after correction for all ${exact(found.tests)} pairs of the marks.`;
  if (Boolean(found.apart) === outside) return `${start}, ${end}`;
  const why = found.apart
    ? 'The interval knows the spread over the seeds of this pair only, the test that of all pairs.'
    : 'The interval is that of this pair alone, not corrected.';
  return `${start}, ${end} ${why}`;
};

/** The interval on an axis around zero. */
const intervalBar = ({ gap, low, high, side }) => {
  const most = 1.15 * Math.max(Math.abs(low), Math.abs(high), 1);
  const at = (value) => `${(50 + (50 * value) / most).toFixed(2)}%`;
  const kind = { 1: 'better', 0: 'alike', '-1': 'worse' }[side];
  return el('div', { class: `interval ${kind}`, 'aria-hidden': 'true' },
    el('span', { class: 'zero' }), el('span', { class: 'zero-text' }, '0'),
    el('span', { class: 'range', style: `left:${at(low)};right:calc(100% - ${at(high)})` }),
    el('span', { class: 'dot', style: `left:${at(gap)}` }),
    el('span', { class: 'end left' }, 'B better'), el('span', { class: 'end right' }, 'A better'));
};

/** Every quantity that one of them has, and A less B of shares, A / B of amounts. */
const quantities = (rows, runtime) => {
  const lines = rows.map((row) => linesOf(row).find((line) => line.runtime === runtime) ?? linesOf(row)[0]);
  const shown = D.columns.filter((column) => lines.some((line) => known(number(line, column.key))));
  const relation = (column, [a, b]) => {
    if (!known(a) || !known(b)) return MISSING;
    if (column.factor === 100) return `${points(Math.round(Number((100 * (a - b)).toFixed(2)) * 100))} pt`;
    return b > 0 ? `${rounded(a / b)}×` : MISSING;
  };
  return tableOf('Numbers of both rows', ['Quantity', 'A', 'B', 'A − B, A / B'], shown.map((column) => {
    const values = lines.map((line) => number(line, column.key));
    const unit = column.unit && column.unit !== '×' ? `, ${column.unit}` : '';
    const differ = inUnit(values[0], column) !== inUnit(values[1], column);
    const best = column.better && values.every(known) && differ
      ? Number((values[1] < values[0]) === (column.better === 'low')) : -1;
    return el('tr', { 'data-key': column.key }, el('th', { scope: 'row' }, column.head + unit),
      values.map((value, at) => el('td', { class: at === best ? 'best' : '' }, inUnit(value, column))),
      el('td', {}, relation(column, values)));
  }));
};

/** The bytes of each layer of both files. */
const bytesOf = (rows) => {
  const cases = rows.map(firstCase);
  const both = cases.map((one) => layersOf(one));
  if (!both.some((layers) => layers.length)) return el('p', { class: 'empty' }, 'Neither left a file.');
  const names = [...new Set(both.flatMap((layers) => layers.map((layer) => layer.name)))];
  const most = Math.max(...both.flat().map((layer) => layer.bytes));
  const found = both.map((layers) => new Map(layers.map((layer) => [layer.name, layer])));
  const seeds = cases.map((one) => one.seed);
  return el('div', {}, legendOf(both.flat()),
    tableOf('Bytes of each layer', ['Layer', 'Bytes by part', 'A', 'B'], names.map((name) => el('tr', {},
      el('th', { scope: 'row' }, name),
      el('td', { class: 'bar-cell' }, found.map((layers) => {
        const layer = layers.get(name);
        return el('span', { class: 'lane' }, layer ? byteBar(layer.parts, layer.bytes, most) : '');
      })),
      found.map((layers) => el('td', {}, layers.has(name) ? exact(layers.get(name).bytes) : MISSING))))),
    several() ? el('p', { class: 'hint' }, `A of seed ${seeds[0]}, B of seed ${seeds[1]}.`) : '');
};

const kernelsOf = (rows) => el('div', {}, rows.map((row, at) => el('div', { class: 'runtime' },
  el('h4', {}, 'AB'[at]), el('ul', {}, firstCase(row).runtimes.map((result) => el('li', {},
    el('b', {}, `${result.name}: `), D.texts[result.kernels] || result.reason || 'not recorded'))))));
