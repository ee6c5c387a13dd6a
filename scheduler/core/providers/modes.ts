/**
 * The degraded modes by name: how an answer was served when it was not served as it should be. Clients read the name in a
 * header, operators in a metric; the names come from this table and the configuration alone, so they are few.
 */
import type { ProviderSpec } from './contract.ts';

export const DEGRADED_HEADER = 'x-sophia-degraded';

/** Modes in which the fleet itself serves, by the router's word for its decision. */
const OF_DECISION: Readonly<Record<string, string>> = { panic: 'panic', stale: 'stale' };

/** The mode of an answer that an engine of the fleet gives; undefined: as it should be. */
export function modeOfDecision(mode: string | undefined): string | undefined {
  return mode === undefined ? undefined : OF_DECISION[mode];
}

/** The mode of an answer of a provider. */
export function modeOfProvider({ name, leavesFleet }: Pick<ProviderSpec, 'name' | 'leavesFleet'>): string {
  return leavesFleet ? `provider:${name}` : 'secondary_pool';
}

/** All modes that can come about with these providers. */
export function degradedModes(providers: readonly ProviderSpec[]): string[] {
  return [...new Set([...Object.values(OF_DECISION), ...providers.map(modeOfProvider)])];
}
