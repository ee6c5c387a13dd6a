/**
 * Starts the continuation of a cut answer on another engine. It first asks the engine for the ids of the prompt and
 * whether the answer so far ends within a character, then sends the completion; to the request it looks like one exchange
 * that takes a little longer to begin. Everything it asks is bounded in time and size.
 */
import { CodedError } from '../../lib/errors.ts';
import type { ResumeMeta, SubmitMeta } from '../../proto/codec.ts';
import {
  type Ask,
  continuationBody,
  endingEvents,
  endsInPart,
  nextCut,
  ownPromptIds,
  type Prompt,
  promptQuestion,
  type Question,
  readPrompt,
  readText,
  stopsOf,
  TAIL_TOKENS,
  textQuestion,
  tokensLeft,
} from '../core/continuation.ts';
import { ContinuedAnswer, type ContinuedOptions } from '../core/continued_chunk.ts';
import { mapEngineError } from './engine_answers.ts';
import type { EngineRequest, Exchange, ExchangeSink } from './engine_connection.ts';
import type { SendToEngine } from './relayed_request.ts';

export interface ContinuationOrder {
  readonly meta: SubmitMeta & { readonly resume: ResumeMeta };
  readonly body: Uint8Array;
  /** The ids of the answer so far. */
  readonly ids: Uint32Array;
}

/** Where the continuation begins and what its chunks become. */
export interface ContinuationStart {
  /** Of the ids so far, those after which it goes on. */
  readonly kept: Uint32Array;
  readonly promptTokens: number;
  readonly answer: ContinuedAnswer;
}

/**
 * Longer than the watchdog needs: an engine that hangs is found by it and ended, while a question that was given up before
 * would only come again with the next attempt, and each attempt look like a fresh request.
 */
const QUESTION_TIMEOUT_MS = 20_000;
const MAX_ANSWER_BYTES = 64 * 1024 * 1024;
const COMPLETIONS_PATH = '/v1/completions';
const STREAM_HEAD = { status: 200, headers: new Map([['content-type', 'text/event-stream']]) };

/** The engine refused a question: what it said becomes the failure of the request. */
class Refused extends Error {
  override name = 'Refused';
  readonly error: CodedError;

  constructor(error: CodedError) {
    super(error.message);
    this.error = error;
  }
}

export class Continuation implements Exchange {
  readonly #send: SendToEngine;
  readonly #order: ContinuationOrder;
  readonly #sink: ExchangeSink;
  readonly #onStart: (start: ContinuationStart) => void;
  readonly #headers: EngineRequest['headers'];
  #current: Exchange | undefined;
  #paused = false;
  #aborted = false;

  constructor(
    send: SendToEngine,
    order: ContinuationOrder,
    headers: EngineRequest['headers'],
    sink: ExchangeSink,
    onStart: (start: ContinuationStart) => void,
  ) {
    this.#send = send;
    this.#order = order;
    this.#headers = headers;
    this.#sink = sink;
    this.#onStart = onStart;
  }

