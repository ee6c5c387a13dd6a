/**
 * What each order of an operator needs and means, as one table that the command line, the scheduler and the agent read:
 * so that a wrong order is refused with the same words wherever it comes in, and none of them guesses.
 */
import { CodedError } from './errors.ts';

export interface VerbRule {
  /** What the order is given to; `none`: it speaks of another order and is never a person's. */
  readonly target: 'engine' | 'node' | 'none';
  /** Whether it changes what runs: such an order is obeyed only from the newest scheduler. */
  readonly changes: boolean;
  /** How long its result may take, milliseconds; an order that follows has no limit. */
  readonly timeoutMs: number;
  readonly needs: readonly ('gpu' | 'loraName' | 'loraPath')[];
}

/** Most lines of a log that are shown from before now. */
export const MAX_TAIL_LINES = 10_000;
/** Lines that are shown when nobody says how many. */
export const DEFAULT_TAIL_LINES = 100;
/** Output of one order that may be on its way to a reader. */
export const COMMAND_WINDOW_BYTES = 256 * 1024;

const QUICK_MS = 15_000;
/** Weights of 140 GB go to host memory and back in well under this; an adapter is loaded in seconds. */
const SLOW_MS = 180_000;

const rule = (
  target: VerbRule['target'],
  changes: boolean,
  timeoutMs: number,
  needs: VerbRule['needs'] = [],
): VerbRule => ({ target, changes, timeoutMs, needs });

export const VERB_RULES = {
  COMMAND_VERB_ENGINE_DRAIN: rule('engine', true, QUICK_MS),
  COMMAND_VERB_ENGINE_UNDRAIN: rule('engine', true, QUICK_MS),
  COMMAND_VERB_ENGINE_RESTART: rule('engine', true, QUICK_MS),
  COMMAND_VERB_ENGINE_SLEEP: rule('engine', true, SLOW_MS),
  COMMAND_VERB_ENGINE_WAKE: rule('engine', true, SLOW_MS),
  COMMAND_VERB_LORA_LOAD: rule('engine', true, SLOW_MS, ['loraName', 'loraPath']),
  COMMAND_VERB_LORA_UNLOAD: rule('engine', true, SLOW_MS, ['loraName']),
  COMMAND_VERB_PREFIX_CACHE_RESET: rule('engine', true, QUICK_MS),
  COMMAND_VERB_ENGINE_LOGS: rule('engine', false, SLOW_MS),
  COMMAND_VERB_ENGINE_JOURNAL: rule('engine', false, QUICK_MS),
  COMMAND_VERB_NODE_DRAIN: rule('node', true, QUICK_MS),
  COMMAND_VERB_NODE_UNDRAIN: rule('node', true, QUICK_MS),
  COMMAND_VERB_GPU_RELEASE: rule('node', true, QUICK_MS, ['gpu']),
  COMMAND_VERB_CANCEL: rule('none', false, QUICK_MS),
  COMMAND_VERB_CREDIT: rule('none', false, QUICK_MS),
} as const satisfies Readonly<Record<string, VerbRule>>;

export type VerbName = keyof typeof VERB_RULES;

/** The fields of an order that the rules look at. */
export interface OrderFields {
  readonly verb: string;
  readonly engine?: string;
  readonly gpu?: number;
  readonly loraName?: string;
  readonly loraPath?: string;
}

/** The rule of a verb, or undefined when there is no such verb. */
export function verbRule(verb: string): VerbRule | undefined {
  return Object.hasOwn(VERB_RULES, verb) ? VERB_RULES[verb as VerbName] : undefined;
}

/**
 * The rule of a person's order whose fields are complete.
 * @throws CodedError invalid_value for a verb that nobody may give, missing_field
 */
export function requireOrder(order: OrderFields): VerbRule {
  const found = verbRule(order.verb);
  if (found === undefined || found.target === 'none')
    throw new CodedError('invalid_value', 'There is no order of this name.', { param: 'verb' });
  if (found.target === 'engine' && (order.engine ?? '') === '')
    throw new CodedError('missing_field', 'The order names no engine.', { param: 'engine' });
  for (const field of found.needs) {
    const value = order[field];
    if (value === undefined || value === '')
      throw new CodedError('missing_field', `The order needs ${field}.`, { param: field });
  }
  return found;
}

/** What an output costs of its reader's window, in bytes; entries of a journal count as a line each. */
export function outputCost(dataBytes: number, journalEntries: number): number {
  return dataBytes + 256 * journalEntries;
}
