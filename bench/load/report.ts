/** The report of a load as one page: headline, latencies, their whole distributions, and the run second by second. */
import { lineChart, type Point } from '../report/charts.ts';
import { html } from '../report/markup.ts';
import { page, section, table, tiles } from '../report/page.ts';
import type { SecondFigures } from './figures.ts';
import type { LatencyHistogram } from './histogram.ts';
import type { LoadReport } from './load.ts';
import { endRows, headline, latencyRows } from './print.ts';

/** A distribution that is drawn whole. */
export interface Distribution {
  readonly name: string;
  readonly histogram: LatencyHistogram;
}

/** The quantiles that the nines of a curve stand for. */
const NINES = [
  [0, 'min'],
  [0.301, '50 %'],
  [1, '90 %'],
  [2, '99 %'],
  [3, '99.9 %'],
  [4, '99.99 %'],
] as const;

function overTime(timeline: readonly SecondFigures[], pick: (second: SecondFigures) => number): Point[] {
  return timeline.map((second) => [second.second, pick(second)]);
}

export function loadPage(report: LoadReport): string {
  const { timeline } = report;
  const door = report.door === 'many' ? 'GenerateMany' : 'HTTP';
  const subtitle = `${report.target}, ${report.model}, ${report.endpoint} over ${door}. ${report.load}, seed ${report.seed}.`;
  return page('Load report', subtitle, [
    tiles(headline(report)),
    section(
      'Latency',
      html`<p class="dim">From the time at which a request was to be sent, whenever it was: a server that stalls delays
everybody who came meanwhile. "Sent late" is this program's own delay.</p>`,
      table(latencyRows(report)),
      lineChart({
        title: 'Distribution',
        yUnit: 'ms',
        logY: true,
        xTicks: NINES,
        series: report.distributions.map(({ name, histogram }) => ({ name, points: histogram.curve() })),
      }),
    ),
    section(
      'Over time',
      lineChart({
        title: 'Requests a second',
        yUnit: '/s',
        xUnit: ' s',
        series: [
          { name: 'offered', points: overTime(timeline, (second) => second.offered) },
          { name: 'failed', points: overTime(timeline, (second) => second.failed) },
          { name: 'good', points: overTime(timeline, (second) => second.good) },
        ],
      }),
      lineChart({
        title: 'Time to first token, by the second of the request',
        yUnit: 'ms',
        xUnit: ' s',
        series: [
          { name: 'p50', points: overTime(timeline, (second) => second.ttftP50Ms) },
          { name: 'p99', points: overTime(timeline, (second) => second.ttftP99Ms) },
        ],
      }),
      lineChart({
        title: 'Tokens a second',
        yUnit: '/s',
        xUnit: ' s',
        series: [{ name: 'tokens', points: overTime(timeline, (second) => second.tokens) }],
      }),
    ),
    section('How the requests ended', table(endRows(report))),
  ]);
}
