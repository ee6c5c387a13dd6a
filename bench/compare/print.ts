/** The tables of a comparison, for a terminal and for the report. */
import { alignRows } from '../relay/print.ts';
import { shown } from '../report/page.ts';
import type { CompareReport } from './compare.ts';

type Row = readonly (string | number)[];

export interface NamedTable {
  readonly title: string;
  /** Its head first. */
  readonly rows: readonly Row[];
}

const part = (parts: Readonly<Record<string, number>>, name: string): string | number => parts[name] ?? '-';
const total = (parts: Readonly<Record<string, number>>): number =>
  Math.round(Object.values(parts).reduce((sum, value) => sum + value, 0));

const goalWord = (met: boolean | undefined): string => (met === undefined ? 'not measured' : met ? 'met' : 'MISSED');

interface TableOf<Of> {
  readonly title: string;
  readonly head: Row;
  readonly from: (report: CompareReport) => readonly Of[];
  readonly row: (of: Of) => Row;
}

const namedTable = <Of>({ title, head, from, row }: TableOf<Of>) => {
  return (report: CompareReport): NamedTable => ({ title, rows: [head, ...from(report).map(row)] });
};

const TABLES: readonly ((report: CompareReport) => NamedTable)[] = [
  namedTable({
    title: 'CPU microseconds per token (all processes of the router), and the gap at the client, p99',
    head: ['load', 'router', 'scheduler', 'agent', 'whole', 'tokens/s', 'gap p99 ms', 'RSS MB', 'failed'],
    from: ({ cost }) => cost,
    row: (of) => [
      of.load,
      of.router,
      part(of.cpuUsPerToken, 'scheduler'),
      part(of.cpuUsPerToken, 'agent'),
      shown(of.totalUsPerToken),
      of.tokensPerS,
      shown(of.gapP99Ms),
      total(of.rssMb),
      of.failed,
    ],
  }),
  namedTable({
    title: 'Added time to first token, milliseconds',
    head: ['streams', 'router', 'added p50', 'added p99', 'p50', 'p99'],
    from: ({ ttft }) => ttft,
    row: (of) => [String(of.streams), of.router, of.addedP50Ms, of.addedP99Ms, of.p50Ms, of.p99Ms].map(shown),
  }),
  namedTable({
    title: 'Plain requests of one token, 16 connections: CPU microseconds per request',
    head: ['', 'router', 'scheduler', 'agent', 'whole', 'requests/s', 'failed'],
    from: ({ plain }) => plain,
    row: (of) => [
      '',
      of.router,
      part(of.cpuUsPerRequest, 'scheduler'),
      part(of.cpuUsPerRequest, 'agent'),
      shown(of.totalUsPerRequest),
      of.requestsPerS,
      of.failed,
    ],
  }),
  namedTable({
    title: 'Faults: one engine after another killed every 3 s, or one stopped without a word',
    head: [
      'fault',
      'router',
      'engines',
      'faults',
      'finished',
      'cut',
      'refused',
      'stuck > 5 s',
      'gap p99',
      'longest ms',
    ],
    from: ({ faults }) => faults,
    row: (of) => [
      of.fault,
      of.router,
      of.engines,
      of.faults,
      of.finished,
      of.cut,
      of.refused,
      of.stuck,
      shown(of.gapP99Ms),
      shown(of.longestWaitMs),
    ],
  }),
  namedTable({
    title: 'Goals',
    head: ['', 'goal', 'figure', 'bound', ''],
    from: ({ goals }) => goals.filter(({ figure }) => Number.isFinite(figure)),
    row: ({ goal, figure, bound, met }) => ['', goal, shown(figure), shown(bound), goalWord(met)],
  }),
];

/** Every table that has a row. */
export function compareTables(report: CompareReport): NamedTable[] {
  return TABLES.map((make) => make(report)).filter(({ rows }) => rows.length > 1);
}

export function printCompare(report: CompareReport): string {
  const { machine, routers, skipped } = report;
  return [
    `${machine.cores} cores (${machine.cpu}), Node ${machine.node}`,
    ...routers.map(({ name, version, policy }) => `${name} ${version} (${policy})`),
    ...skipped.map(({ name, reason }) => `${name}: could not run, because ${reason}`),
    ...compareTables(report).flatMap(({ title, rows }) => ['', title, alignRows(rows)]),
  ].join('\n');
}
