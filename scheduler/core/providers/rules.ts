/** What must hold between providers and fallbacks beyond the form of each; a fault here would show in an outage only. */
import { CodedError } from '../../../lib/errors.ts';
import type { FallbackRules } from './contract.ts';

const invalid = (param: string, message: string): CodedError =>
  new CodedError('invalid_config', `Setting ${param}: ${message}`, { param });

/** @throws CodedError invalid_config */
export function checkRules({ providers, fallbacks }: FallbackRules): void {
  const byName = new Map(providers.map((spec) => [spec.name, spec]));
  if (byName.size !== providers.length) throw invalid('providers', 'two providers have the same name.');
  for (const [model, names] of Object.entries(fallbacks)) {
    if (new Set(names).size !== names.length) throw invalid('fallbacks', `${model} names a provider twice.`);
    for (const name of names) {
      const spec = byName.get(name);
      if (spec === undefined) throw invalid('fallbacks', `${model} names ${name}, which is not among the providers.`);
      if (!Object.hasOwn(spec.models, model)) throw invalid('fallbacks', `${name} has no name for the model ${model}.`);
    }
  }
}

const LOOPBACK: ReadonlySet<string> = new Set(['127.0.0.1', '[::1]', 'localhost']);

/** Keys and prompts go in plain text only where they stay on the machine, or in a network of one's own. */
export function checkAddress(name: string, url: URL, leavesFleet: boolean): void {
  if (url.protocol === 'https:' || LOOPBACK.has(url.hostname) || !leavesFleet) return;
  throw invalid('providers', `the address of ${name} must be https, because prompts leave the fleet by it.`);
}
