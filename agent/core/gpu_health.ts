/**
 * The health of the GPUs of a host: what the driver said and what readings show comes in, and what is done about it goes
 * out: an event for people and schedulers, and an order for the engines. A quarantine ends by a person's release only,
 * and a brake keeps a wrong reading from draining the whole host.
 */
import type { GpuIncident, GpuSample, GpuState } from '../ports.ts';
import { type Condition, CONDITIONS, type Counter, COUNTERS, noteSlowdown } from './gpu_conditions.ts';
import {
  type Fault,
  type GpuHealthContext,
  type GpuHealthEffect,
  type GpuHealthInput,
  type GpuHealthState,
  type GpuHealthStep,
  type GpuOrder,
  type GpuRecord,
  PROTO_ACTION,
  type Quarantine,
} from './gpu_health_state.ts';
import {
  type FaultRule,
  GPU_ACTIONS,
  type GpuAction,
  LOST,
  RECOVERY_RULES,
  UNAVAILABLE,
  XID_RULES,
} from './gpu_health_table.ts';

const BURST_MS = 60_000;
const DAY_MS = 86_400_000;
const MOST_FAULTS = 64;
const MOST_GPUS = 64;
/** The same fatal fault in so many boots: a restart does not mend it. */
const BOOTS_BEFORE_REPLACE = 3;

const rank = (action: GpuAction): number => GPU_ACTIONS.indexOf(action);
const drains = (action: GpuAction): boolean => rank(action) >= rank('drain');
const keyOf = (gpu: { readonly index: number; readonly uuid?: string }): string => gpu.uuid ?? `index ${gpu.index}`;

/** What a fault or a condition asks for, before the brake. */
interface Verdict {
  readonly kind: string;
  readonly action: GpuAction;
  readonly message: string;
  readonly xid?: number;
  /** False: the GPU serves on. */
  readonly quarantine?: false;
  /** The driver's own word: it replaces the action of a quarantine even by a lower one. */
  readonly wins?: true;
}

/** A step under way: the records as they become, and the effects so far. */
interface Draft {
  readonly gpus: Map<string, GpuRecord>;
  readonly effects: GpuHealthEffect[];
  readonly context: GpuHealthContext;
}

function newRecord(gpu: { readonly index: number; readonly uuid?: string }, nowMs: number): GpuRecord {
  return {
    index: gpu.index,
    ...(gpu.uuid === undefined ? {} : { uuid: gpu.uuid }),
    seenAtMs: nowMs,
    episode: 0,
    faults: [],
    slowMinutes: [],
    holding: [],
    counters: {},
  };
}

/** The record of a GPU, made when it is new; one without a UUID is taken over when the UUID becomes known. */
function recordOf(draft: Draft, gpu: { readonly index: number; readonly uuid?: string }): GpuRecord {
  const { gpus, context } = draft;
  const found = gpus.get(keyOf(gpu));
  if (found !== undefined) return { ...found, index: gpu.index, seenAtMs: context.nowMs };
  const nameless = `index ${gpu.index}`;
  const earlier = gpu.uuid === undefined ? undefined : gpus.get(nameless);
  if (earlier !== undefined) gpus.delete(nameless);
  return { ...newRecord(gpu, context.nowMs), ...earlier, ...(gpu.uuid === undefined ? {} : { uuid: gpu.uuid }) };
}

function withoutOldest(gpus: Map<string, GpuRecord>): void {
  const idle = [...gpus].filter(([, { quarantine, held }]) => quarantine === undefined && held === undefined);
  const oldest = idle.toSorted(([, left], [, right]) => left.seenAtMs - right.seenAtMs);
  for (const [key] of oldest.slice(0, Math.max(0, gpus.size - MOST_GPUS))) gpus.delete(key);
}

function emit(draft: Draft, record: GpuRecord, verdict: Verdict, message: string): void {
  draft.effects.push({
    kind: 'event',
    event: {
      index: record.index,
      ...(record.uuid === undefined ? {} : { uuid: record.uuid }),
      kind: verdict.kind,
      ...(verdict.xid === undefined ? {} : { xid: verdict.xid }),
      action: PROTO_ACTION[verdict.action],
      quarantined: record.quarantine !== undefined,
      message,
      atMs: draft.context.nowMs,
    },
  });
}

function order(draft: Draft, kind: GpuOrder['kind'], record: GpuRecord, reason: string, message: string): void {
  draft.effects.push({ kind: 'order', order: { kind, gpu: record.index, reason, message } });
}

