/**
 * Writes docs/METRICS.md from the table of metrics, and from prom-client's registry for what it measures of every
 * process, so that a dashboard's author finds each name with its type, its labels and its unit.
 */
import { createMetrics } from '../../lib/io/metrics.ts';
import { METRICS, type MetricSpec } from '../../lib/io/metric_names.ts';

/** The last word of a name, as Prometheus' naming rules have it, and the unit that it stands for. */
const UNITS: Readonly<Record<string, string>> = {
  seconds: 'seconds',
  bytes: 'bytes',
  ratio: '0 to 1',
  celsius: 'degrees Celsius',
  watts: 'watts',
  hertz: 'hertz',
};

function unitOf(name: string): string {
  const words = name.replace(/_total$/, '').split('_');
  return UNITS[words.at(-1) ?? ''] ?? 'count';
}

interface Row {
  readonly name: string;
  readonly type: string;
  readonly labels: readonly string[];
  readonly unit: string;
  readonly where: string;
  readonly help: string;
}

function lineOf({ name, type, labels, unit, where, help }: Row): string {
  const shown = labels.length === 0 ? '-' : labels.map((label) => `\`${label}\``).join(', ');
  return `| \`${name}\` | ${type} | ${shown} | ${unit} | ${where} | ${help.replaceAll('|', '\\|')} |\n`;
}

const HEAD = '| metric | type | labels | unit | shown by | what it tells |\n|---|---|---|---|---|---|\n';

function own(belongs: (name: string) => boolean): string {
  return Object.entries<MetricSpec>(METRICS)
    .filter(([name]) => belongs(name))
    .toSorted(([left], [right]) => (left < right ? -1 : 1))
    .map(([name, { type, labels, on, unit, help }]) =>
      lineOf({ name, type, labels, unit: unit ?? unitOf(name), where: on, help }),
    )
    .join('');
}

/** What prom-client itself measures; the agent leaves out what the calm set of it lacks. */
function ofProcess(): string {
  const rows = (mode: true | 'calm') => createMetrics({ processMetrics: mode }).processMetrics;
  const calm = new Set(rows('calm').map(({ name }) => name));
  return rows(true)
    .map(({ name, type, labels, help }) =>
      lineOf({ name, type, labels, unit: unitOf(name), where: calm.has(name) ? 'both' : 'scheduler', help }),
    )
    .join('');
}

const isOfHosts = (name: string): boolean => name.startsWith('sophia_') || name.startsWith('mcp_');

/** The whole page. */
export function metricsPage(): string {
  return [
    '# Metrics\n\n',
    'Generated from `lib/io/metric_names.ts` and `lib/io/fleet_metric_names.ts` by `npm run generate`; do not edit.\n\n',
    "A scheduler shows its metrics at `GET /metrics` of its HTTP door, to an operator's key; an agent at `/metrics` of the\n",
    'loopback port `metricsPort`. Both take the readings of hosts, GPUs and engines from the same messages, so a series\n',
    'means the same at either place: scrape one of them, or tell them apart by `job`. A scheduler shows the readings of the\n',
    'first `metricsDetailNodes` nodes one by one and all nodes in the sums `sophia_fleet_*`. A reading that is unknown has\n',
    'no series; it is never 0. Names that dashboards of earlier installations use: `mcp_gpu_utilization` is\n',
    '`sophia_gpu_utilization_ratio` in percent.\n\n',
    'Every label has a bound: at most 200 values, the rest counts as `other`; series of hosts end with what they are of.\n',
    '\n## Requests\n\n',
    HEAD,
    own((name) => !isOfHosts(name)),
    '\n## Hosts, GPUs, engines, agents\n\n',
    HEAD,
    own(isOfHosts),
    '\n## Process\n\n',
    HEAD,
    ofProcess(),
  ].join('');
}
