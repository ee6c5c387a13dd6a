/**
 * Makes the chunks of a completion that continues an answer into chunks of that answer: its id, creation time and model,
 * a chat's deltas where it is a chat, usage as of one uncut run, and each token id once. Shapes: vLLM 0.32 (recorded in
 * test/fixtures/vllm-0.32), OpenAI API reference.
 */
import { parseUsage } from '../../lib/openai.ts';
import type { LaneUsage, ResumeMeta } from '../../proto/codec.ts';
import { StopBuffer } from './stop_buffer.ts';

export interface ContinuedOptions {
  readonly resume: Pick<ResumeMeta, 'id' | 'created' | 'model'>;
  readonly chat: boolean;
  readonly wantUsage: boolean;
  readonly wantTokenIds: boolean;
  /** For a chat: how many alternatives of each token; undefined: no log probabilities. */
  readonly topLogprobs: number | undefined;
  /** Tokens before the continuation, which its engine counts as prompt. */
  readonly resumedTokens: number;
  /** Ids at the begin of the continuation that the client has had already. */
  readonly repeatedIds: number;
  readonly stops?: { readonly strings: readonly string[]; readonly include: boolean; readonly held: string };
}

/** What one chunk became. */
export interface Continued {
  /** The chunk for the client as JSON, or undefined when it gets nothing of it. */
  readonly json: string | undefined;
  readonly ids: readonly number[];
}

interface EngineChoice {
  readonly text?: unknown;
  readonly logprobs?: unknown;
  readonly finish_reason?: unknown;
  readonly stop_reason?: unknown;
  readonly token_ids?: unknown;
}

interface EngineChunk {
  readonly choices?: readonly EngineChoice[];
  readonly usage?: unknown;
  readonly system_fingerprint?: unknown;
}

interface CompletionLogprobs {
  readonly tokens?: readonly string[];
  readonly token_logprobs?: readonly (number | null)[];
  readonly top_logprobs?: readonly (Readonly<Record<string, number>> | null)[];
}

const NOTHING: Continued = { json: undefined, ids: [] };
const encoder = new TextEncoder();
const REPLACEMENT = '\ufffd';

/** A completion names a token by its text only: the bytes of a part of a character are not known any more. */
function chatToken(token: string, logprob: number | null | undefined): object {
  const bytes = token.includes(REPLACEMENT) ? null : [...encoder.encode(token)];
  return { token, logprob: logprob ?? -9999, bytes };
}

/** The sampled token first, then the likeliest: an object's own order puts keys that look like whole numbers first. */
const ranked = (others: Readonly<Record<string, number>>, sampled: string): readonly [string, number][] =>
  Object.entries(others).toSorted(([a, p], [b, q]) => Number(b === sampled) - Number(a === sampled) || q - p);

/**
 * The four parallel lists of a completion as the objects of a chat.
 * @param had tokens at the begin that the client has had already
 */
export function chatLogprobs(value: unknown, top: number, had = 0): object | null {
  const { tokens, token_logprobs: chosen, top_logprobs: others } = (value ?? {}) as CompletionLogprobs;
  if (tokens === undefined) return null;
  const content = tokens.map((token, at) => ({
    ...chatToken(token, chosen?.[at]),
    top_logprobs: ranked(others?.[at] ?? {}, token)
      .slice(0, top)
      .map(([other, logprob]) => chatToken(other, logprob)),
  }));
  return { content: content.slice(had) };
}

/** Turns the chunks of one continuation; `usage` and `finishReason` are known once they have come. */
export class ContinuedAnswer {
  readonly #options: ContinuedOptions;
  readonly #stops: StopBuffer | undefined;
  #repeated: number;
  #ids = 0;
  /** Usage of the whole answer. */
  usage: LaneUsage | undefined;
  finishReason: string | undefined;
  /** A stop string was found that the engine does not know of: nothing more of it is wanted. */
  stopped = false;

  constructor(options: ContinuedOptions) {
    const { stops, repeatedIds } = options;
    this.#options = options;
    this.#repeated = repeatedIds;
    this.#stops = stops === undefined ? undefined : new StopBuffer(stops.strings, stops.include, stops.held);
  }