/** Whether one more GPU may be quarantined: on this host, and with the others that the context counts in. */
function brakeAllows(draft: Draft): boolean {
  const { policy, elsewhere } = draft.context;
  const records = [...draft.gpus.values()];
  const here = records.filter(({ quarantine }) => quarantine !== undefined).length;
  const most = (total: number): number => Math.max(1, Math.floor(total * policy.quarantineShare));
  const hostAllows = here + 1 <= most(records.length);
  const fleetAllows =
    elsewhere.total === 0 || here + elsewhere.quarantined + 1 <= most(records.length + elsewhere.total);
  return hostAllows && fleetAllows;
}

/** Carries a verdict out on a record that is not in the draft yet; gives the record as it became. */
function apply(draft: Draft, record: GpuRecord, verdict: Verdict): GpuRecord {
  draft.gpus.set(keyOf(record), record);
  const { action, kind, message } = verdict;
  if (!drains(action) || verdict.quarantine === false) {
    if (action === 'restart_engine' && record.quarantine === undefined)
      order(draft, 'restart_engines', record, kind, message);
    emit(draft, record, verdict, message);
    return record;
  }
  const wanted: Quarantine = {
    action,
    kind,
    message,
    sinceMs: record.quarantine?.sinceMs ?? draft.context.nowMs,
    ...(verdict.xid === undefined ? {} : { xid: verdict.xid }),
  };
  const standing = record.quarantine ?? record.held;
  const isMore = standing === undefined || rank(action) > rank(standing.action);
  const next = isMore || (verdict.wins === true && standing.action !== 'replace') ? wanted : standing;
  if (record.quarantine === undefined && !brakeAllows(draft)) {
    const held = { ...record, held: next };
    emit(
      draft,
      held,
      verdict,
      `${message} The brake holds the quarantine back: too many GPUs are quarantined already.`,
    );
    return held;
  }
  const { held: _held, ...rest } = record;
  const quarantined: GpuRecord = { ...rest, quarantine: next };
  if (record.quarantine === undefined) order(draft, 'quarantine', quarantined, kind, message);
  emit(draft, quarantined, { ...verdict, action: next.action }, message);
  return quarantined;
}

/** Faults of this kind that count for a repeat, the newest included. */
function countFaults(faults: readonly Fault[], what: string, rule: NonNullable<FaultRule['repeat']>, nowMs: number) {
  const same = faults.filter((one) => one.what === what && nowMs - one.atMs <= (rule.withinMs ?? Infinity));
  return rule.per === 'burst' ? same.length : new Set(same.map((one) => `${one.bootId} ${one.episode}`)).size;
}

/** The action of a rule with the GPU's history and the driver's own word. */
function judge(record: GpuRecord, what: string, rule: FaultRule, nowMs: number): Pick<Verdict, 'action' | 'message'> {
  const { repeat } = rule;
  const boots = new Set(record.faults.filter((one) => one.what === what).map(({ bootId }) => bootId)).size;
  if (drains(rule.action) && boots >= BOOTS_BEFORE_REPLACE)
    return {
      action: 'replace',
      message: `${rule.note} It came back after ${boots - 1} reboots: inspect the hardware.`,
    };
  const times = repeat === undefined ? 0 : countFaults(record.faults, what, repeat, nowMs);
  if (repeat !== undefined && times >= repeat.count)
    return { action: repeat.action, message: `${rule.note} It has happened ${times} times.` };
  const asked = RECOVERY_RULES[record.recoveryAction ?? 'none'];
  if (asked !== undefined && rule.action !== 'replace' && rule.action !== 'record')
    return { action: asked, message: `${rule.note} The driver asks for this recovery: ${record.recoveryAction}.` };
  return { action: rule.action, message: rule.note };
}

/** The Xid that a 45 follows: channels are removed after the real fault. */
function causeOf45(record: GpuRecord, nowMs: number): string | undefined {
  const others = record.faults.filter(({ what, atMs }) => what !== 'xid 45' && nowMs - atMs <= BURST_MS);
  return others.at(-1)?.what;
}

