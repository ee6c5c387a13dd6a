/**
 * When a declared quarantine ends. A duration counts from the event that first said it, by the store's clock, so that to apply
 * the same file again changes nothing, and no clock of an operator or a scheduler matters.
 */
import type { JsonObject } from '../events/json.ts';
import type { Entry } from '../events/projection.ts';
import type { QuarantineSpec } from './contract.ts';

interface Kept {
  readonly spec: QuarantineSpec;
  /** When its duration began, where a later event changed something else. */
  readonly sinceMs?: number;
}

const keptIn = ({ value }: Entry): Kept => value as unknown as Kept;

/** The spec in an entry of the area `quarantine`; undefined: a newer version's entry, which this one leaves alone. */
export function quarantineIn(entry: Entry): QuarantineSpec | undefined {
  const { spec } = (entry.value ?? {}) as Partial<Kept>;
  const isSound = entry.kind === 'Quarantine' && typeof spec?.node === 'string' && typeof spec.reason === 'string';
  return isSound ? spec : undefined;
}

/** When it is over, milliseconds of the store's clock; undefined: it ends when it is deleted. */
export function endOf(entry: Entry): number | undefined {
  const { spec, sinceMs } = keptIn(entry);
  const { until } = spec;
  if (until === undefined) return undefined;
  return typeof until === 'number' ? (sinceMs ?? entry.atMs) + until : Date.parse(until);
}

/** When the duration of what is now applied began; undefined: with the event that is to be written, or it has none. */
export function keptSince(after: JsonObject, current: Entry | undefined): number | undefined {
  if (current === undefined || typeof after['until'] !== 'number') return undefined;
  const { spec, sinceMs } = keptIn(current);
  const isSame = spec.until === after['until'] && spec.node === after['node'] && spec.gpu === after['gpu'];
  return isSame ? (sinceMs ?? current.atMs) : undefined;
}
