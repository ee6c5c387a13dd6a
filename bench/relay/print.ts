/**
 * The relay benchmark's table for a person.
 */
import type { RelayReport } from './relay.ts';

function line(cells: readonly (string | number)[], widths: readonly number[]): string {
  return cells
    .map((cell, i) => (i < 2 ? String(cell).padEnd(widths[i] as number) : String(cell).padStart(widths[i] as number)))
    .join('  ');
}

export function alignRows(rows: readonly (readonly (string | number)[])[]): string {
  const widths = (rows[0] ?? []).map((_, i) => Math.max(...rows.map((row) => String(row[i]).length)));
  return rows.map((row) => line(row, widths)).join('\n');
}

export function printRelay({ rows, ttft }: RelayReport): string {
  const cost = rows.map((row) => [
    row.load,
    row.route,
    row.tokensPerSecond,
    row.cpuUsPerToken['scheduler'] ?? row.cpuUsPerToken['proxy'] ?? '-',
    row.cpuUsPerToken['agent'] ?? '-',
    row.totalCpuUsPerToken,
    Math.round(row.rssMb['scheduler'] ?? row.rssMb['proxy'] ?? 0),
    Math.round(row.rssMb['agent'] ?? 0) || '-',
    row.failed,
  ]);
  const first = ttft.map((row) => [
    String(row.streams),
    row.route,
    row.p50Ms,
    row.p99Ms,
    row.addedP50Ms,
    row.addedP99Ms,
  ]);
  return [
    'CPU microseconds per token',
    alignRows([
      ['load', 'route', 'tokens/s', 'scheduler', 'agent', 'together', 'RSS MB', 'agent MB', 'failed'],
      ...cost,
    ]),
    '',
    'Time to first token, milliseconds',
    alignRows([['streams', 'route', 'p50', 'p99', 'added p50', 'added p99'], ...first]),
  ].join('\n');
}
