/**
 * The names under which declared deployments and engines are served. A model that is declared exists, also while no agent with an engine
 * of it has come: whoever asks for it is to come again, and must not hear that there is none.
 */
import type { Projection } from '../events/projection.ts';
import type { DeploymentSpec } from './contract.ts';

/** Gives the names as of now; they are gathered anew only when the log has grown. */
export function createDeclaredModels(): (projection: Projection) => ReadonlySet<string> {
  let of: Projection | undefined;
  let seq = -1;
  let names: ReadonlySet<string> = new Set();
  return (projection) => {
    if (projection === of && projection.seq() === seq) return names;
    of = projection;
    seq = projection.seq();
    const specs = [...projection.list('desired', 'Deployment'), ...projection.list('desired', 'Engine')].map(
      ({ value }) => value as unknown as { spec: Pick<DeploymentSpec, 'servedModelName'> },
    );
    names = new Set(specs.map(({ spec }) => spec.servedModelName));
    return names;
  };
}
