// Puts the page together: data first, so that the table works at once, then the charts.

const THEMES = ['auto', 'light', 'dark'];

const applyTheme = () => {
  const root = document.documentElement;
  if (state.theme === 'auto') delete root.dataset.theme;
  else root.dataset.theme = state.theme;
  $('theme').textContent = `Theme: ${state.theme}`;
};

/** Draws everything that has colours of its own again. */
const redraw = () => {
  drawCharts();
  const open = state.open === null ? [] : casesOf(state.open).filter((one) => one.seed === state.seed);
  drawTraining($('training-plot'), state.comparing ? state.picks.map(firstCase) : open);
};

const startTheme = () => {
  try {
    const kept = localStorage.getItem('report-theme');
    state.theme = THEMES.includes(kept) ? kept : 'auto';
  } catch { /* a browser that keeps nothing for files */ }
  applyTheme();
  $('theme').addEventListener('click', () => {
    state.theme = THEMES[(THEMES.indexOf(state.theme) + 1) % THEMES.length];
    try { localStorage.setItem('report-theme', state.theme); } catch { /* as above */ }
    applyTheme();
    redraw();
  });
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', redraw);
  matchMedia('(max-width: 640px)').addEventListener('change', redraw);
  addEventListener('beforeprint', () => {
    document.documentElement.dataset.paper = '';
    for (const details of document.querySelectorAll('details.prose')) details.open = true;
    redraw();
  });
  addEventListener('afterprint', () => {
    delete document.documentElement.dataset.paper;
    setTimeout(redraw);  // once the screen is as wide again
  });
};

/** Keys that work everywhere but in a field: / finds, C compares, Escape closes. */
const startKeys = () => addEventListener('keydown', (event) => {
  const typing = event.target.closest?.('input:not([type=checkbox]), select, textarea');
  if (event.key === 'Escape') closePanel();
  else if (!typing && !event.ctrlKey && !event.metaKey && !event.altKey) {
    if (event.key === '/') {
      event.preventDefault();
      $('find').focus();
    } else if (event.key === 'c' && state.picks.length === 2) compare();
  }
});

const start = async () => {
  startTheme();
  D = JSON.parse(await inflate('data'));
  D.columns.forEach((column, at) => { columnAt[column.key] = at; });
  const methods = D.rows.filter((row) => row.role === 'asked' && row.chain !== 'dense');
  D.families = [...new Set(methods.map((row) => row.family))].sort();
  startTable();
  startFilters(later(drawCharts, 120));
  order();
  filter();
  startKeys();
  if (narrow()) for (const details of document.querySelectorAll('details.prose')) details.open = false;
  for (const button of document.querySelectorAll('[data-copy]')) {
    button.addEventListener('click', () => copy(button, button.parentElement.querySelector('code').textContent));
  }
  document.documentElement.classList.add('ready');
  startCharts();
  await new Promise((resolve) => { setTimeout(resolve, 30); });  // lets the table show before a large script is read
  document.head.append(el('script', {}, await inflate('library')));
  drawCharts();
  document.documentElement.classList.add('drawn');
};

document.documentElement.classList.add('js');
start().catch((error) => {
  $('charts').prepend(el('p', { class: 'bad' }, `This browser cannot show charts and details: ${error.message}`));
  throw error;
});
