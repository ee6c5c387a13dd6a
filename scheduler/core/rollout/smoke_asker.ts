/**
 * Asks single replicas their smoke prompt, past routing, over the lane of their node: what comes back is a generation like a
 * client's, from that very engine. Each replica is asked once at a time; a new life of its engine is asked anew.
 */
import type { Clock } from '../../../lib/clock.ts';
import { CodedError, toCodedError } from '../../../lib/errors.ts';
import type { NodeId, RequestId } from '../../../lib/ids.ts';
import { ENDPOINT_PATHS, type Endpoint } from '../../../lib/openai.ts';
import type { GenerationSink, LaneHandle, LaneRequest } from '../../ports.ts';
import type { Rules, SmokeResult } from './contract.ts';

export interface SmokeTarget {
  /** The replica, as the rollout calls it. */
  readonly key: string;
  readonly node: NodeId;
  /** Name of the engine on its node; of a replica over several hosts the one that takes requests. */
  readonly engine: string;
  readonly incarnation: number;
  /** As the engine calls what it serves. */
  readonly model: string;
  /** What it answers; none named: all. */
  readonly endpoints: readonly Endpoint[];
}

export interface SmokeAskerDeps {
  readonly clock: Clock;
  readonly laneFor: (node: NodeId, engine: string) => LaneHandle | undefined;
  readonly newId: () => RequestId;
  /** Longest time of one answer, milliseconds. */
  readonly timeoutMs: number;
}

/** Enough for a sentence, and for a model that thinks before it speaks. */
export const SMOKE_TOKENS = 64;
const MOST_ANSWER_BYTES = 1024 * 1024;
const MOST_DETAIL = 200;
const NO_IDS = new Uint32Array(0);

/** The order of preference: an answer in words says more than a vector. */
const ENDPOINTS: readonly Endpoint[] = ['chat', 'completions', 'embeddings'];

function bodyOf(endpoint: Endpoint, model: string, prompt: string): object {
  const limits = { max_tokens: SMOKE_TOKENS, temperature: 0, stream: false };
  switch (endpoint) {
    case 'chat':
      return { model, messages: [{ role: 'user', content: prompt }], ...limits };
    case 'completions':
      return { model, prompt, ...limits };
    case 'embeddings':
      return { model, input: prompt };
  }
}

interface AnswerShape {
  readonly choices?: readonly {
    readonly text?: unknown;
    readonly message?: {
      readonly content?: unknown;
      readonly reasoning_content?: unknown;
      readonly reasoning?: unknown;
    };
  }[];
  readonly data?: readonly { readonly embedding?: unknown }[];
}

/** What an engine's answer says; undefined: it is no answer. A vector counts as the number of its places. */
export function answerText(bytes: Uint8Array): string | undefined {
  let answer: AnswerShape | null;
  try {
    answer = JSON.parse(new TextDecoder().decode(bytes)) as AnswerShape | null;
  } catch {
    // Not JSON: it is shown as what it is, no answer.
    return undefined;
  }
  const choice = answer?.choices?.[0];
  if (choice !== undefined) {
    const { content, reasoning_content: thought, reasoning } = choice.message ?? {};
    const parts = [thought, reasoning, content, choice.text].filter((part) => typeof part === 'string');
    return parts.length === 0 ? undefined : parts.join('');
  }
  const embedding = answer?.data?.[0]?.embedding;
  return Array.isArray(embedding) && embedding.length > 0 ? `${embedding.length} places` : undefined;
}

/** Whether an answer is the right one: not empty, and with the wanted words in it. A vector has no words. */
export function judgeAnswer(
  text: string | undefined,
  contains: string,
  endpoint: Endpoint,
): Omit<SmokeResult, 'attempts'> {
  if (text === undefined) return { ok: false, answered: true, detail: 'an answer that cannot be read' };
  const ok = text.trim() !== '' && (endpoint === 'embeddings' || text.includes(contains));
  return { ok, answered: true, detail: text.slice(0, MOST_DETAIL) };
}

interface Asked {
  readonly incarnation: number;
  attempts: number;
  result: SmokeResult | undefined;
  running: LaneRequest | undefined;
  stopTimer: (() => void) | undefined;
}

