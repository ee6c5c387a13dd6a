/**
 * The state of a rollout as an entry of the log keeps it. What another version wrote, or a person changed, is read only as
 * far as it can be carried on: anything else is no state, and the deployment is looked at anew.
 */
import type { JsonObject, JsonValue } from '../events/json.ts';
import type { RolloutState } from './contract.ts';
import { ADVANCE } from './phases.ts';

/** The state holds no `undefined`, so it is its own JSON. */
export const toJson = (state: RolloutState): JsonValue => state as unknown as JsonValue;

const isObject = (value: JsonValue | undefined): value is JsonObject =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

const isRevision = (value: JsonValue | undefined): boolean =>
  isObject(value) && typeof value['id'] === 'string' && isObject(value['spec']);

const isNumber = (value: JsonValue | undefined): boolean => typeof value === 'number';

function isRunning(value: JsonValue | undefined): boolean {
  if (!isObject(value)) return false;
  const { phase, from, to, rules, step, before, looks, passed, wanted } = value;
  return (
    typeof phase === 'string' &&
    Object.hasOwn(ADVANCE, phase) &&
    (from === null || isRevision(from)) &&
    isRevision(to) &&
    [rules, before, looks, wanted].every(isObject) &&
    isObject(step) &&
    isObject(step['before']) &&
    [step['index'], step['sinceMs'], step['admitted'], value['proven']].every(isNumber) &&
    [value['startedAtMs'], value['deadlineAtMs']].every(isNumber) &&
    Array.isArray(passed) &&
    passed.every((key) => typeof key === 'string')
  );
}

/** @returns undefined when the value is no state that this version can carry on */
export function readState(value: JsonValue | undefined): RolloutState | undefined {
  if (!isObject(value)) return undefined;
  const { seen, current, running, history } = value;
  const isSound =
    typeof seen === 'string' &&
    (current === null || isRevision(current)) &&
    (running === null || isRunning(running)) &&
    Array.isArray(history) &&
    history.every((entry) => isObject(entry) && isRevision(entry['revision']) && typeof entry['outcome'] === 'string');
  return isSound ? (value as unknown as RolloutState) : undefined;
}
