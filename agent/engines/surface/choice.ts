/**
 * One choice of one request: tokens in, frames (streamed) or collected text (plain) out. Owns the decoder, the stop
 * strings, the tool deltas and the one finish reason of its choice; knows nothing of sockets.
 */
import { randomUUID } from 'node:crypto';
import type { Backend, EndReason } from './backend.ts';
import {
  chunkWriter,
  NO_EXTRA,
  type ChunkExtra,
  type ChunkHead,
  type ChunkWriter,
  type WholeChoice,
} from './chunks.ts';
import { logprobJson, mergeLogprobs } from './logprobs.ts';
import type { Plan } from './requests.ts';
import {
  jsonInner,
  stopFinder,
  tokenDecoder,
  type StopFinder,
  type TextDecoderOfTokens,
  type TokenTexts,
} from './text_stream.ts';

/** How a choice ended, as the client is told. */
export interface Finish {
  readonly reason: EndReason | 'tool_calls';
  readonly stopReason: string | number | undefined;
}

export interface Choice {
  readonly index: number;
  /** Tokens that the backend made, the end-of-sequence token included, as vLLM counts. */
  tokens: number;
  finish: Finish | undefined;
  /** Takes tokens. Returns the frames to send ('' for a plain answer); sets `finish` where a stop string was found. */
  take(ids: readonly number[]): string;
  /** Ends the choice: `ids` are the last tokens, which ride with the finish reason. */
  end(ids: readonly number[], reason: EndReason): string;
  whole(): WholeChoice;
}

interface State {
  readonly plan: Plan;
  readonly backend: Backend;
  readonly promptIds: readonly number[];
  readonly writer: ChunkWriter;
  readonly decoder: TextDecoderOfTokens;
  readonly stops: StopFinder | undefined;
  readonly callIds: readonly string[];
  started: boolean;
  call: number;
  callNamed: boolean;
  text: string;
  readonly ids: number[];
  readonly logprobs: string[];
}

/** The choice `index` of `plan`, whose prompt is `plan.prompts[floor(index / n)]`. */
export function createChoice(plan: Plan, backend: Backend, texts: TokenTexts, head: ChunkHead, index: number): Choice {
  const state: State = {
    plan,
    backend,
    promptIds: plan.prompts[Math.floor(index / plan.n)] ?? [],
    writer: chunkWriter(plan, head, index),
    decoder: tokenDecoder(texts),
    stops: plan.stops.length > 0 ? stopFinder(plan.stops, plan.includeStop) : undefined,
    callIds: plan.calls.map(() => `chatcmpl-tool-${randomUUID().replaceAll('-', '')}`),
    started: false,
    call: 0,
    callNamed: false,
    text: '',
    ids: [],
    logprobs: [],
  };
  const choice: Choice = {
    index,
    tokens: 0,
    finish: undefined,
    take: (ids) => step(state, choice, ids, undefined),
    end: (ids, reason) => step(state, choice, ids, reason),
    whole: () => ({
      index,
      text: state.text,
      ids: state.ids,
      promptIds: state.promptIds,
      finish: choice.finish?.reason ?? 'abort',
      stopReason: choice.finish?.stopReason,
      logprobs: plan.topLogprobs === undefined ? undefined : mergeLogprobs(plan.kind, state.logprobs),
      toolCalls: toolCallsOf(state),
    }),
  };
  return choice;
}

