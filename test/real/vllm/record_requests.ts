/** The requests whose answers are recorded as fixtures; one line of this table is one file. */
import type { Request } from './wire_capture.ts';

export type RecordedRequest = { readonly file: string; readonly request: Request; readonly note?: string };

const ask = (content: string) => ({ model: 'smollm2', messages: [{ role: 'user', content }], temperature: 0 });
const post = (path: string, body: unknown, headers: Record<string, string> = {}): Request => ({
  method: 'POST',
  path,
  body,
  headers,
});
const chat = (body: object): Request => post('/v1/chat/completions', body, { 'x-request-id': 'request-1' });
const completion = (body: object): Request => post('/v1/completions', body, { 'x-request-id': 'request-1' });
const get = (path: string): Request => ({ method: 'GET', path });

const usage = { stream_options: { include_usage: true } };
/** Far over the 2,048 positions the engine is started with. */
const tooLong = 'word '.repeat(3000);
const weatherTool = {
  type: 'function',
  function: {
    name: 'get_weather',
    description: 'The weather in a city',
    parameters: { type: 'object', properties: { city: { type: 'string', maxLength: 12 } }, required: ['city'] },
  },
};

const STREAMS: readonly RecordedRequest[] = [
  {
    file: 'chat-stream-token-ids.http',
    request: chat({ ...ask('Say hello.'), max_tokens: 16, stream: true, return_token_ids: true, ...usage }),
  },
  {
    file: 'chat-stream.http',
    request: chat({ ...ask('Say hello.'), max_tokens: 16, stream: true }),
  },
  {
    file: 'chat-stream-multibyte.http',
    request: chat({
      ...ask('Repeat exactly this text: 日本語 🙂 naïve café 🚀'),
      max_tokens: 40,
      stream: true,
      return_token_ids: true,
      ...usage,
    }),
    note: 'characters that need several tokens',
  },
  {
    file: 'chat-stream-continuous-usage.http',
    request: chat({
      ...ask('Say hello.'),
      max_tokens: 6,
      stream: true,
      stream_options: { include_usage: true, continuous_usage_stats: true },
    }),
  },
  {
    file: 'chat-stream-two-choices.http',
    request: chat({
      ...ask('Say hello.'),
      temperature: 0.8,
      seed: 7,
      n: 2,
      max_tokens: 6,
      stream: true,
      return_token_ids: true,
    }),
  },
  {
    file: 'chat-stream-logprobs.http',
    request: chat({ ...ask('Say hello.'), max_tokens: 3, stream: true, logprobs: true, top_logprobs: 2 }),
  },
  {
    file: 'completions-stream-token-ids.http',
    request: completion({
      model: 'smollm2',
      prompt: 'The capital of France is',
      temperature: 0,
      max_tokens: 12,
      stream: true,
      return_token_ids: true,
      ...usage,
    }),
  },
  {
    file: 'completions-stream-from-ids.http',
    request: completion({
      model: 'smollm2',
      prompt: [504, 3575, 282, 4649, 314],
      temperature: 0,
      max_tokens: 6,
      stream: true,
      return_token_ids: true,
    }),
    note: 'the prompt is given as token ids',
  },
];

const PLAIN: readonly RecordedRequest[] = [
  { file: 'chat.http', request: chat({ ...ask('Say hello.'), max_tokens: 16 }) },
  { file: 'chat-token-ids.http', request: chat({ ...ask('Say hello.'), max_tokens: 6, return_token_ids: true }) },
  {
    file: 'completions.http',
    request: completion({ model: 'smollm2', prompt: 'The capital of France is', temperature: 0, max_tokens: 12 }),
  },
  { file: 'tokenize.http', request: post('/tokenize', { model: 'smollm2', prompt: 'Hello, wörld 🙂' }) },
  {
    file: 'tokenize-chat.http',
    request: post('/tokenize', { model: 'smollm2', messages: [{ role: 'user', content: 'Hi' }] }),
  },
  { file: 'detokenize.http', request: post('/detokenize', { model: 'smollm2', tokens: [19556, 28, 905, 17] }) },
  { file: 'models.http', request: get('/v1/models') },
  { file: 'version.http', request: get('/version') },
  { file: 'health.http', request: get('/health') },
  { file: 'ping.http', request: get('/ping') },
  { file: 'load.http', request: get('/load') },
];

const REFUSALS: readonly RecordedRequest[] = [
  { file: 'error-unknown-model.http', request: chat({ ...ask('Hi'), model: 'no-such-model' }) },
  { file: 'error-unknown-model-stream.http', request: chat({ ...ask('Hi'), model: 'no-such-model', stream: true }) },
  { file: 'error-too-long.http', request: chat({ ...ask(tooLong), max_tokens: 4 }) },
  { file: 'error-too-long-stream.http', request: chat({ ...ask(tooLong), max_tokens: 4, stream: true }) },
  { file: 'error-max-tokens-too-large.http', request: chat({ ...ask('Hi'), max_tokens: 5000 }) },
  { file: 'error-bad-json.http', request: post('/v1/chat/completions', '{"model": "smollm2", "messages": [') },
  { file: 'error-wrong-type.http', request: chat({ model: 'smollm2', messages: 'not a list' }) },
  { file: 'error-wrong-value.http', request: chat({ ...ask('Hi'), temperature: -3 }) },
  { file: 'error-no-messages.http', request: chat({ model: 'smollm2' }) },
  { file: 'error-empty-body.http', request: post('/v1/chat/completions', '') },
  { file: 'error-unknown-path.http', request: get('/v1/nothing') },
  { file: 'error-wrong-method.http', request: get('/v1/chat/completions') },
  {
    file: 'error-no-tool-parser.http',
    request: chat({
      ...ask('Hi'),
      tools: [weatherTool],
      tool_choice: { type: 'function', function: { name: 'get_weather' } },
    }),
  },
  {
    file: 'error-embeddings.http',
    request: post('/v1/embeddings', { model: 'smollm2', input: 'Hi' }),
    note: 'a model that generates does not embed',
  },
];

export const ORDINARY: readonly RecordedRequest[] = [...STREAMS, ...PLAIN, ...REFUSALS];

/** Wants an engine started with --enable-auto-tool-choice and a --tool-call-parser; without one it is refused (400). */
export const TOOLS: readonly RecordedRequest[] = [
  {
    file: 'chat-stream-tool.http',
    request: chat({
      ...ask('What is the weather in Paris?'),
      max_tokens: 40,
      stream: true,
      tools: [weatherTool],
      tool_choice: { type: 'function', function: { name: 'get_weather' } },
      ...usage,
    }),
    note: 'engine started with `--enable-auto-tool-choice --tool-call-parser hermes`',
  },
];
