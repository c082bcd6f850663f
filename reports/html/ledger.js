// Where the bytes of a file are: a line a layer, its tensors below, and each part's share as a bar.

/** The layers of a case's ledger in the order of the file: totals and the places of their tensors. */
const layersOf = (one) => {
  if (!one?.ledger) return [];
  const { layer, bytes, parameters, nonzeros, parts } = one.ledger;
  const found = new Map();
  layer.forEach((name, at) => {
    if (!found.has(name)) {
      found.set(name, {
        name: D.texts[name], bytes: 0, parameters: 0, nonzeros: 0, parts: parts.map(() => 0), tensors: [],
      });
    }
    const total = found.get(name);
    total.bytes += bytes[at];
    total.parameters += parameters[at];
    total.nonzeros += nonzeros[at];
    parts.forEach((part, index) => { total.parts[index] += part[at]; });
    total.tensors.push(at);
  });
  return [...found.values()];
};

/** A bar whose length is a share of `most` bytes, split into parts; without parts it is plain. */
const byteBar = (parts, bytes, most) => {
  const known = parts.reduce((sum, part) => sum + part, 0);
  const pieces = known === bytes && bytes ? parts : [bytes];
  return el('span', { class: 'bytes', 'aria-hidden': 'true', style: `width:${(100 * bytes) / Math.max(1, most)}%` },
    pieces.map((part, index) => (part
      ? el('span', { class: `part-${index}`, style: `flex-grow:${part}` }) : '')));
};

const legendOf = (layers) => {
  const used = D.parts.map((_, index) => layers.some((layer) => layer.parts[index]));
  return el('ul', { class: 'legend' }, D.parts.map((name, index) => (used[index]
    ? el('li', {}, el('span', { class: `swatch part-${index}` }), name) : '')));
};

const share = (part, whole) => (whole ? `${((100 * part) / whole).toFixed(1)} %` : MISSING);

const bytesCell = (bytes, whole) => el('td', {}, exact(bytes), el('small', {}, ` ${share(bytes, whole)}`));

/** The lines of one layer: its total, and its tensors, which a button shows. */
const layerLines = (layer, one, most, before) => {
  const { ledger } = one;
  const rows = layer.tensors.map((at) => el('tr', { class: 'tensor', hidden: true },
    el('td', { class: 'text' }, [D.texts[ledger.tensor[at]], D.texts[ledger.shape[at]]].filter(Boolean).join(' ')),
    el('td', { class: 'text' }, D.texts[ledger.codec[at]]),
    bytesCell(ledger.bytes[at], one.bytes),
    before ? el('td') : '', el('td', {}, exact(ledger.parameters[at])),
    el('td', {}, ledger.parameters[at] ? share(ledger.nonzeros[at], ledger.parameters[at]) : MISSING)));
  const toggle = (event) => {
    const shown = event.currentTarget.getAttribute('aria-expanded') === 'true';
    event.currentTarget.setAttribute('aria-expanded', String(!shown));
    for (const row of rows) row.hidden = shown;
  };
  const dense = before?.get(layer.name);
  const single = layer.tensors.length === 1 ? D.texts[ledger.codec[layer.tensors[0]]] : '';
  const name = layer.tensors.length > 1
    ? el('button', { type: 'button', class: 'fold', 'aria-expanded': 'false', click: toggle }, layer.name)
    : layer.name;
  return [el('tr', {},
    el('th', { scope: 'row' }, name),
    el('td', { class: 'bar-cell' }, byteBar(layer.parts, layer.bytes, most), single ? el('small', {}, single) : ''),
    bytesCell(layer.bytes, one.bytes),
    before ? el('td', {}, dense && layer.bytes ? `${rounded(dense / layer.bytes)}×` : MISSING) : '',
    el('td', {}, exact(layer.parameters)),
    el('td', {}, layer.parameters ? share(layer.nonzeros, layer.parameters) : MISSING)), ...rows];
};

/** The section about a case's bytes. */
const ledgerSection = (one) => {
  const layers = layersOf(one);
  if (!layers.length) return el('p', { class: 'empty' }, 'No file was written, so there is no ledger.');
  const most = Math.max(...layers.map((layer) => layer.bytes));
  const dense = denseOf(one);
  const before = dense && dense !== one && dense.ledger
    ? new Map(layersOf(dense).map((layer) => [layer.name, layer.bytes])) : null;
  const total = (name) => exact(layers.reduce((sum, layer) => sum + layer[name], 0));
  const heads = ['Layer', 'Bytes by part', 'Bytes', ...(before ? ['Compression'] : []), 'Parameters', 'Not zero'];
  return el('div', {},
    legendOf(layers),
    tableOf('Bytes of each layer', heads, layers.flatMap((layer) => layerLines(layer, one, most, before)),
      el('tr', {}, el('th', { scope: 'row' }, 'File'), el('td'), el('td', {}, total('bytes')),
        before ? el('td', {}, `${rounded(dense.bytes / one.bytes)}×`) : '',
        el('td', {}, total('parameters')), el('td'))),
    D.whole ? '' : el('p', { class: 'hint' }, 'This run has very many tensors: here each layer is one line, and '
      + 'of many layers only the largest are named. Every tensor is in ledger.csv.'));
};
