/** The HTML report: that nothing can break out of it, that it needs no network, and that its plots hold what was measured. */
import t from 'tap';
import { axisLabel, barChart, lineChart, niceStep } from '../../bench/report/charts.ts';
import { escapeText, html, Markup } from '../../bench/report/markup.ts';
import { page, section, table, tiles } from '../../bench/report/page.ts';
import { barText } from '../../bench/progress.ts';

const EVIL = `</script><img src=x onerror=alert(1)>"'\`&\u0000`;

t.test('whatever is put into a template is escaped, in text and in attributes', async (t) => {
  const { text } = html`<p title="${EVIL}">${EVIL}</p>`;
  t.notMatch(text, /<img|<\/script/);
  t.equal(text.match(/"/g)?.length, 2, 'the attribute is still one');
  t.notMatch(text, /\u0000/);
  t.equal(escapeText('<&>"\'`'), '&lt;&amp;&gt;&quot;&#39;&#96;');
  t.equal(html`${['<', new Markup('<br>'), 5]}`.text, '&lt;<br>5');
});

t.test('a page holds hostile names in every place, and fetches nothing', async (t) => {
  const chart = { title: EVIL, yUnit: EVIL, series: [{ name: EVIL, points: [[0, 1]] as const }] };
  const text = page(EVIL, EVIL, [
    tiles([[EVIL, EVIL]]),
    section(
      EVIL,
      table([
        [EVIL, EVIL],
        [EVIL, 5],
      ]),
    ),
    lineChart(chart),
    lineChart({ ...chart, series: [] }),
    barChart({ title: EVIL, unit: EVIL, rows: [{ label: EVIL, parts: [[EVIL, 3]] }] }),
  ]);
  t.notMatch(text, /<img|<script|onerror=alert\(1\)>"/);
  const tags = text.replaceAll(/"[^"]*"/g, '""').match(/<[^>]*>/g) ?? [];
  t.notMatch(tags.join('\n'), /(src|href)=/, 'nothing that a browser would fetch');
  t.notMatch(text, /url\(|@import|https?:/);
  t.match(text, /default-src 'none'|default-src &#39;none&#39;/);
});

t.test('a line chart draws every series inside its frame, gaps and all', async (t) => {
  const { text } = lineChart({
    title: 'x',
    yUnit: 'ms',
    logY: true,
    xTicks: [
      [0, 'a'],
      [5, 'b'],
      [99, 'far away'],
    ],
    series: [
      {
        name: 'one',
        points: [
          [0, 0],
          [1, Number.NaN],
          [2, 1000],
          [5, 0.5],
        ],
      },
      { name: 'two', points: Array.from({ length: 5000 }, (_, i) => [i / 1000, i] as const) },
    ],
  });
  const lines = [...text.matchAll(/points="([^"]*)"/g)].map(([, points = '']) => points.split(' '));
  t.equal(lines.length, 2);
  t.equal(lines[0]?.length, 3, 'what was not measured is left out');
  t.ok((lines[1]?.length ?? 0) <= 1501, 'more points than a screen shows are thinned');
  for (const pair of lines.flat()) {
    const [x, y] = pair.split(',').map(Number) as [number, number];
    t.ok(x >= 0 && x <= 760 && y >= 0 && y <= 240, pair);
  }
  t.notMatch(text, /far away|NaN|Infinity/);
});

t.test('a linear axis begins at 0 and ends at a round figure', async (t) => {
  t.equal(niceStep(37, 5), 10);
  t.equal(niceStep(0.9, 5), 0.2);
  t.equal(niceStep(0, 5), 1);
  t.equal(axisLabel(12_345), '12.3k');
  t.equal(axisLabel(0.12345), '0.123');
  const { text } = lineChart({
    title: 'x',
    yUnit: '',
    series: [
      {
        name: 'flat',
        points: [
          [0, 0],
          [10, 0],
        ],
      },
    ],
  });
  t.notMatch(text, /NaN|Infinity/);
  t.notMatch(lineChart({ title: 'x', yUnit: '', series: [{ name: 'one', points: [[3, 4]] }] }).text, /NaN/);
});

t.test('bars are as long as their parts, and a figure that is none has no bar', async (t) => {
  const { text } = barChart({
    title: 'x',
    unit: 'us',
    rows: [
      {
        label: 'a',
        parts: [
          ['scheduler', 10],
          ['agent', 30],
        ],
      },
      { label: 'b', parts: [['router', 20]] },
      { label: 'c', parts: [['router', Number.NaN]] },
    ],
  });
  const widths = [...text.matchAll(/width="([\d.]+)" height="16"/g)].map(([, width]) => Number(width));
  t.equal(widths.length, 4);
  t.ok(Math.abs((widths[1] as number) / (widths[0] as number) - 3) < 0.01);
  t.ok(Math.abs((widths[2] as number) / (widths[0] as number) - 2) < 0.01);
  t.equal(widths[3], 0);
  t.match(text, /40 us/);
  t.notMatch(barChart({ title: 'x', unit: '', rows: [] }).text, /NaN|Infinity/);
});

t.test('a progress bar fits its terminal', async (t) => {
  t.equal(barText('load', 0.5, '12 ended', 200), `load [${'#'.repeat(12)}${'.'.repeat(12)}] 50 % 12 ended`);
  t.match(barText('load', 7, '', 200), /100 %/);
  t.match(barText('load', Number.NaN, '', 200), /\] 0 %/);
  t.equal(barText('load', 0.5, 'x'.repeat(500), 40).length, 39);
});
