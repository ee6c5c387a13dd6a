/** A comparison as one page: a bar for each router and load, and every table. */
import { barChart } from '../report/charts.ts';
import { html } from '../report/markup.ts';
import { page, section, table } from '../report/page.ts';
import type { CompareReport } from './compare.ts';
import { compareTables } from './print.ts';

export function comparePage(report: CompareReport): string {
  const { machine, routers, skipped, cost, faults } = report;
  const loads = [...new Set(cost.map(({ load }) => load))];
  const charts = loads.map((load) =>
    barChart({
      title: `CPU per token, ${load}`,
      unit: 'us',
      rows: cost
        .filter((row) => row.load === load)
        .map((row) => ({ label: row.router, parts: Object.entries(row.cpuUsPerToken) })),
    }),
  );
  const kills = faults.filter(({ fault }) => fault === 'kill');
  const fates = barChart({
    title: 'Streams under kills',
    unit: 'streams',
    rows: kills.map((row) => ({
      label: `${row.router}, ${row.engines} engines`,
      parts: [
        ['finished', row.finished],
        ['cut', row.cut],
        ['refused', row.refused],
      ],
    })),
  });
  const subtitle = `${machine.cores} cores (${machine.cpu}), Node ${machine.node}. Figures of one run, on the same simulated engines.`;
  return page('Routers compared', subtitle, [
    section(
      'Who took part',
      table([['router', 'version', 'policy'], ...routers.map(({ name, version, policy }) => [name, version, policy])]),
      skipped.map(({ name, reason }) => html`<p>${name}: could not run, because ${reason}</p>\n`),
    ),
    charts.length > 0 ? section('CPU per token', charts) : '',
    kills.length > 0 ? section('Faults', fates) : '',
    compareTables(report).map(({ title, rows }) => section(title, table(rows))),
  ]);
}
