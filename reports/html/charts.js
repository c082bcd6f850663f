// Two charts for each network and data set: any quantity against any other, with intervals and the Pareto front.

// what the charts show at first: of the quantities across the first that was measured, against accuracy
const STARTS = [['file_bytes', 'parameters'], ['latency_share_b1', 'latency_ms_b1', 'latency_ms_b32', 'macs']];
const CROWD = 60;  // points of a chart: with more, intervals are drawn only where they are asked for
const charts = [];
let runtimeOfCharts = null;

const narrow = () => matchMedia('(max-width: 640px)').matches;

/** Pixels of a chart: on paper two beside each other, on screen as wide as there is room. */
const paper = () => 'paper' in document.documentElement.dataset;
const sizeOf = () => (paper() ? { width: 478, height: 300 } : { autosize: true });

const axisOf = (column, theme) => ({
  type: column.log ? 'log' : 'linear',
  title: { text: plain(column.head + (column.unit ? `, ${column.unit}` : '')), font: { size: 12 }, standoff: 8 },
  gridcolor: theme.line, zeroline: false, linecolor: theme.line, tickcolor: theme.line, ticks: 'outside', ticklen: 4,
  tickfont: { size: 11, color: theme.muted }, automargin: true, nticks: narrow() ? 5 : 8, exponentformat: 'none',
  ...(column.log ? { minor: { showgrid: false } } : {}),
});

const tickText = (tick) => Number(tick.toPrecision(2)).toLocaleString('en-US', { maximumFractionDigits: 9 });

/** Ticks of a logarithmic axis at 1, 2, 5 of each decade, or evenly where less than a decade is shown. */
const logTicks = (values) => {
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const room = Math.max(1.15, (high / low) ** 0.06);
  const range = [Math.log10(low / room), Math.log10(high * room)];
  const decades = range[1] - range[0];
  const fine = [1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8];
  const steps = decades > 4 ? [1] : decades > 2 ? [1, 3] : decades > 0.7 ? [1, 2, 5] : fine;
  const ticks = [];
  for (let power = Math.floor(range[0]); power <= Math.ceil(range[1]); power += 1) {
    for (const step of steps) ticks.push(step * 10 ** power);
  }
  const inside = ticks.filter((tick) => Math.log10(tick) >= range[0] && Math.log10(tick) <= range[1]);
  if (inside.length < 3) return { range };
  return { range, tickmode: 'array', tickvals: inside, ticktext: inside.map(tickText) };
};

const barsOf = (points, key, column) => {
  const bars = points.map((one) => one.line.bars[key]);
  if (!bars.some(Boolean)) return null;
  const side = (which) => points.map((one, at) => {
    const bar = bars[at];
    const value = which ? one.y : one.x;
    if (!bar) return { plus: 0, minus: 0 };
    return { plus: (bar[1] - value) * column.factor, minus: (value - bar[0]) * column.factor };
  });
  const found = side(column.up);
  const [array, arrayminus] = ['plus', 'minus'].map((name) => found.map((one) => one[name]));
  return { type: 'data', symmetric: false, array, arrayminus };
};

const traceOf = (look, points, x, y, intervals, theme) => {
  const bar = (key, column) => intervals && barsOf(points, key, column);
  const colour = theme.of(look.ink);
  const style = { color: colour, thickness: 1, width: 3 };
  const edge = look.rank === 1000 ? { width: 1.5, color: colour } : { width: 0.5, color: 'rgba(128,128,128,0.4)' };
  const [across, up] = [bar(x.key, { ...x, up: false }), bar(y.key, { ...y, up: true })];
  return {
    type: 'scatter', mode: 'markers', name: plain(look.name), x: points.map((one) => one.x * x.factor),
    y: points.map((one) => one.y * y.factor), customdata: points.map((one) => one.at), text: points.map(hoverOf),
    hovertemplate: '%{text}<extra></extra>',
    marker: { color: colour, symbol: look.symbol, size: look.size, opacity: 0.9, line: edge },
    ...(across ? { error_x: { ...across, ...style } } : {}), ...(up ? { error_y: { ...up, ...style } } : {}),
  };
};

/** The front as a line, and rings around what is open or picked. */
const overlays = (points, x, y, theme) => {
  const front = frontOf(points, x, y);
  const made = [{
    type: 'scatter', mode: 'lines', name: 'Pareto front', x: front.map((one) => one.x * x.factor),
    y: front.map((one) => one.y * y.factor), hoverinfo: 'skip', line: { color: theme.muted, width: 1.2, dash: 'dash' },
  }];
  const rings = points.filter((one) => one.line.row === state.open || state.picks.includes(one.line.row));
  if (rings.length) {
    const letter = (one) => ['A', 'B'][state.picks.indexOf(one.line.row)] ?? '';
    made.push({
      type: 'scatter', mode: 'markers+text', name: 'chosen', showlegend: false, hoverinfo: 'skip',
      x: rings.map((one) => one.x * x.factor), y: rings.map((one) => one.y * y.factor), text: rings.map(letter),
      textposition: 'top right', textfont: { size: 14, color: theme.accent, weight: 700 },
      marker: { symbol: 'circle-open', size: 20, color: theme.accent, line: { width: 2.5 } },
    });
  }
  return [made, front];
};

