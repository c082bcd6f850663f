// The panel of one row: its command, where its bytes are, how it was trained, which kernels ran and how fast.

const closePanel = () => {
  if ($('panel').hidden) return;
  $('panel').hidden = true;
  $('panel').replaceChildren();
  document.body.classList.remove('with-panel');
  state.open = null;
  state.comparing = false;
  drawTray();
  markRows();
  drawCharts();
  if (firstFocus?.isConnected) firstFocus.focus();
  firstFocus = null;
};

/** Fills the panel and moves the focus there. */
const showPanel = (...parts) => {
  const panel = $('panel');
  if (panel.hidden) firstFocus = document.activeElement;
  const opened = panel.hidden;
  panel.hidden = false;
  document.body.classList.add('with-panel');
  panel.replaceChildren(...parts);
  panel.scrollTop = 0;
  $('panel-head').focus({ preventScroll: true });
  markRows();
  if (opened) setTimeout(drawCharts);  // they have less room now
  else drawCharts();
};

const panelHead = (kind, text, ...buttons) => el('header', {},
  el('div', { class: 'panel-bar' }, el('span', { class: 'kind' }, kind), ...buttons,
    el('button', { type: 'button', class: 'quiet', id: 'close', 'aria-label': 'Close', click: closePanel }, '✕')),
  el('h2', { id: 'panel-head', tabindex: -1 }, text));

const openRow = (row, seed) => {
  state.open = row;
  state.comparing = false;
  drawTray();
  const cases = casesOf(row);
  const one = cases.find((found) => found.seed === seed) ?? cases.find((found) => found.status === 'ok') ?? cases[0];
  state.seed = one.seed;
  showPanel(...detailParts(D.rows[row], row, one, cases));
  drawTraining($('training-plot'), [one]);
};

const detailParts = (row, at, one, cases) => {
  const picked = () => String(state.picks.includes(at));
  const toggle = (event) => {
    pick(at);
    event.currentTarget?.setAttribute('aria-pressed', picked());
  };
  const button = el('button', {
    type: 'button', class: 'quiet', id: 'pick-open', 'aria-pressed': picked(), click: toggle,
  }, 'Compare');
  const seeds = cases.length > 1 ? el('div', { class: 'seeds', role: 'group', 'aria-label': 'Seed' },
    'Seed', cases.map((found) => el('button', { type: 'button', class: 'quiet', 'aria-pressed': String(found === one),
      click: () => openRow(at, found.seed) }, String(found.seed)))) : '';
  return [
    panelHead('Row', breakable(row.label), button),
    el('p', { class: 'meta' }, [D.places[row.place], row.control].filter(Boolean).join(' · ')),
    one.status === 'ok' ? '' : el('p', { class: 'bad' }, `${one.status}: ${one.reason}`),
    seeds, numbersOf(at, one),
    el('nav', { 'aria-label': 'Parts of this panel' }, ['Command', 'Bytes', 'Training', 'Kernels'].map((name) => (
      el('a', { href: `#part-${name.toLowerCase()}` }, name)))),
    section('Command', commandOf(row), settingsOf(row, one)),
    section('Bytes', ledgerSection(one)),
    section('Training', trainingSection(one)),
    section('Kernels', kernelsSection(one)),
  ].filter(Boolean);
};

const section = (name, ...parts) => el('section', { id: `part-${name.toLowerCase()}` }, el('h3', {}, name), ...parts);

const commandOf = (row) => (row.command ? commandBox(row.command)
  : el('p', { class: 'empty' }, 'The command of this run is not known.'));

const settingsOf = (row, one) => el('dl', { class: 'facts' },
  row.chain === row.label ? [] : [el('dt', {}, 'all settings'), el('dd', {}, el('code', {}, row.chain))],
  one.file ? [el('dt', {}, 'file'), el('dd', {}, el('code', {}, one.file))] : [],
  one.sha256 ? [el('dt', {}, 'SHA-256'), el('dd', {}, el('code', {}, one.sha256))] : [],
  one.notes.map((note) => [el('dt', {}, 'note'), el('dd', {}, note)]));

/** The main numbers: of this seed, in the first runtime that scored it. */
const numbersOf = (row, one) => {
  const line = D.lines.find((found) => found.case === one.id && known(number(found, 'accuracy')))
    ?? D.lines.find((found) => found.case === one.id);
  const keys = ['accuracy', 'accuracy_drop', 'file_bytes', 'compression_ratio', 'latency_ms_b1', 'speedup_b1',
    'peak_memory_bytes'];
  const shown = keys.filter((key) => line && known(number(line, key)));
  return el('dl', { class: 'numbers' }, shown.map((key) => {
    const column = D.columns[columnAt[key]];
    const bar = key === 'accuracy' && line.bars.accuracy;
    return el('div', {}, el('dt', {}, column.head), el('dd', {}, inUnit(number(line, key), column),
      column.unit === '×' ? '' : el('small', {}, ` ${column.unit}`),
      bar ? el('small', { class: 'range' }, `${(100 * bar[0]).toFixed(1)}–${(100 * bar[1]).toFixed(1)}`) : ''));
  }));
};