  /** Takes one parsed chunk of the engine. */
  take(chunk: unknown): Continued {
    const { choices, usage, system_fingerprint: fingerprint } = (chunk ?? {}) as EngineChunk;
    const [choice] = choices ?? [];
    const whole = this.#usageOf(usage);
    if (choice === undefined) {
      if (whole !== undefined) this.usage = laneUsage(whole);
      return this.#options.wantUsage && whole !== undefined ? this.#json([], whole, fingerprint) : NOTHING;
    }
    const ids = Array.isArray(choice.token_ids) ? (choice.token_ids as number[]) : [];
    this.#ids += ids.length;
    if (choice.finish_reason === 'abort') {
      this.finishReason = 'abort';
      return { json: undefined, ids };
    }
    return { ...this.#json([this.#choice(choice, ids)], whole, fingerprint), ids };
  }

  /** The usage chunk of an answer whose engine was stopped here, from what is known; undefined when nobody asked. */
  endUsage(promptTokens: number): string | undefined {
    const completion = this.#options.resumedTokens + this.#ids;
    const usage = {
      prompt_tokens: promptTokens,
      total_tokens: promptTokens + completion,
      completion_tokens: completion,
    };
    this.usage = { promptTokens, completionTokens: completion };
    return this.#options.wantUsage ? this.#json([], usage, undefined).json : undefined;
  }

  #choice(choice: EngineChoice, ids: readonly number[]): object {
    const { chat, topLogprobs, wantTokenIds } = this.#options;
    let text = typeof choice.text === 'string' ? choice.text : '';
    let finish = choice.finish_reason ?? null;
    let reason = choice.stop_reason ?? null;
    if (this.#stops !== undefined) {
      const found = this.#stops.push(text);
      text = found.text;
      if (found.stop !== undefined) {
        this.stopped = finish === null;
        finish = 'stop';
        reason = found.stop;
      } else if (finish !== null) text += this.#stops.flush();
    }
    if (typeof finish === 'string') this.finishReason = finish;
    const shown = ids.slice(Math.min(this.#repeated, ids.length));
    const had = ids.length - shown.length;
    this.#repeated -= had;
    const tokenIds = wantTokenIds ? { token_ids: shown } : {};
    if (!chat) {
      const { logprobs = null } = choice;
      const promptIds = wantTokenIds ? { prompt_token_ids: null } : {};
      return { index: 0, text, logprobs, finish_reason: finish, stop_reason: reason, ...promptIds, ...tokenIds };
    }
    const logprobs = topLogprobs === undefined ? null : chatLogprobs(choice.logprobs, topLogprobs, had);
    const stopReason = finish === null ? {} : { stop_reason: reason };
    return { index: 0, delta: { content: text }, logprobs, finish_reason: finish, ...stopReason, ...tokenIds };
  }

  /** The engine's figures as of one uncut run. */
  #usageOf(value: unknown): object | undefined {
    const usage = parseUsage(value);
    if (usage === undefined) return undefined;
    const { resumedTokens } = this.#options;
    const prompt = Math.max(0, usage.prompt_tokens - resumedTokens);
    const completion = usage.completion_tokens + resumedTokens;
    const cached = usage.prompt_tokens_details?.cached_tokens;
    return {
      prompt_tokens: prompt,
      total_tokens: prompt + completion,
      completion_tokens: completion,
      ...(cached === undefined ? {} : { prompt_tokens_details: { cached_tokens: Math.min(cached, prompt) } }),
    };
  }

  #json(choices: readonly object[], usage: object | undefined, fingerprint: unknown): Continued {
    const { resume, chat } = this.#options;
    const { id, created, model } = resume;
    const object = chat ? 'chat.completion.chunk' : 'text_completion';
    const shownUsage = usage === undefined ? {} : { usage };
    const mark = typeof fingerprint === 'string' ? { system_fingerprint: fingerprint } : {};
    return { json: JSON.stringify({ id, object, created, model, choices, ...shownUsage, ...mark }), ids: [] };
  }
}

function laneUsage(usage: object): LaneUsage {
  const parsed = parseUsage(usage);
  const cached = parsed?.prompt_tokens_details?.cached_tokens;
  return {
    ...(parsed === undefined ? {} : { promptTokens: parsed.prompt_tokens, completionTokens: parsed.completion_tokens }),
    ...(cached === undefined ? {} : { cachedPromptTokens: cached }),
  };
}
