/** The declared aliases in routing's terms: their targets are deployments, and requests ask for the models of those. */
import type { Projection } from '../events/projection.ts';
import type { AliasTarget } from '../routing/aliases.ts';
import type { AliasSpec, DeploymentSpec } from './contract.ts';

/** @returns by name; targets whose deployment is not there are left out */
export function aliasesOf(projection: Pick<Projection, 'list' | 'get'>): Map<string, readonly AliasTarget[]> {
  const found = new Map<string, readonly AliasTarget[]>();
  for (const { name, value } of projection.list('desired', 'Alias')) {
    const { targets } = (value as unknown as { readonly spec: AliasSpec }).spec;
    found.set(
      name,
      targets.flatMap(({ deployment, weight }): AliasTarget[] => {
        const entry = projection.get('desired', 'Deployment', deployment);
        if (entry === undefined) return [];
        const { spec } = entry.value as unknown as { readonly spec: DeploymentSpec };
        return [{ model: spec.servedModelName, weight }];
      }),
    );
  }
  return found;
}
