/** The service `inference.v1.Inference` as handlers of @grpc/grpc-js: what a gateway speaks to. */
import type { Metadata, sendUnaryData } from '@grpc/grpc-js';
import { toCodedError } from '../../../lib/errors.ts';
import type { RequestId } from '../../../lib/ids.ts';
import type { InferenceHandlers } from '../../../proto/gen/inference/v1/Inference.ts';
import type { Model } from '../../../proto/gen/inference/v1/Model.ts';
import type { Identity, ModelView } from '../../ports.ts';
import { serveGenerate } from './generate.ts';
import { ManyStream } from './generate_many.ts';
import { statusFor } from './grpc_errors.ts';
import { tenantOf } from './inference_admission.ts';
import type { InferenceDeps } from './inference_deps.ts';
import { serveRoute } from './route.ts';

export interface InferenceService {
  readonly handlers: InferenceHandlers;
  /** Lets GenerateMany streams end as soon as nothing runs on them. */
  drain(): void;
}

function toModel(view: ModelView): Model {
  return {
    id: view.id,
    createdS: view.createdS,
    ownedBy: view.ownedBy,
    ...(view.contextTokens === undefined ? {} : { contextTokens: view.contextTokens }),
    capabilities: [...view.capabilities],
    simulated: view.simulated,
    readyEngines: view.readyEngines,
  };
}

/** Answers a unary call with what `work` gives or with the status of what it throws. */
function answer<Response>(deps: InferenceDeps, callback: sendUnaryData<Response>, work: () => Response): void {
  try {
    callback(null, work());
  } catch (error) {
    callback(statusFor(deps.logger, toCodedError(error)));
  }
}

/** @param identityOf who makes a call; the gate before the handlers knows */
export function createInference(
  deps: InferenceDeps,
  identityOf: (call: { readonly metadata: Metadata }) => Identity,
): InferenceService {
  const streams = new Set<ManyStream>();
  let draining = false;
  const handlers: InferenceHandlers = {
    Generate: (call) => serveGenerate(deps, call, identityOf(call)),
    GenerateMany(call) {
      const stream: ManyStream = new ManyStream(deps, call, identityOf(call), () => streams.delete(stream));
      streams.add(stream);
      stream.open();
      if (draining) stream.drain();
    },
    ListModels(call, callback) {
      answer(deps, callback, () => ({ models: deps.fleet.models(identityOf(call).tenant).map(toModel) }));
    },
    Route(call, callback) {
      serveRoute(deps, call, identityOf(call)).then(
        (response) => callback(null, response),
        (error: unknown) => callback(statusFor(deps.logger, toCodedError(error))),
      );
    },
    Cancel(call, callback) {
      answer(deps, callback, () => {
        const tenant = tenantOf(identityOf(call), call.request.tenant, 'tenant');
        return { cancelled: deps.generator.cancel(call.request.requestId as RequestId, tenant) };
      });
    },
  };
  return {
    handlers,
    drain() {
      draining = true;
      for (const stream of streams) stream.drain();
    },
  };
}
