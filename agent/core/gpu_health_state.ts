/**
 * What is remembered of the health of GPUs, and what can be told from it: the state of core/gpu_health.ts, which is kept
 * on disk over restarts of the agent and reboots of the host.
 */
import type { GpuEvent } from '../../proto/gen/fleet/v1/GpuEvent.ts';
import type { GpuIncident, GpuSample } from '../ports.ts';
import { CONDITIONS, COUNTERS } from './gpu_conditions.ts';
import { type GpuAction, type GpuLevel, LOST, UNAVAILABLE, XID_RULES } from './gpu_health_table.ts';

/** A fault at one time: further ones of its kind within a minute are the same burst. */
export interface Fault {
  /** `xid 31`, `lost`, `unavailable`, or the name of a counter. */
  readonly what: string;
  readonly atMs: number;
  readonly bootId: string;
  readonly episode: number;
}

export interface Quarantine {
  readonly action: GpuAction;
  readonly kind: string;
  readonly xid?: number;
  readonly message: string;
  readonly sinceMs: number;
}

export interface GpuRecord {
  readonly index: number;
  readonly uuid?: string;
  readonly seenAtMs: number;
  /** Rises with each release, so that a fault after it counts as a new one. */
  readonly episode: number;
  readonly faults: readonly Fault[];
  readonly slowMinutes: readonly number[];
  /** Names of the conditions that hold. */
  readonly holding: readonly string[];
  readonly counters: Readonly<Record<string, number>>;
  readonly recoveryAction?: string;
  readonly quarantine?: Quarantine;
  /** What the brake keeps from being a quarantine. */
  readonly held?: Quarantine;
}

export interface GpuHealthState {
  /** By UUID, or by `index N` where the driver tells none. */
  readonly gpus: Readonly<Record<string, GpuRecord>>;
  readonly blind: boolean;
}

export interface GpuHealthPolicy {
  /** Largest part of the GPUs in quarantine at once, 0 to 1; one always may be. */
  readonly quarantineShare: number;
  readonly blindAfterMs: number;
  /** The host is declared to have GPUs, whether it has ever shown one or not. */
  readonly expectGpus: boolean;
}

export interface GpuHealthContext {
  /** Wall clock: faults are kept over restarts and reboots. */
  readonly nowMs: number;
  readonly bootId: string;
  readonly policy: GpuHealthPolicy;
  /** When the watch began, wall clock: before it nobody could see. */
  readonly startedAtMs: number;
  /** GPUs of other hosts that the same brake counts in; none where nobody tells. */
  readonly elsewhere: { readonly quarantined: number; readonly total: number };
}

export type GpuHealthInput =
  | { readonly kind: 'incident'; readonly incident: GpuIncident }
  | { readonly kind: 'sample'; readonly sample: GpuSample }
  /** Time has passed; the newest sample, however old. */
  | { readonly kind: 'tick'; readonly sample: GpuSample }
  | { readonly kind: 'release'; readonly index: number; readonly actor: string; readonly reason: string };

export interface GpuOrder {
  readonly kind: 'restart_engines' | 'quarantine' | 'release';
  readonly gpu: number;
  /** A word: the kind of the event. */
  readonly reason: string;
  readonly message: string;
}

export type GpuHealthEffect =
  | { readonly kind: 'event'; readonly event: GpuEvent }
  | { readonly kind: 'order'; readonly order: GpuOrder };

export interface GpuHealthStep {
  readonly state: GpuHealthState;
  readonly effects: readonly GpuHealthEffect[];
}

export const NO_GPU_HEALTH: GpuHealthState = { gpus: {}, blind: false };

const DAY_MS = 86_400_000;

export const PROTO_ACTION = {
  record: 'GPU_ACTION_RECORD',
  restart_engine: 'GPU_ACTION_RESTART_ENGINE',
  drain: 'GPU_ACTION_DRAIN',
  reset: 'GPU_ACTION_RESET',
  reboot: 'GPU_ACTION_REBOOT',
  replace: 'GPU_ACTION_REPLACE',
} as const satisfies Record<GpuAction, NonNullable<GpuEvent['action']>>;

const LEVELS: readonly GpuLevel[] = ['ok', 'degraded', 'unhealthy'];

function levelOfFault({ what }: Fault): GpuLevel {
  if (what === 'lost') return LOST.level;
  if (what === 'unavailable') return UNAVAILABLE.level;
  const counter = COUNTERS.find(({ name }) => name === what);
  return counter?.level ?? XID_RULES[Number(what.slice('xid '.length))]?.level ?? 'ok';
}

/** A word for people and routers; a fault is held against a GPU for a day, or until a reboot or a release. */
export function healthOfGpu(
  state: GpuHealthState,
  index: number,
  nowMs: number,
  bootId: string,
): GpuLevel | 'quarantined' {
  const record = Object.values(state.gpus).find((one) => one.index === index);
  if (record === undefined) return state.blind ? 'unhealthy' : 'ok';
  if (record.quarantine !== undefined) return 'quarantined';
  if (record.held !== undefined || state.blind) return 'unhealthy';
  const fresh = record.faults.filter(
    (fault) => fault.bootId === bootId && fault.episode === record.episode && nowMs - fault.atMs <= DAY_MS,
  );
  const levels = [
    ...fresh.map(levelOfFault),
    ...CONDITIONS.filter(({ name }) => record.holding.includes(name)).map(({ level }) => level),
  ];
  return LEVELS[Math.max(0, ...levels.map((level) => LEVELS.indexOf(level)))] as GpuLevel;
}

/** The GPUs that are quarantined now, one event each: for a hello. */
export function quarantinedNow(state: GpuHealthState): GpuEvent[] {
  return Object.values(state.gpus).flatMap(({ index, uuid, quarantine }) =>
    quarantine === undefined
      ? []
      : [
          {
            index,
            ...(uuid === undefined ? {} : { uuid }),
            kind: quarantine.kind,
            ...(quarantine.xid === undefined ? {} : { xid: quarantine.xid }),
            action: PROTO_ACTION[quarantine.action],
            quarantined: true,
            message: quarantine.message,
            atMs: quarantine.sinceMs,
          },
        ],
  );
}