export class SmokeAsker {
  readonly #deps: SmokeAskerDeps;
  readonly #asked = new Map<string, Asked>();

  constructor(deps: SmokeAskerDeps) {
    this.#deps = deps;
  }

  /** The newest result of a life of a replica's engine; undefined: there is none yet. */
  resultOf(key: string, incarnation: number): SmokeResult | undefined {
    const asked = this.#asked.get(key);
    return asked?.incarnation === incarnation ? asked.result : undefined;
  }

  /** Forgets, and stops asking, replicas that are not among these. */
  keepOnly(keys: ReadonlySet<string>): void {
    for (const [key, asked] of this.#asked) {
      if (keys.has(key)) continue;
      this.#asked.delete(key);
      this.#end(asked);
    }
  }

  /** Asks, unless it is being asked already. */
  ask(target: SmokeTarget, smoke: Rules['smoke']): void {
    const { key, incarnation } = target;
    let asked = this.#asked.get(key);
    if (asked !== undefined && asked.incarnation !== incarnation) {
      this.#end(asked);
      asked = undefined;
    }
    if (asked?.stopTimer !== undefined) return;
    asked ??= { incarnation, attempts: 0, result: undefined, running: undefined, stopTimer: undefined };
    this.#asked.set(key, asked);
    asked.attempts += 1;
    this.#send(target, smoke, asked);
  }

  #send(target: SmokeTarget, smoke: Rules['smoke'], asked: Asked): void {
    const { clock, laneFor, timeoutMs } = this.#deps;
    const { node, engine, model, endpoints } = target;
    const endpoint = ENDPOINTS.find((each) => endpoints.length === 0 || endpoints.includes(each)) ?? 'chat';
    const settle = (result: Omit<SmokeResult, 'attempts'>): void => {
      if (asked.stopTimer === undefined) return;
      asked.running = undefined;
      this.#end(asked);
      asked.result = { ...result, attempts: asked.attempts };
    };
    const failed = (error: CodedError): void =>
      settle({ ok: false, answered: false, detail: `${error.code}: ${error.message}`.slice(0, MOST_DETAIL) });
    asked.stopTimer = clock.after(timeoutMs, () => {
      asked.running?.cancel();
      failed(new CodedError('deadline_exceeded', `There was no answer within ${timeoutMs} ms.`));
    });
    const body = new TextEncoder().encode(JSON.stringify(bodyOf(endpoint, model, smoke.prompt)));
    const meta = {
      requestId: this.#deps.newId(),
      engine,
      path: ENDPOINT_PATHS[endpoint],
      stream: false,
      wantUsage: false,
      wantTokenIds: false,
      deadlineMs: timeoutMs,
    };
    const done = (bytes: Uint8Array): void => settle(judgeAnswer(answerText(bytes), smoke.contains, endpoint));
    try {
      const lane = laneFor(node, engine);
      if (lane === undefined) throw new CodedError('stream_lost', `${node} has no lane.`);
      const order = {
        meta,
        body,
        attempt: 0,
        incarnation: target.incarnation,
        creditBytes: MOST_ANSWER_BYTES,
        resumeIds: NO_IDS,
      };
      asked.running = lane.submit(order, sinkOf(done, failed));
    } catch (error) {
      failed(toCodedError(error));
    }
  }

  #end(asked: Asked): void {
    const { running, stopTimer } = asked;
    asked.stopTimer = undefined;
    asked.running = undefined;
    stopTimer?.();
    running?.cancel();
  }
}

/** Gathers an answer that is no stream, up to its bound. */
function sinkOf(done: (bytes: Uint8Array) => void, failed: (error: CodedError) => void): GenerationSink {
  const parts: Uint8Array[] = [];
  let size = 0;
  return {
    onHead: () => undefined,
    onTokens: () => undefined,
    onBody(bytes) {
      size += bytes.length;
      if (size <= MOST_ANSWER_BYTES) parts.push(Uint8Array.from(bytes));
    },
    onDone() {
      const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
      let at = 0;
      for (const part of parts) {
        whole.set(part, at);
        at += part.length;
      }
      done(whole);
    },
    onError: failed,
  };
}
