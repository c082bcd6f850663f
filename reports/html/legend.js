// The legend of all charts: a button for each kind of row, which hides and shows its points.

const SVG = 'http://www.w3.org/2000/svg';
const PLUS = [[-2, -6], [2, -6], [2, -2], [6, -2], [6, 2], [2, 2], [2, 6], [-2, 6], [-2, 2], [-6, 2], [-6, -2],
  [-2, -2]];
const turned = (corners, angle) => corners.map(([x, y]) => [
  x * Math.cos(angle) - y * Math.sin(angle), x * Math.sin(angle) + y * Math.cos(angle)]);
const polygon = (count, radius = () => 6.5) => Array.from({ length: count }, (_, at) => {
  const angle = (2 * Math.PI * at) / count - Math.PI / 2;
  return [radius(at) * Math.cos(angle), radius(at) * Math.sin(angle)];
});
const UP = [[0, -6], [6, 5], [-6, 5]];
const CORNERS = {
  square: [[-5, -5], [5, -5], [5, 5], [-5, 5]], diamond: polygon(4), cross: PLUS, x: turned(PLUS, Math.PI / 4),
  'triangle-up': UP, 'triangle-down': turned(UP, Math.PI), 'triangle-left': turned(UP, -Math.PI / 2),
  'triangle-right': turned(UP, Math.PI / 2), pentagon: polygon(5), hexagon: polygon(6),
  star: polygon(10, (at) => (at % 2 ? 2.9 : 7.5)),
};

/** A symbol as the charts draw it. */
const symbolOf = (look) => {
  const shape = look.symbol.replace('-open', '');
  const open = shape !== look.symbol;
  const made = document.createElementNS(SVG, 'svg');
  made.setAttribute('viewBox', '-8 -8 16 16');
  made.setAttribute('aria-hidden', 'true');
  const drawn = document.createElementNS(SVG, shape === 'circle' ? 'circle' : 'polygon');
  if (shape === 'circle') drawn.setAttribute('r', '5.5');
  else drawn.setAttribute('points', CORNERS[shape].flat().map((side) => side.toFixed(2)).join(' '));
  const ink = `var(${look.ink})`;
  drawn.setAttribute('style', open ? `fill:none;stroke:${ink};stroke-width:1.5` : `fill:${ink}`);
  made.append(drawn);
  return made;
};

const toggleName = (event, name) => {
  const hidden = !state.hidden.delete(name);
  if (hidden) state.hidden.add(name);
  event.currentTarget.setAttribute('aria-pressed', String(!hidden));
  drawCharts();
};

/** A button a kind of row, in the order of the table's methods, controls last. */
const legend = () => {
  const looks = new Map();
  for (const row of D.rows) {
    const look = lookOf(row);
    looks.set(look.name, look);
  }
  const sorted = [...looks.values()].sort((a, b) => a.rank - b.rank);
  return el('div', { class: 'names', role: 'group', 'aria-label': 'Kinds of rows in the charts' },
    sorted.map((look) => el('button', {
      type: 'button', class: 'name', 'aria-pressed': 'true', title: 'Hide or show in the charts',
      click: (event) => toggleName(event, look.name),
    }, symbolOf(look), look.name)));
};