  /** Begins; whatever goes wrong reaches the sink as onFailed. */
  start(): void {
    this.#run().catch((thrown: unknown) => {
      if (this.#aborted) return;
      const error = thrown instanceof Refused ? thrown.error : thrown;
      this.#sink.onFailed(
        error instanceof CodedError
          ? error
          : new CodedError('internal', 'The relay could not continue the request.', { cause: error }),
      );
    });
  }

  abort(): void {
    this.#aborted = true;
    this.#current?.abort();
  }

  pause(): void {
    this.#paused = true;
    this.#current?.pause();
  }

  resume(): void {
    this.#paused = false;
    this.#current?.resume();
  }

  async #run(): Promise<void> {
    const { meta, body, ids } = this.#order;
    const ask = JSON.parse(Buffer.from(body.buffer, body.byteOffset, body.byteLength).toString('utf8')) as Ask;
    const prompt = await this.#prompt(ask);
    const kept = ids.subarray(0, ids.length - (await this.#partsAtEnd(ask, ids)));
    const stops = stopsOf(ask);
    const { text } = meta.resume;
    const held = stops.length > 0 && text !== undefined ? await this.#heldText(ask, prompt, kept, text) : undefined;
    if (this.#aborted) return;
    const options: ContinuedOptions = {
      resume: meta.resume,
      chat: ask['messages'] !== undefined,
      wantUsage: meta.wantUsage,
      wantTokenIds: meta.wantTokenIds,
      topLogprobs:
        ask['messages'] !== undefined && ask['logprobs'] === true ? Number(ask['top_logprobs'] ?? 0) : undefined,
      resumedTokens: kept.length,
      repeatedIds: Math.max(0, meta.resume.shownIds - kept.length),
      ...(held === undefined
        ? {}
        : { stops: { strings: stops, include: ask['include_stop_str_in_output'] === true, held } }),
    };
    this.#onStart({ kept, promptTokens: prompt.ids.length, answer: new ContinuedAnswer(options) });
    const left = tokensLeft(ask, prompt, kept.length);
    if (left === undefined) throw new CodedError('not_supported', 'The engine does not say how long its context is.');
    if (left <= 0 || meta.resume.finished === true) {
      this.#end(prompt.ids.length, kept.length, meta.resume.finished === true);
      return;
    }
    const request = continuationBody(ask, prompt.ids, kept, left, held !== undefined);
    this.#begin({ path: COMPLETIONS_PATH, body: request }, this.#sink);
  }

  /** Nothing is left to generate: the client gets what it still lacks. */
  #end(promptTokens: number, emitted: number, finished: boolean): void {
    const events = Buffer.from(endingEvents(promptTokens, emitted, finished));
    this.#sink.onHead(STREAM_HEAD);
    this.#sink.onBody(events, 0, events.length);
    this.#sink.onReadEnd();
    this.#sink.onComplete();
  }

  #begin({ path, body }: Question, sink: ExchangeSink): void {
    const bytes = Buffer.from(JSON.stringify(body));
    this.#current = this.#send({ method: 'POST', path, headers: this.#headers, body: bytes }, sink);
    if (this.#paused && sink === this.#sink) this.#current.pause();
  }

  async #prompt(ask: Ask): Promise<Prompt> {
    const own = ownPromptIds(ask);
    if (own !== undefined) return { ids: own, contextTokens: undefined };
    const prompt = readPrompt(await this.#ask(promptQuestion(ask)));
    if (prompt !== undefined) return prompt;
    throw new CodedError('engine_garbage', 'The engine answered /tokenize with something else than token ids.');
  }

  /** How many ids at the end are parts of a character whose text was never sent. */
  async #partsAtEnd(ask: Ask, ids: Uint32Array): Promise<number> {
    let cut: number | undefined = 0;
    for (let tries = 0; ids.length > 0 && cut !== undefined; tries++) {
      const tail = Array.from(ids.subarray(Math.max(0, ids.length - TAIL_TOKENS), ids.length - cut));
      if (tail.length === 0 || !endsInPart(await this.#text(ask, tail))) return cut;
      cut = nextCut(cut, tail.length + cut);
    }
    return 0;
  }

  /** The text that was generated and held back for a stop string. */
  async #heldText(
    ask: Ask,
    prompt: Prompt,
    kept: Uint32Array,
    sent: { readonly units: number; readonly tail: string },
  ): Promise<string> {
    const before = await this.#text(ask, prompt.ids);
    const all = await this.#text(ask, [...prompt.ids, ...kept]);
    const generated = all.slice(before.length);
    if (all.startsWith(before) && generated.slice(0, sent.units).endsWith(sent.tail))
      return generated.slice(sent.units);
    throw new CodedError('not_supported', 'What the client has of the answer cannot be found in its tokens.');
  }

  async #text(ask: Ask, tokens: readonly number[]): Promise<string> {
    const text = readText(await this.#ask(textQuestion(ask, tokens)));
    if (text !== undefined) return text;
    throw new CodedError('engine_garbage', 'The engine answered /detokenize with something else than text.');
  }

  /** Puts a question to the engine. @throws Refused with what it said instead of an answer */
  #ask(question: Question): Promise<unknown> {
    return new Promise((resolve, reject) => {
      if (this.#aborted) return reject(new Refused(new CodedError('cancelled', 'The request was given up.')));
      const pieces: Buffer[] = [];
      let size = 0;
      let status = 0;
      const fail = (error: CodedError): void => {
        clearTimeout(timer);
        reject(new Refused(error));
      };
      const timer = setTimeout(() => {
        this.#current?.abort();
        fail(new CodedError('engine_unreachable', `The engine did not answer ${question.path} in time.`));
      }, QUESTION_TIMEOUT_MS);
      this.#begin(question, {
        onHead: (head) => {
          ({ status } = head);
        },
        onBody: (buffer, start, end) => {
          size += end - start;
          if (size <= MAX_ANSWER_BYTES) pieces.push(Buffer.from(buffer.subarray(start, end)));
        },
        onReadEnd: () => undefined,
        onFailed: fail,
        onComplete: () => {
          const text = Buffer.concat(pieces).toString('utf8');
          if (status !== 200) {
            const { code, message } = mapEngineError(status, text, undefined).failure;
            return fail(new CodedError(code as CodedError['code'], message));
          }
          clearTimeout(timer);
          try {
            resolve(JSON.parse(text));
          } catch (cause) {
            fail(new CodedError('engine_garbage', `The engine answered ${question.path} with no JSON.`, { cause }));
          }
        },
      });
    });
  }
}
