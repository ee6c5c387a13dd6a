/**
 * The routes that only read: models, health and metrics.
 */
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { CodedError } from '../../../lib/errors.ts';
import type { Metrics } from '../../../lib/io/metrics.ts';
import type { FleetView, ModelView } from '../../ports.ts';
import { SCHEMAS } from './openapi.ts';

interface ModelEntry {
  readonly id: string;
  readonly object: 'model';
  readonly created: number;
  readonly owned_by: string;
  readonly max_model_len?: number;
  readonly simulated?: true;
}

/** OpenAI's four members, vLLM's `max_model_len`, and a word when the engine only plays a model. */
function toEntry(model: ModelView): ModelEntry {
  return {
    id: model.id,
    object: 'model',
    created: model.createdS,
    owned_by: model.ownedBy,
    ...(model.contextTokens === undefined ? {} : { max_model_len: model.contextTokens }),
    ...(model.simulated ? { simulated: true as const } : {}),
  };
}

function modelsOf(fleet: FleetView, request: FastifyRequest): readonly ModelView[] {
  const { identity } = request;
  if (identity === undefined) throw new CodedError('unauthenticated', 'A credential is required here.');
  return fleet.models(identity.tenant);
}

function sendJson(reply: FastifyReply, status: number, value: unknown): FastifyReply {
  return reply.code(status).header('content-type', 'application/json; charset=utf-8').send(JSON.stringify(value));
}

function modelName(request: FastifyRequest): string {
  const { '*': name } = request.params as { readonly '*': string };
  return name;
}

export interface ReadContext {
  readonly fleet: FleetView;
  readonly metrics: Metrics;
  isDraining(): boolean;
}

export function registerReadRoutes(app: FastifyInstance, context: ReadContext): void {
  const { fleet, metrics } = context;
  app.get('/v1/models', { schema: SCHEMAS.models }, (request, reply) =>
    sendJson(reply, 200, { object: 'list', data: modelsOf(fleet, request).map(toEntry) }),
  );
  // A wildcard, because names such as org/model come with an encoded slash or a plain one.
  app.get('/v1/models/*', { schema: SCHEMAS.model }, (request, reply) => {
    const name = modelName(request);
    const model = modelsOf(fleet, request).find((candidate) => candidate.id === name);
    if (model === undefined)
      throw new CodedError('model_not_found', 'No such model is served here.', { param: 'model' });
    return sendJson(reply, 200, toEntry(model));
  });
  app.get('/health/live', { schema: SCHEMAS.live }, (_request, reply) => sendJson(reply, 200, { status: 'ok' }));
  app.get('/health/ready', { schema: SCHEMAS.ready }, (_request, reply) => {
    const isReady = !context.isDraining() && fleet.ready().ok;
    return sendJson(reply, isReady ? 200 : 503, { status: isReady ? 'ready' : 'not_ready' });
  });
  app.get('/metrics', { schema: SCHEMAS.metrics }, async (_request, reply) => {
    const text = await metrics.render();
    return reply.header('content-type', metrics.contentType).header('cache-control', 'no-store').send(text);
  });
}