function ruleOf(incident: GpuIncident): { what: string; rule: FaultRule; kind: string } {
  switch (incident.kind) {
    case 'lost':
      return { what: 'lost', rule: LOST, kind: 'lost' };
    case 'unavailable':
      return { what: 'unavailable', rule: UNAVAILABLE, kind: 'lost' };
    case 'recovery_action':
      return { what: 'xid 154', rule: XID_RULES[154] as FaultRule, kind: 'recovery_action' };
    case 'xid': {
      const xid = incident.xid ?? 0;
      const unknown: FaultRule = { nvidia: 'none', action: 'record', level: 'ok', note: 'This Xid is in no table.' };
      const rule = XID_RULES[xid] ?? unknown;
      return { what: rule === LOST ? 'lost' : `xid ${xid}`, rule, kind: 'xid' };
    }
  }
}

function onIncident(draft: Draft, incident: GpuIncident): void {
  const { bootId, nowMs } = draft.context;
  const { what, rule, kind } = ruleOf(incident);
  const record = recordOf(draft, incident);
  const { episode } = record;
  draft.gpus.set(keyOf(record), record);
  const isSameBurst = record.faults.some(
    (one) =>
      one.what === what && one.bootId === bootId && one.episode === episode && Math.abs(nowMs - one.atMs) < BURST_MS,
  );
  if (isSameBurst) return;
  const fault: Fault = { what, atMs: nowMs, bootId, episode };
  const grown: GpuRecord = { ...record, faults: [...record.faults, fault].slice(-MOST_FAULTS) };
  const { action, message } = judge(grown, what, rule, nowMs);
  const cause = what === 'xid 45' ? causeOf45(record, nowMs) : undefined;
  const named = incident.xid === undefined ? message : `Xid ${incident.xid}. ${message}`;
  const next = apply(draft, grown, {
    kind,
    action,
    message: cause === undefined ? named : `${named} It follows ${cause}.`,
    ...(incident.xid === undefined ? {} : { xid: incident.xid }),
    ...(rule.quarantine === false && action === rule.action ? { quarantine: false } : {}),
  });
  draft.gpus.set(keyOf(next), next);
}

function stepCondition(draft: Draft, record: GpuRecord, gpu: GpuState, condition: Condition): GpuRecord {
  const { name, kind } = condition;
  const holds = condition.holds({ gpu, slowMinutes: record.slowMinutes, nowMs: draft.context.nowMs });
  const held = record.holding.includes(name);
  const isNewWord = name === 'recovery_action' && gpu.recoveryAction !== record.recoveryAction;
  if (holds === undefined || (holds !== false && held && !isNewWord) || (holds === false && !held)) return record;
  if (holds === false) {
    const over = { ...record, holding: record.holding.filter((one) => one !== name) };
    emit(draft, over, { kind, action: 'record', message: '' }, `It is over: ${name.replaceAll('_', ' ')}.`);
    return over;
  }
  const begun = { ...record, holding: [...record.holding.filter((one) => one !== name), name] };
  const action = typeof condition.action === 'function' ? condition.action(gpu) : condition.action;
  return apply(draft, begun, { kind, action, message: holds, ...(kind === 'recovery_action' ? { wins: true } : {}) });
}

function stepCounter(draft: Draft, record: GpuRecord, gpu: GpuState, counter: Counter): GpuRecord {
  const value = gpu[counter.name];
  const before = record.counters[counter.name];
  if (value === undefined || value === before) return record;
  const counted = { ...record, counters: { ...record.counters, [counter.name]: value } };
  // The first reading is where counting begins; a smaller one is a GPU that was exchanged or reset.
  if (before === undefined || value < before) return counted;
  const { nowMs, bootId } = draft.context;
  const fault: Fault = { what: counter.name, atMs: nowMs, bootId, episode: record.episode };
  const faults = [...counted.faults, fault].slice(-MOST_FAULTS);
  const recent = faults.filter(({ what, atMs }) => what === counter.name && nowMs - atMs <= DAY_MS).length;
  const action = counter.drainAfter !== undefined && recent >= counter.drainAfter ? 'drain' : 'record';
  const message = `${counter.sentence}: ${value - before} more, ${value} in all.`;
  return apply(draft, { ...counted, faults }, { kind: counter.kind, action, message });
}

function onGpu(draft: Draft, gpu: GpuState): void {
  const known = recordOf(draft, gpu);
  let record: GpuRecord = { ...known, slowMinutes: noteSlowdown(known.slowMinutes, gpu, draft.context.nowMs) };
  for (const condition of CONDITIONS) record = stepCondition(draft, record, gpu, condition);
  for (const counter of COUNTERS) record = stepCounter(draft, record, gpu, counter);
  if (gpu.recoveryAction !== undefined) record = { ...record, recoveryAction: gpu.recoveryAction };
  draft.gpus.set(keyOf(record), record);
}

