/**
 * Stands before the generator: a request for an alias goes on as one for the model that was drawn for it, with that name in
 * its body, because engines refuse a name that they do not serve. The answer names the model that gave it.
 */
import assert from 'node:assert';
import { scanJson } from '../../../lib/json_scan.ts';
import { spliceMembers } from '../../../lib/json_splice.ts';
import type { RandomSource } from '../../../lib/rng.ts';
import { type Aliases, resolveAlias } from '../../core/routing/aliases.ts';
import type { AdmittedRequest, FleetView, Generator, ModelView } from '../../ports.ts';

export interface AliasDeps {
  /** As they are now; asked for each request. */
  readonly aliases: () => Aliases;
  /** Whether an engine takes requests for a model now. */
  readonly serves: (model: string) => boolean;
  readonly random: RandomSource;
}

const ANY_DEPTH = Infinity;

/** The body has been read and found sound before: it is scanned again for where its model stands. */
function asking(request: AdmittedRequest, model: string): AdmittedRequest {
  const scan = scanJson(request.body, { maxDepth: ANY_DEPTH });
  assert(scan.ok, 'the body has been scanned at the door');
  const set = { model: JSON.stringify(model) };
  return { ...request, model, body: spliceMembers(request.body, scan.members, { set }) };
}

/** @returns a generator that knows aliases; requests for any other name pass it untouched */
export function createAliasGenerator(inner: Generator, { aliases, serves, random }: AliasDeps): Generator {
  return {
    start(request, sink, creditBytes) {
      const model = resolveAlias(aliases(), request.model, serves, random);
      return inner.start(model === undefined ? request : asking(request, model), sink, creditBytes);
    },
    cancel: (id, tenant) => inner.cancel(id, tenant),
  };
}

/** The models that clients may ask for, aliases among them: each looks like its first target that is known. */
export function withAliases(view: FleetView, aliases: () => Aliases): FleetView {
  return {
    ready: () => view.ready(),
    models(tenant) {
      const models = view.models(tenant);
      const byId = new Map(models.map((model) => [model.id, model]));
      const named: ModelView[] = [];
      for (const [id, targets] of aliases()) {
        const known = targets.map(({ model }) => byId.get(model)).find((model) => model !== undefined);
        if (known !== undefined && !byId.has(id)) named.push({ ...known, id });
      }
      return [...models, ...named];
    },
  };
}
