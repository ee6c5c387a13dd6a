/** How an engine is shown to a person: as a row, and alone with why it is as it is. */
import type { DrainProgress__Output } from '../../proto/gen/fleet/v1/DrainProgress.ts';
import type { EngineEvent__Output } from '../../proto/gen/fleet/v1/EngineEvent.ts';
import { type EngineView, nameOf } from '../access/fleet_access.ts';
import { ageText, barText, details, durationText, table } from '../output.ts';

export const stateWord = (state: string | undefined): string =>
  (state ?? '').replace('ENGINE_STATE_', '').toLowerCase();

export const percent = (ratio: number | undefined): string | undefined =>
  ratio === undefined ? undefined : `${Math.round(ratio * 100)} %`;

const kindWord = (kind: string | undefined): string => {
  const word = (kind ?? '').replace('ENGINE_KIND_', '').toLowerCase();
  return word === 'sim' ? 'sim (simulated)' : word;
};

const verdictWord = (verdict: string): string => verdict.replace('CHECK_VERDICT_', '').toLowerCase();

const joined = (parts: readonly (string | undefined)[], by: string): string =>
  parts.filter((part) => part !== undefined && part !== '').join(by);

function engineRow(engine: EngineView, nowMs: number) {
  const { event, reading } = engine;
  return [
    nameOf(engine),
    kindWord(event?.kind),
    event?.models.map((model) => model.id).join(','),
    stateWord(event?.state),
    engine.routable ? 'yes' : engine.notRoutableReason,
    engine.runningRequests,
    reading?.waitingRequests,
    percent(reading?.kvCacheUsageRatio),
    event?.restarts,
    ageText(nowMs, event?.atMs),
  ] as const;
}

const HEADER = [
  'engine',
  'kind',
  'models',
  'state',
  'routable',
  'running',
  'waiting',
  'kv',
  'restarts',
  'since',
] as const;

export function engineTable(engines: readonly EngineView[], nowMs: number): string {
  return table(
    HEADER,
    engines.map((engine) => engineRow(engine, nowMs)),
    'No engine is known. See `sophia node list`.',
  );
}

/** What still runs, how long that may take, and who wants it so; undefined where nothing drains. */
export function drainText(drain: DrainProgress__Output | null | undefined, nowMs: number): string | undefined {
  if (drain === null || drain === undefined) return undefined;
  const running = drain.runningRequests;
  const left =
    running === undefined
      ? 'running requests not known'
      : `${running} ${running === 1 ? 'request runs' : 'requests run'}`;
  return joined(
    [
      left,
      drain.etaMs === undefined ? undefined : `about ${durationText(drain.etaMs)} left`,
      drain.sinceMs === undefined ? undefined : `for ${ageText(nowMs, drain.sinceMs)}`,
      drain.actor === '' ? undefined : `by order of ${drain.actor}`,
      drain.reason === '' ? undefined : `because: ${drain.reason}`,
    ],
    ', ',
  );
}

/** Until an engine is ready: how far it is, and how long it may still take. */
function progressText(event: EngineEvent__Output): string | undefined {
  if (event.state === 'ENGINE_STATE_READY') return undefined;
  const bar = event.progressRatio === undefined ? undefined : barText(event.progressRatio);
  const left = event.etaMs === undefined ? undefined : `about ${durationText(event.etaMs)} left`;
  return joined([bar, left], ', ');
}

type Routing = EngineView['routing'];

const rounded = (value: number): string => String(Number(value.toPrecision(3)));

function breakerText(routing: Routing): string | undefined {
  if (routing === null) return undefined;
  const due = routing.breakerDueMs === undefined ? '' : `, for ${Math.round(routing.breakerDueMs)} ms more`;
  const opened = routing.breakerOpened === 0 ? '' : `; opened ${routing.breakerOpened} times in this life`;
  return `${routing.breaker.replace('_', ' ')}${due}${opened}`;
}

function waitingText(routing: Routing): string | undefined {
  if (routing === null) return undefined;
  return `${routing.pendingPrefillTokens} uncached tokens, ${Math.round(routing.pendingPrefillMs)} ms`;
}

/** The fitted speed, in what a person can picture. */
function speedText(routing: Routing): string | undefined {
  if (routing === null) return undefined;
  const from = routing.observations === 0 ? 'assumed, nothing was seen yet' : `${routing.observations} observations`;
  return (
    `prefill ${rounded(routing.prefillBaseMs)} ms + ${rounded(routing.prefillPerTokenMs * 1000)} ms per 1,000 tokens, ` +
    `step ${rounded(routing.stepBaseMs)} ms + ${rounded(routing.stepPerSequenceMs * 100)} ms per 100 sequences (${from})`
  );
}

function crashText(event: EngineEvent__Output): string | undefined {
  const end = joined([event.exitCode === undefined ? undefined : `exit ${event.exitCode}`, event.signal], ', ');
  return joined([event.cause, end === '' ? undefined : `(${end})`], ' ');
}

function journalTable(entries: readonly EngineEvent__Output[]): string {
  return table(
    ['at', 'life', 'state', 'reason', 'message', 'exit', 'signal'],
    entries.map((entry) => [
      entry.atMs === undefined ? undefined : new Date(entry.atMs).toISOString(),
      entry.incarnation,
      stateWord(entry.state),
      entry.reason,
      entry.message,
      entry.exitCode,
      entry.signal,
    ]),
    'no history',
  );
}

function checksTable(event: EngineEvent__Output | null): readonly string[] {
  if (event === null || event.checks.length === 0) return [];
  const rows = event.checks.map((check) => [check.name, verdictWord(check.verdict), check.detail]);
  return ['', table(['check', 'verdict', 'detail'], rows)];
}

/** @param note what is to be said of the journal, when it is not the agent's own */
export function engineDetails(
  engine: EngineView,
  journal: readonly EngineEvent__Output[],
  note: string,
  nowMs: number,
): string {
  const { event } = engine;
  const life = event?.adopted === true ? `${event.incarnation}, begun by an earlier agent` : event?.incarnation;
  return [
    details([
      ['engine', nameOf(engine)],
      ['kind', kindWord(event?.kind)],
      ['state', `${stateWord(event?.state)} (${event?.reason ?? ''}) ${event?.message ?? ''}`],
      ['since', ageText(nowMs, event?.atMs)],
      ['incarnation', life],
      ['restarts', event?.restarts],
      ['progress', event === null ? undefined : progressText(event)],
      ['drain', drainText(event?.drain, nowMs)],
      ['cause', event === null ? undefined : crashText(event)],
      ['advice', event?.advice],
      ['gpus', engine.gpuIds.join(', ')],
      ['pid', event?.pid],
      ['address', event?.address],
      ['models', event?.models.map((model) => model.id).join(', ')],
      ['routable', engine.routable ? 'yes' : `no: ${engine.notRoutableReason}`],
      ['running requests', engine.runningRequests],
      ['breaker', breakerText(engine.routing)],
      ['waiting prompts', waitingText(engine.routing)],
      ['speed', speedText(engine.routing)],
    ]),
    ...checksTable(event),
    '',
    ...(note === '' ? [] : [note]),
    journalTable(journal),
  ].join('\n');
}