/** Quarantines that the brake held back, as far as it lets them now; the longest-waiting first. */
function retryHeld(draft: Draft): void {
  const waiting = [...draft.gpus.values()].filter(({ held }) => held !== undefined);
  for (const record of waiting.toSorted((left, right) => holdTime(left) - holdTime(right))) {
    if (!brakeAllows(draft)) return;
    const { held, ...rest } = record;
    const { kind, action, message, xid } = held as Quarantine;
    const next = apply(draft, rest, { kind, action, message, ...(xid === undefined ? {} : { xid }) });
    draft.gpus.set(keyOf(next), next);
  }
}

const holdTime = ({ held }: GpuRecord): number => (held as Quarantine).sinceMs;

function onRelease(draft: Draft, index: number, actor: string, reason: string): void {
  for (const [key, record] of draft.gpus) {
    const standing = record.quarantine ?? record.held;
    if (record.index !== index || standing === undefined) continue;
    const { quarantine: _quarantine, held: _held, ...rest } = record;
    const released: GpuRecord = { ...rest, episode: record.episode + 1 };
    const message = `Released by ${actor}: ${reason}`;
    draft.gpus.set(key, released);
    order(draft, 'release', released, standing.kind, message);
    emit(draft, released, { kind: standing.kind, action: 'record', message }, message);
  }
}

/** Says that the host is blind, or that it sees again; each GPU that it should see has an event of its own. */
function stepBlindness(draft: Draft, wasBlind: boolean, sample: GpuSample): boolean {
  const { nowMs, policy, startedAtMs } = draft.context;
  const records = [...draft.gpus.values()];
  const seenAtMs = Math.max(startedAtMs, ...records.map((record) => record.seenAtMs));
  const expected = policy.expectGpus || records.length > 0;
  const newest = sample.gpus.length > 0 ? Math.max(sample.atMs, seenAtMs) : seenAtMs;
  const blind = expected && nowMs - newest > policy.blindAfterMs;
  if (blind === wasBlind) return blind;
  const missing = records.length > 0 ? records : [newRecord({ index: 0 }, nowMs)];
  const why = sample.reason === undefined ? '' : ` ${sample.reason}.`;
  const message = blind ? `The GPU cannot be read, though this host has GPUs.${why}` : 'The GPU can be read again.';
  for (const record of missing) emit(draft, record, { kind: 'blind', action: 'record', message }, message);
  return blind;
}

/** The driver may number GPUs anew, at a reboot or when one has gone: the engines' orders follow the GPU. */
function followMoves(draft: Draft, before: Readonly<Record<string, GpuRecord>>): void {
  const indexes = (records: Iterable<GpuRecord>): Set<number> =>
    new Set([...records].filter(({ quarantine }) => quarantine !== undefined).map(({ index }) => index));
  const [were, are] = [indexes(Object.values(before)), indexes(draft.gpus.values())];
  for (const [key, record] of draft.gpus) {
    const old = before[key];
    if (old?.quarantine === undefined || old.index === record.index) continue;
    const message = `${key} is GPU ${record.index} now and was GPU ${old.index}.`;
    if (!were.has(record.index)) order(draft, 'quarantine', record, 'moved', message);
    if (!are.has(old.index)) order(draft, 'release', old, 'moved', message);
  }
}

/** The next state of the host's GPUs and what is to be done. */
export function gpuHealthStep(state: GpuHealthState, input: GpuHealthInput, context: GpuHealthContext): GpuHealthStep {
  const draft: Draft = { gpus: new Map(Object.entries(state.gpus)), effects: [], context };
  let { blind } = state;
  switch (input.kind) {
    case 'incident':
      onIncident(draft, input.incident);
      break;
    case 'sample':
      for (const gpu of input.sample.gpus) onGpu(draft, gpu);
      followMoves(draft, state.gpus);
      blind = stepBlindness(draft, blind, input.sample);
      break;
    case 'tick':
      blind = stepBlindness(draft, blind, input.sample);
      retryHeld(draft);
      break;
    case 'release':
      onRelease(draft, input.index, input.actor, input.reason);
      retryHeld(draft);
      break;
  }
  withoutOldest(draft.gpus);
  return { state: { gpus: Object.fromEntries(draft.gpus), blind }, effects: draft.effects };
}
