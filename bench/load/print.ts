/** The table of a load for a person. */
import { alignRows } from '../relay/print.ts';
import { shown } from '../report/page.ts';
import type { LatencyFigures } from './histogram.ts';
import type { LoadReport } from './load.ts';

const percent = (share: number): string => `${(share * 100).toFixed(1)} %`;

/** The latencies of a run, a row each, its head first. */
export function latencyRows(report: LoadReport): string[][] {
  const row = (name: string, figures: LatencyFigures): string[] => [
    name,
    ...[figures.p50Ms, figures.p90Ms, figures.p99Ms, figures.maxMs, figures.meanMs, figures.count].map(shown),
  ];
  return [
    ['milliseconds', 'p50', 'p90', 'p99', 'max', 'mean', 'count'],
    row('time to first token', report.ttft),
    row('between tokens', report.itl),
    row('gap at the client', report.gap),
    row('whole request', report.e2e),
    row('sent late', report.sendLate),
  ];
}

/** How the requests ended, a row each, its head first. */
export function endRows(report: LoadReport): (string | number)[][] {
  return [
    ['end', 'requests'],
    ['ok', report.ok],
    ...Object.entries(report.errors),
    ...(report.unsent > 0 ? [['not sent (interrupted)', report.unsent]] : []),
  ];
}

/** The headline figures. */
export function headline(report: LoadReport): [name: string, value: string][] {
  const { objective, requests } = report;
  return [
    ['requests', String(requests)],
    ['failed', String(report.failed)],
    ['requests/s offered', String(report.offeredPerS)],
    ['tokens/s', String(report.tokensPerS)],
    [`goodput (TTFT < ${objective.ttftMs} ms, token < ${objective.tpotMs} ms)`, percent(report.goodput)],
    ['good requests/s', String(report.goodputPerS)],
  ];
}

export function printLoad(report: LoadReport): string {
  return [
    `${report.target}, ${report.model}, ${report.endpoint} over ${report.door === 'many' ? 'GenerateMany' : 'HTTP'}`,
    report.load,
    '',
    // Two empty columns, because alignRows sets its first two to the left.
    alignRows(latencyRows(report).map(([name = '', ...cells]) => [name, '', ...cells])),
    '',
    ...headline(report).map(([name, value]) => `${name}: ${value}`),
    ...endRows(report)
      .slice(1)
      .map(([code, count]) => `  ${code}: ${count}`),
  ].join('\n');
}