/** The range of a vertical axis that shows the front and as much again below it; null where that leaves out nothing. */
const nearFront = (points, front, y) => {
  const values = (of) => of.map((one) => one.y * y.factor);
  const [best, all] = [values(front), values(points)];
  const [low, high] = [Math.min(...best), Math.max(...best)];
  const room = Math.max(high - low, 0.02 * Math.abs(high));
  const range = y.better === 'high' ? [low - room, high + 0.5 * room] : [low - 0.5 * room, high + room];
  const outside = all.filter((value) => value < range[0] || value > range[1]).length;
  return outside && !y.log ? { range, outside } : null;
};

const drawChart = (chart) => {
  const theme = colours();
  const [x, y] = [chart.x, chart.y].map((key) => D.columns[columnAt[key]]);
  const points = pointsOf(chart.place, runtimeOfCharts, x.key, y.key);
  chart.points = [...points].sort((a, b) => a.x - b.x || a.y - b.y);
  chart.empty.hidden = points.length > 0;
  chart.plot.hidden = points.length === 0;
  if (!points.length) return;
  const groups = new Map();
  for (const one of points) {
    const look = lookOf(one.row);
    if (!groups.has(look.name)) groups.set(look.name, { look, points: [] });
    groups.get(look.name).points.push(one);
  }
  const sorted = [...groups.values()].sort((a, b) => b.look.rank - a.look.rank);
  const intervals = $('intervals') ? $('intervals').checked : points.length <= CROWD;
  const [over, front] = overlays(points, x, y, theme);
  chart.front = front.map((one) => one.at);
  const traces = [...over, ...sorted.map((one) => traceOf(one.look, one.points, x, y, intervals, theme))];
  const values = (column, key) => points.map((one) => one[key] * column.factor);
  const axis = (column, key) => ({ ...axisOf(column, theme), ...(column.log ? logTicks(values(column, key)) : {}) });
  const near = $('near').checked ? nearFront(points, front, y) : null;
  chart.left.textContent = near ? `${near.outside} of ${points.length} points lie outside` : '';
  const dense = points.find((one) => one.row.chain === 'dense');
  const layout = {
    font: { family: 'system-ui, sans-serif', size: 12, color: theme.text }, paper_bgcolor: 'rgba(0,0,0,0)',
    plot_bgcolor: 'rgba(0,0,0,0)', margin: { l: 52, r: 12, t: 8, b: 44 }, ...sizeOf(),
    hovermode: 'closest', dragmode: matchMedia('(pointer: coarse)').matches ? false : 'zoom',
    xaxis: axis(x, 'x'), yaxis: { ...axis(y, 'y'), ...(near ? { range: near.range } : {}) }, showlegend: false,
    modebar: { bgcolor: 'rgba(0,0,0,0)', color: theme.muted, activecolor: theme.accent },
    hoverlabel: {
      bgcolor: theme.surface, bordercolor: theme.line, font: { color: theme.text, size: 12 }, align: 'left',
    },
    shapes: dense && y.key === 'accuracy' ? [{
      type: 'line', xref: 'paper', x0: 0, x1: 1, y0: dense.y * y.factor, y1: dense.y * y.factor, layer: 'below',
      line: { color: theme.of('--dense'), width: 1, dash: 'dot' },
    }] : [],
  };
  Plotly.react(chart.plot, traces, layout, {
    displaylogo: false, responsive: true, displayModeBar: 'hover', modeBarButtons: [['resetScale2d', 'toImage']],
  });
  chart.plot.setAttribute('aria-label', `${y.head} against ${x.head}, ${points.length} points, ${front.length} on the `
    + 'Pareto front. Arrow keys go from point to point, Enter opens one, C picks it to be compared.');
  if (!chart.wired) wire(chart);
};

/** Pointer and keys of a chart that is drawn. */
const wire = (chart) => {
  chart.wired = true;
  chart.plot.on('plotly_click', (event) => {
    const at = event.points[0]?.customdata;
    if (at === undefined) return;
    const line = D.lines[at];
    if (event.event?.shiftKey) pick(line.row);
    else openRow(line.row, line.seed);
  });
  chart.plot.addEventListener('keydown', (event) => {
    const move = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1, Home: -Infinity, End: Infinity }[event.key];
    const count = chart.points.length;
    if (move && count) {
      event.preventDefault();
      const next = (chart.focus ?? (move > 1 ? 0 : -move)) + move;
      chart.focus = Math.min(count - 1, Math.max(0, next));
      pointAt(chart);
    } else if (chart.focus !== null && event.key === 'Enter') {
      const { line } = chart.points[chart.focus];
      openRow(line.row, line.seed);
    } else if (chart.focus !== null && event.key.toLowerCase() === 'c' && !event.ctrlKey && !event.metaKey) {
      event.stopPropagation();
      pick(chart.points[chart.focus].line.row);
    }
  });
};