function step(state: State, choice: Choice, ids: readonly number[], reason: EndReason | undefined): string {
  if (choice.finish !== undefined) return '';
  const { plan } = state;
  const position = choice.tokens;
  choice.tokens += ids.length;
  const visible =
    plan.stopTokenIds.length > 0 && !plan.includeStop ? ids.filter((id) => !plan.stopTokenIds.includes(id)) : ids;
  let piece = visible.length > 0 ? state.decoder.push(visible) : '';
  let json = visible.length > 0 ? state.decoder.lastJson : '';
  if (state.stops !== undefined) {
    const found = state.stops.push(piece);
    piece = found.safe;
    json = undefined;
    if (found.stop !== undefined) choice.finish = { reason: 'stop', stopReason: found.stop };
    else if (reason !== undefined) piece += state.stops.flush();
  }
  if (choice.finish === undefined && reason !== undefined) choice.finish = finishOf(plan, ids, reason);
  // Counted from the begin of the prompt: an answer that goes on elsewhere has the tokens before it in its prompt.
  const at = state.promptIds.length + position;
  const logprobs = plan.topLogprobs === undefined ? undefined : logprobJson(plan, state.backend, ids, at);
  if (!plan.stream) {
    state.text += piece;
    if (plan.returnTokenIds) state.ids.push(...ids);
    if (logprobs !== undefined) state.logprobs.push(logprobs);
    return '';
  }
  return frames(state, choice, { piece, json, ids, logprobs });
}

function finishOf(plan: Plan, ids: readonly number[], reason: EndReason): Finish {
  const last = ids.at(-1);
  const stopReason = reason === 'stop' && last !== undefined && plan.stopTokenIds.includes(last) ? last : undefined;
  if (plan.calls.length > 0 && reason === 'stop' && !plan.namedCall) return { reason: 'tool_calls', stopReason };
  return { reason, stopReason };
}

interface Piece {
  readonly piece: string;
  readonly json: string | undefined;
  readonly ids: readonly number[];
  readonly logprobs: string | undefined;
}

function frames(state: State, choice: Choice, { piece, json, ids, logprobs }: Piece): string {
  const { plan, writer } = state;
  const finish = choice.finish;
  let out = '';
  let promptIds: readonly number[] | undefined;
  if (!state.started) {
    state.started = true;
    const shown = plan.returnTokenIds ? state.promptIds : undefined;
    if (plan.kind === 'chat') out = writer.role(shown);
    else promptIds = shown;
  }
  if (finish === undefined && ids.length === 0 && piece === '') return out;
  const extra: ChunkExtra =
    finish === undefined && logprobs === undefined && promptIds === undefined
      ? NO_EXTRA
      : { logprobs, finish: finish?.reason, stopReason: finish?.stopReason, promptIds };
  if (plan.calls.length > 0) return out + toolFrames(state, piece, ids, extra);
  return out + writer.text(json ?? jsonInner(piece), ids, extra);
}

/** The script's calls are divided by line breaks, which JSON text never holds; each call names itself before its arguments. */
function toolFrames(state: State, piece: string, ids: readonly number[], extra: ChunkExtra): string {
  const { plan, writer } = state;
  let out = '';
  let unsent = ids;
  const parts = piece === '' ? [] : piece.split('\n');
  for (let at = 0; at < parts.length; at += 1) {
    if (at > 0) {
      state.call += 1;
      state.callNamed = false;
    }
    const part = parts[at] as string;
    const call = plan.calls[state.call];
    if (call === undefined || part === '') continue;
    if (!state.callNamed) {
      state.callNamed = true;
      const named = `"id":${JSON.stringify(state.callIds[state.call])},"type":"function","index":${state.call},"function":{"name":${JSON.stringify(call.name)},"arguments":""}`;
      out += writer.delta(`"tool_calls":[{${named}}]`, [], NO_EXTRA);
    }
    out += writer.delta(
      `"tool_calls":[{"index":${state.call},"function":{"arguments":"${jsonInner(part)}"}}]`,
      unsent,
      NO_EXTRA,
    );
    unsent = [];
  }
  if (extra.finish !== undefined)
    out += writer.delta('', unsent, { finish: extra.finish, stopReason: extra.stopReason });
  else if (plan.returnTokenIds && unsent.length > 0) out += writer.delta('', unsent, NO_EXTRA);
  return out;
}

function toolCallsOf(state: State): WholeChoice['toolCalls'] {
  if (state.plan.calls.length === 0) return [];
  const texts = state.text.split('\n');
  return state.plan.calls.flatMap((call, at) => {
    const text = texts[at];
    return text === undefined || text === '' ? [] : [{ id: state.callIds[at] ?? '', name: call.name, arguments: text }];
  });
}
