/** What an answer of a provider costs by its price list. */
import type { LaneUsage } from '../../../proto/codec.ts';
import type { ProviderSpec } from './contract.ts';

const MILLION = 1_000_000;

/** In the currency of the price list; what the provider does not tell of its usage costs nothing here. */
export function costOf(
  spec: Pick<ProviderSpec, 'promptPricePerMillion' | 'outputPricePerMillion'>,
  usage: LaneUsage | undefined,
): number {
  const { promptTokens = 0, completionTokens = 0 } = usage ?? {};
  return (promptTokens * spec.promptPricePerMillion + completionTokens * spec.outputPricePerMillion) / MILLION;
}
