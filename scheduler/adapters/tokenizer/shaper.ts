/**
 * Tells routing what it needs to know of a prompt. Where the model's tokeniser is configured, threads of piscina render
 * the chat template and tokenise; a request waits for them a bounded time and is else known by its bytes. Without a
 * tokeniser it is known by its bytes at once. It asks nobody over the network.
 */
import { fileURLToPath } from 'node:url';
import { Piscina } from 'piscina';
import type { Clock } from '../../../lib/clock.ts';
import type { Logger } from '../../../lib/io/logger.ts';
import { byteShape, readMembers, tokenShape } from '../../core/prompt/shape.ts';
import type { RequestShape } from '../../core/routing/contract.ts';
import type { AdmittedRequest } from '../../ports.ts';
import type {
  TokenizeAnswer,
  TokenizerPlace,
  TokenizeSettings,
  TokenizeTask,
} from '../../workers/tokenize_messages.ts';

export interface ShaperOptions {
  readonly tokenizers: readonly TokenizerPlace[];
  readonly threads: number;
  /** How long a request of an ordinary size waits for its tokens; a large one waits in proportion, see waitFor. */
  readonly waitMs: number;
  readonly clock: Clock;
  readonly logger: Logger;
  /** A prompt was counted by its tokens, or why not. */
  readonly onShaped?: (how: ShapedHow) => void;
}

export const SHAPED_HOW = ['tokens', 'no_tokenizer', 'too_large', 'busy', 'late', 'not_alike', 'failed'] as const;
export type ShapedHow = (typeof SHAPED_HOW)[number];

export interface Shaper {
  /** At once, or after a bounded time. Never fails. */
  shape(request: AdmittedRequest): RequestShape | Promise<RequestShape>;
  stop(): Promise<void>;
}

/** Bodies above this are known by their bytes: their tokens would come later than anyone may wait. */
const MAX_TOKENIZED_BYTES = 256 * 1024;
/** What an ordinary prompt has at most; the wait of larger ones grows with them. */
const ORDINARY_BYTES = 32 * 1024;
/** Requests that may wait for a thread; the others would not be served in time. */
const MAX_WAITING = 64;

export function createShaper(options: ShaperOptions): Shaper {
  return new TokenShaper(options);
}

/** A prompt of eight times the size costs the engine eight times the prefill: waiting in proportion is never felt. */
function waitFor(bytes: number, waitMs: number): number {
  return waitMs * Math.max(1, bytes / ORDINARY_BYTES);
}

class TokenShaper implements Shaper {
  readonly #options: ShaperOptions;
  /** Models whose tokeniser can be used. */
  readonly #models = new Set<string>();
  readonly #pool: Piscina<TokenizeTask, TokenizeAnswer> | undefined;

  constructor(options: ShaperOptions) {
    this.#options = options;
    const { tokenizers, threads } = options;
    if (tokenizers.length === 0) return;
    const settings: TokenizeSettings = { tokenizers };
    this.#pool = new Piscina({
      filename: fileURLToPath(new URL('../../workers/tokenize_worker.js', import.meta.url)),
      name: 'tokenize',
      minThreads: threads,
      maxThreads: threads,
      maxQueue: MAX_WAITING + tokenizers.length * threads,
      workerData: settings,
    });
    for (const { model } of tokenizers) void this.#load(this.#pool, model);
  }

  /** A tokeniser that cannot be loaded costs precision and nothing else. */
  async #load(pool: Piscina<TokenizeTask, TokenizeAnswer>, model: string): Promise<void> {
    try {
      await pool.run({ kind: 'load', model });
      this.#models.add(model);
      this.#options.logger.info({ model }, 'the tokeniser of a model is loaded');
    } catch (err) {
      this.#options.logger.error(
        { model, err },
        'the tokeniser of a model cannot be used; its prompts are known by bytes',
      );
    }
  }

  shape(request: AdmittedRequest): RequestShape | Promise<RequestShape> {
    const pool = this.#pool;
    const refusal = this.#refusal(request);
    if (pool !== undefined && refusal === undefined) return this.#tokenShape(pool, request);
    return this.#byBytes(request, refusal ?? 'no_tokenizer');
  }

  #refusal({ model, endpoint, body }: AdmittedRequest): ShapedHow | undefined {
    if (!this.#models.has(model) || endpoint === 'embeddings') return 'no_tokenizer';
    if (body.length > MAX_TOKENIZED_BYTES) return 'too_large';
    return (this.#pool?.queueSize ?? 0) >= MAX_WAITING ? 'busy' : undefined;
  }

  #byBytes(request: AdmittedRequest, how: ShapedHow): RequestShape {
    this.#options.onShaped?.(how);
    return byteShape(request);
  }

  async #tokenShape(pool: Piscina<TokenizeTask, TokenizeAnswer>, request: AdmittedRequest): Promise<RequestShape> {
    const { clock, waitMs } = this.#options;
    const { model, endpoint, body } = request;
    const members = readMembers(body);
    if (members === undefined) return this.#byBytes(request, 'failed');
    let stopTimer: (() => void) | undefined;
    const late = new Promise<'late'>((resolve) => {
      stopTimer = clock.after(waitFor(body.length, waitMs), () => resolve('late'));
    });
    // What comes late is not in vain: the thread remembers the pieces of the prompt for the next one.
    const answer = pool
      .run({ kind: 'prompt', model, endpoint, body: Uint8Array.from(body) })
      .then((prompt) => prompt ?? ('not_alike' as const))
      .catch((err: unknown) => {
        this.#options.logger.debug({ model, err }, 'a prompt could not be tokenised');
        return 'failed' as const;
      });
    const first = await Promise.race([answer, late]);
    stopTimer?.();
    if (typeof first === 'string') return this.#byBytes(request, first);
    this.#options.onShaped?.('tokens');
    return tokenShape(request, members, first);
  }

  async stop(): Promise<void> {
    await this.#pool?.destroy();
  }
}
