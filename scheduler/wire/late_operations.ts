/**
 * The operations of the control plane, loaded by the first call: their schemas cost a start more than all else of it, and
 * most schedulers serve requests long before somebody declares something.
 */
import type { OperationsOptions } from '../adapters/resources/operations.ts';
import { declaredNodes } from '../core/resources/declared_nodes.ts';
import { RESOURCE_KINDS } from '../core/resources/contract.ts';
import type { ResourceOperations } from '../core/resources/operations.ts';

/** The JSON Schemas of all kinds, for the OpenAPI document. */
export async function resourceSchemas(): Promise<Readonly<Record<string, object>>> {
  const { jsonSchemaOf } = await import('../adapters/resources/parse_resource.ts');
  return Object.fromEntries(RESOURCE_KINDS.map((kind) => [kind, jsonSchemaOf(kind)]));
}

export function lateOperations(options: OperationsOptions): ResourceOperations {
  let loading: Promise<ResourceOperations> | undefined;
  const load = (): Promise<ResourceOperations> => {
    loading ??= import('../adapters/resources/operations.ts').then(({ createResourceOperations }) =>
      createResourceOperations(options),
    );
    return loading;
  };
  return {
    apply: async (...given) => (await load()).apply(...given),
    delete: async (...given) => (await load()).delete(...given),
    get: async (...given) => (await load()).get(...given),
    list: async (...given) => (await load()).list(...given),
    describe: async (...given) => (await load()).describe(...given),
    declaredNodes: () => declaredNodes(options.control),
    plan: async (...given) => (await load()).plan(...given),
    defragment: async (...given) => (await load()).defragment(...given),
    orderDefragment: async (...given) => (await load()).orderDefragment(...given),
    explain: async (...given) => (await load()).explain(...given),
    rollout: async (...given) => (await load()).rollout(...given),
    orderRollout: async (...given) => (await load()).orderRollout(...given),
    freeze: () => options.control.freeze(),
    setFreeze: async (...given) => (await load()).setFreeze(...given),
    liftFreeze: async (...given) => (await load()).liftFreeze(...given),
    events: async (...given) => (await load()).events(...given),
    async *follow(...given) {
      yield* (await load()).follow(...given);
    },
    replay: async (...given) => (await load()).replay(...given),
  };
}