const trainingSection = (one) => {
  const parts = [];
  if (one.training) parts.push(el('div', { id: 'training-plot', class: 'plot small' }));
  else parts.push(el('p', { class: 'empty' }, 'This row was not trained.'));
  if (one.steps) {
    const heads = ['Stage', 'Step', 'Zero or gone', 'Before fine-tuning', 'After'];
    const percent = (value) => el('td', {}, known(value) ? `${(100 * value).toFixed(2)} %` : MISSING);
    parts.push(tableOf('Steps', heads, one.steps.map(([stage, step, steps, ...shares]) => el('tr', {},
      el('th', { scope: 'row' }, D.texts[stage]), el('td', {}, `${step} of ${steps}`), shares.map(percent)))));
  }
  return el('div', {}, parts);
};

/** Accuracy and loss by epoch of one case, or of two beside each other. */
const drawTraining = (plot, cases) => {
  if (!plot || typeof Plotly === 'undefined') return;
  const theme = colours();
  const traces = cases.flatMap((one, index) => {
    if (!one.training) return [];
    const { training } = one;
    const letter = cases.length > 1 ? `${'AB'[index]}: ` : '';
    const x = training.epoch.map((_, at) => at + 1);
    const stageOf = (stage) => plain(wrapped(D.texts[stage], 46, 2).join(' '));
    const text = training.stage.map((stage, at) => `${stageOf(stage)}, epoch ${training.epoch[at]}`);
    const colour = (at) => theme.of(`--family-${cases.length > 1 ? index : at}`);
    const width = cases.length > 1 && index === 0 ? 4 : 1.8;  // the first shows under a second that goes the same way
    const line = (name, y, at, more) => ({
      type: 'scatter', mode: x.length > 1 ? 'lines' : 'markers', name: letter + name, x, y, text,
      hovertemplate: `%{text}<br>${letter}${name} %{y:.4~g}<extra></extra>`, ...more,
      line: { color: colour(at), width, dash: more.dash },
    });
    return [
      line('validation', training.validation.map((value) => 100 * value), 0, { dash: 'solid' }),
      line('training', training.train.map((value) => 100 * value), 4, { dash: 'dot' }),
      line('loss', training.loss, 1, { yaxis: 'y2', dash: cases.length > 1 ? 'dash' : 'solid' }),
    ];
  });
  const axis = (title, domain) => ({ title: { text: title, font: { size: 11 } }, domain, gridcolor: theme.line,
    zeroline: false, tickfont: { size: 10, color: theme.muted }, automargin: true, nticks: 5 });
  Plotly.react(plot, traces, {
    font: { family: 'system-ui, sans-serif', size: 11, color: theme.text }, paper_bgcolor: 'rgba(0,0,0,0)',
    plot_bgcolor: 'rgba(0,0,0,0)', margin: { l: 44, r: 8, t: 4, b: 36 }, autosize: true, showlegend: true,
    legend: { orientation: 'h', y: -0.16, x: 0 }, hovermode: 'closest', dragmode: false,
    xaxis: { ...axis('epoch of this row\'s own training'), anchor: 'y2', dtick: null },
    yaxis: axis('accuracy, %', [0.42, 1]), yaxis2: axis('loss', [0, 0.34]),
    hoverlabel: { bgcolor: theme.surface, bordercolor: theme.line, font: { color: theme.text } },
  }, { displayModeBar: false, responsive: true });
};

const logits = (off) => (off < 0.001 ? 'less than 0.001' : rounded(off, 2));

const kernelsSection = (one) => {
  if (!one.runtimes.length) return el('p', { class: 'empty' }, 'It ran in no runtime.');
  return el('div', {}, one.runtimes.map((result) => el('div', { class: 'runtime' },
    el('h4', {}, result.name),
    result.status === 'ok' ? '' : el('p', { class: 'bad' }, `${result.status}: ${result.reason}`),
    el('p', { class: 'meta' }, [
      known(result.agreement) ? `predicts as the reference on ${(100 * result.agreement).toFixed(2)} % of images` : '',
      known(result.logit_error) ? `logits off by ${logits(result.logit_error)} standard deviations` : '',
      ...result.notes.map((note) => D.texts[note]),
    ].filter(Boolean).join(' · ')),
    kernelTable(result), timingTable(result),
    (result.why ?? []).map(([batch, why]) => el('p', { class: 'why' },
      el('b', {}, `Why not as fast as promised, batch ${batch}: `), D.texts[why])))));
};

const kernelTable = (result) => (result.counts.length
  ? tableOf(`Kernels in ${result.name}`, ['Kernel', 'Precision', 'Calls a pass'],
    result.counts.map(([precision, kernel, calls]) => el('tr', {}, el('th', { scope: 'row' }, D.texts[kernel]),
      el('td', {}, D.texts[precision]), el('td', {}, exact(calls)))))
  : el('p', {}, D.texts[result.kernels]));

const timingTable = (result) => (result.timings.length
  ? tableOf(`Measurements in ${result.name}`, ['Measured', 'Median (quartiles)', 'Dense beside it', 'n'],
    result.timings.map(([quantity, batch, samples, own, dense, protocol]) => el('tr', { title: D.texts[protocol] },
      el('th', { scope: 'row' }, D.texts[quantity] + (batch === null ? '' : ` b${batch}`)),
      el('td', {}, D.texts[own]), el('td', {}, dense === null ? MISSING : D.texts[dense]),
      el('td', {}, exact(samples)))))
  : '');