/** Shows and says what the point with the focus is. */
const pointAt = (chart) => {
  const one = chart.points[chart.focus];
  const curveNumber = chart.plot.data.findIndex((trace) => trace.customdata?.includes(one.at));
  const pointNumber = chart.plot.data[curveNumber].customdata.indexOf(one.at);
  Plotly.Fx.hover(chart.plot, [{ curveNumber, pointNumber }]);
  const values = [chart.y, chart.x].map((key) => {
    const column = D.columns[columnAt[key]];
    return `${column.head} ${inUnit(number(one.line, key), column)} ${column.unit}`;
  });
  const front = chart.front.includes(one.at) ? ', on the front' : '';
  chart.said.textContent = `${one.row.label}: ${values.join(', ')}${front}`;
};

const choiceOf = (label, options, value, changed) => el('label', {}, label,
  el('select', { change: (event) => changed(event.target.value) },
    options.map(([key, text]) => el('option', { value: key, selected: key === value }, text))));

const makeChart = (place, [x, y]) => {
  const chart = { place, x, y, focus: null, points: [], front: [] };
  const options = axes().map((column) => [column.key, column.head + (column.unit ? `, ${column.unit}` : '')]);
  chart.plot = el('div', { class: 'plot', tabindex: 0, role: 'application', 'aria-roledescription': 'chart' });
  chart.empty = el('p', { class: 'empty', hidden: true }, 'No line that is shown has both quantities.');
  chart.left = el('p', { class: 'hint' });
  chart.said = el('p', { class: 'hidden', 'aria-live': 'polite' });
  const choose = (axis) => (key) => { chart[axis] = key; chart.focus = null; drawChart(chart); };
  chart.figure = el('figure', {},
    el('figcaption', {}, choiceOf('', options, y, choose('y')), el('span', {}, 'against'),
      choiceOf('', options, x, choose('x'))),
    chart.plot, chart.empty, chart.left, chart.said);
  const [up, across] = chart.figure.querySelectorAll('select');
  up.setAttribute('aria-label', 'Quantity of the vertical axis');
  across.setAttribute('aria-label', 'Quantity of the horizontal axis');
  charts.push(chart);
  return chart.figure;
};

/** Draws what is visible: charts of networks that the filters leave out are hidden. */
const drawCharts = () => {
  if (typeof Plotly === 'undefined') return;
  const place = valueOf('place');
  for (const section of document.querySelectorAll('#charts > .set')) {
    section.hidden = place !== '' && section.dataset.place !== place;
  }
  const runtime = valueOf('runtime');
  if (runtime && $('chart-runtime')) $('chart-runtime').value = runtime;
  runtimeOfCharts = $('chart-runtime') ? $('chart-runtime').value : '';
  for (const chart of charts) if (place === '' || chart.place === Number(place)) drawChart(chart);
};

const startCharts = () => {
  const runtimes = [...new Set(D.lines.map((line) => line.runtime).filter(Boolean))];
  const keys = new Set(axes().map((column) => column.key));
  const starts = STARTS.map((across) => [across.find((key) => keys.has(key)), 'accuracy'])
    .filter((pair) => pair.every((key) => keys.has(key)));
  if (!starts.length) {
    $('charts').append(el('p', { class: 'empty' }, 'Nothing was measured that a chart could show.'));
    return;
  }
  const most = Math.max(...D.places.map((_, place) => D.rows.filter((row) => row.place === place).length));
  const bar = el('div', { class: 'bar' }, el('h2', {}, 'Charts'));
  if (runtimes.length > 1) {
    bar.append(choiceOf('Runtime', runtimes.map((name) => [name, name]), runtimes[0], drawCharts));
    bar.querySelector('select').id = 'chart-runtime';
  }
  const intervals = el('input', { type: 'checkbox', id: 'intervals', checked: most <= CROWD, change: drawCharts });
  const near = el('input', { type: 'checkbox', id: 'near', change: drawCharts });
  bar.append(el('label', { class: 'check' }, intervals, 'Intervals'),
    el('label', { class: 'check' }, near, 'Only near the front'), el('p', { class: 'hint' },
    'Click a point for its command, bytes, training and kernels; Shift-click to compare. Dashed: Pareto front.'));
  $('charts').append(bar, legend());
  D.places.forEach((name, place) => {
    $('charts').append(el('div', { class: 'set', 'data-place': place },
      D.places.length > 1 ? el('h3', {}, name) : '',
      el('div', { class: 'pair' }, starts.map((pair) => makeChart(place, pair)))));
  });
};
