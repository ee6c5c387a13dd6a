/**
 * What /docs says of each route. The schemas describe; they do not validate: bodies are checked by core/request, for
 * every door alike.
 */
import type { FastifySchema } from 'fastify';

type Schema = FastifySchema & { readonly summary: string; readonly tags: readonly string[] };

const KEY = [{ bearer: [] }];

const ERROR = {
  description: 'An error; `code` is listed in docs/ERRORS.md. See also x-should-retry and retry-after-ms.',
  content: {
    'application/json': {
      schema: {
        type: 'object',
        properties: {
          error: {
            type: 'object',
            properties: {
              message: { type: 'string' },
              type: { type: 'string' },
              param: { type: 'string', nullable: true },
              code: { type: 'string' },
            },
          },
        },
      },
    },
  },
};

export function answer(description: string, type: string, shape: object = { type: 'object' }): Record<string, unknown> {
  return { 200: { description, content: { [type]: { schema: shape } } }, default: ERROR };
}

function body(required: readonly string[], properties: Record<string, object>): object {
  return {
    type: 'object',
    required,
    properties: { model: { type: 'string' }, ...properties },
    additionalProperties: true,
  };
}

const SAMPLING = {
  stream: { type: 'boolean', default: false },
  stream_options: { type: 'object', properties: { include_usage: { type: 'boolean' } } },
  max_tokens: { type: 'integer', minimum: 0 },
  temperature: { type: 'number' },
  top_p: { type: 'number' },
  n: { type: 'integer', minimum: 1, maximum: 128 },
  seed: { type: 'integer' },
  stop: { oneOf: [{ type: 'string' }, { type: 'array', items: { type: 'string' } }] },
};

const MESSAGES = {
  type: 'array',
  minItems: 1,
  items: { type: 'object', required: ['role'], properties: { role: { type: 'string' }, content: {} } },
};

export function describe(tag: string, summary: string, rest: FastifySchema, isPublic = false): Schema {
  return { tags: [tag], summary, security: isPublic ? [] : KEY, ...rest };
}

export const SCHEMAS = {
  chat: describe('Generation', 'Answers a chat', {
    body: body(['model', 'messages'], {
      messages: MESSAGES,
      tools: { type: 'array', items: { type: 'object' } },
      ...SAMPLING,
    }),
    response: answer('A chat completion, or with `stream` its chunks as server-sent events.', 'application/json'),
  }),
  completions: describe('Generation', 'Continues a text', {
    body: body(['model', 'prompt'], { prompt: {}, ...SAMPLING }),
    response: answer('A completion, or with `stream` its chunks as server-sent events.', 'application/json'),
  }),
  embeddings: describe('Generation', 'Embeds texts', {
    body: body(['model', 'input'], { input: {}, encoding_format: { type: 'string', enum: ['float', 'base64'] } }),
    response: answer('Embeddings.', 'application/json'),
  }),
  models: describe('Models', 'Lists the models that the caller may use', {
    response: answer('The list.', 'application/json'),
  }),
  model: describe('Models', 'Shows one model', { response: answer('The model.', 'application/json') }),
  live: describe('Operation', 'Whether the process runs', { response: answer('It runs.', 'application/json') }, true),
  ready: describe(
    'Operation',
    'Whether requests can be served',
    { response: answer('They can.', 'application/json') },
    true,
  ),
  metrics: describe('Operation', 'Metrics for Prometheus', {
    response: answer('Text exposition.', 'text/plain', { type: 'string' }),
  }),
} as const;
