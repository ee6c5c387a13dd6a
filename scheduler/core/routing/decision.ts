/**
 * A decision with its reasons. Where a model has thousands of engines it names the best ones, some that were refused, and
 * counts the rest by reason: what `sophia explain request` shows, bounded whatever the fleet's size. The numbers are
 * kept as they were; sentences are made of them only for whoever asks.
 */
import { CodedError } from '../../../lib/errors.ts';
import type { EngineId } from '../../../lib/ids.ts';
import type { CostPart } from './contract.ts';
import type { EngineSlot } from './engine_slot.ts';
import type { PolicyName } from './policies.ts';
import type { Lease } from './reservations.ts';

export interface OpenVerdict {
  readonly kind: 'picked' | 'passed';
  readonly engine: EngineId;
  readonly cost: number;
  readonly parts: readonly CostPart[];
}

export interface RefusedVerdict {
  readonly kind: 'refused';
  readonly engine: EngineId;
  readonly by: string;
  readonly detail: string;
}

export type Verdict = OpenVerdict | RefusedVerdict;

/** What was unusual: `panic`: so many breakers were open that none was heeded; `stale`: only silent nodes were left. */
export type DecisionMode = 'panic' | 'stale';

/** The reasons, which may be kept for long: they hold no request and no engine. */
export interface DecisionTrace {
  readonly policy: PolicyName;
  readonly mode: DecisionMode | undefined;
  /** Engines of the model, and how many of them were refused by which reason. */
  readonly engines: number;
  readonly refused: ReadonlyMap<string, number>;
  /** The cheapest engines first, the picked one before all, then some that were refused. */
  readonly verdicts: readonly Verdict[];
  /** How many verdicts there are: at most MOST_OPEN and MOST_REFUSED. */
  readonly count: number;
}

export interface Picked {
  /** What is known of the engine; it changes with time. */
  readonly slot: EngineSlot;
  /** The taken place: whoever gets it gives it back. */
  readonly lease: Lease;
  /** Prompt tokens that the engine is believed to have cached. */
  readonly cachedTokens: number;
}

export interface Decision {
  readonly trace: DecisionTrace;
  readonly picked: Picked | undefined;
}

/** Verdicts of one decision that are kept. */
export const MOST_OPEN = 32;
export const MOST_REFUSED = 32;

/** The engines that might have been picked, as numbers: for each its cost and the parts of it. */
export interface OpenEngines {
  readonly engines: readonly EngineId[];
  readonly picked: boolean;
  readonly partNames: readonly string[];
  /** A cost and its parts for each engine. */
  readonly numbers: readonly number[];
}

export const NO_ENGINES: OpenEngines = { engines: [], picked: false, partNames: [], numbers: [] };

export function traceOf(
  known: Pick<DecisionTrace, 'policy' | 'mode' | 'engines' | 'refused'>,
  open: OpenEngines,
  refused: readonly RefusedVerdict[],
): DecisionTrace {
  return {
    policy: known.policy,
    mode: known.mode,
    engines: known.engines,
    refused: known.refused,
    count: open.engines.length + refused.length,
    get verdicts() {
      return [...open.engines.map((_, at) => openVerdict(open, at)), ...refused];
    },
  };
}

function openVerdict({ engines, picked, partNames, numbers }: OpenEngines, at: number): OpenVerdict {
  const from = at * (1 + partNames.length);
  return {
    kind: picked && at === 0 ? 'picked' : 'passed',
    engine: engines[at] as EngineId,
    cost: numbers[from] as number,
    parts: partNames.map((name, i) => ({ name, value: numbers[from + 1 + i] as number })),
  };
}

const RETRY_FULL_MS = 1000;
const RETRY_NONE_MS = 2000;

/** What a client is told when no engine was picked for a model that is known. */
export function refusalOf(model: string, { refused }: Pick<DecisionTrace, 'refused'>): CodedError {
  const only = refused.size === 1 ? [...refused.keys()][0] : undefined;
  if (only === 'at_capacity') {
    return new CodedError('overloaded', `All engines of the model ${model} are at their limit.`, {
      retryAfterMs: RETRY_FULL_MS,
    });
  }
  if (only === 'no_endpoint')
    return new CodedError('not_supported', `No engine of the model ${model} serves this endpoint.`);
  return new CodedError('no_engine', `No engine of the model ${model} is ready at this moment.`, {
    retryAfterMs: RETRY_NONE_MS,
  });
}
