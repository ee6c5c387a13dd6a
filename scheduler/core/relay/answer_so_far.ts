/**
 * What a client has had of its answer, as far as another engine must know it to go on: the ids of the tokens, what all
 * chunks share, whether the end was told, and, only with stop strings, how much text has left.
 */
import type { ResumeMeta } from '../../../proto/codec.ts';
import type { AdmittedRequest } from '../../ports.ts';
import { EmissionJournal } from './journal.ts';
import { type Ask, whyNotResumable } from './recovery_rules.ts';
import { type ChunkHead, hasReasoning, readChunkHead, SentText, textOf } from './sent_text.ts';

const decoder = new TextDecoder();
/** Reasoning comes before all other text, so only the first tokens are looked at. */
const LOOKED_AT_TOKENS = 8;

export class AnswerSoFar {
  readonly journal: EmissionJournal;
  /** Something of the answer went to the client. */
  sent = false;
  /** The client has the finish reason. */
  finished = false;
  #head: ChunkHead | undefined;
  /** The engine parses reasoning out of the text, whatever the request says. */
  #reasoning = false;
  /** The engine sends text whose token ids it does not tell. */
  #untold = false;
  readonly #text: SentText | undefined;

  /** @param hasStops whether the request has stop strings */
  constructor(maxJournalTokens: number, hasStops: boolean) {
    this.journal = new EmissionJournal(maxJournalTokens);
    this.#text = hasStops ? new SentText() : undefined;
  }

  /** Notes whole events that go to the client, with the ids that are new with them. */
  take(sse: Uint8Array, idBytes: Uint8Array, finished: boolean): void {
    if (idBytes.length > 0) this.journal.append(idBytes);
    else if (!this.#untold && sse.length > 0) this.#untold = textOf(sse) !== '';
    if (finished) this.finished = true;
    if (sse.length === 0) return;
    if (this.journal.length <= LOOKED_AT_TOKENS && hasReasoning(sse)) this.#reasoning = true;
    if (!this.sent) {
      this.sent = true;
      this.#head = readChunkHead(sse);
    }
    this.#text?.add(sse);
  }

  /** Why the answer cannot go on elsewhere, in a word of docs/FAILOVER.md; undefined: it can. */
  whyNotResumable(request: AdmittedRequest): string | undefined {
    if (this.journal.overflowed) return 'too_long';
    if (this.#untold) return 'no_token_ids';
    if (this.#reasoning) return 'reasoning';
    if (this.#head === undefined || this.#text?.lost === true) return 'unknown_chunks';
    return whyNotResumable(request.endpoint, JSON.parse(decoder.decode(request.body)) as Ask);
  }

  /** What the next engine's agent must know; whyNotResumable() has said that it can be done. */
  get resume(): Omit<ResumeMeta, 'shownIds'> {
    const text = this.#text;
    return {
      ...(this.#head as ChunkHead),
      ...(this.finished ? { finished: true } : {}),
      ...(text === undefined ? {} : { text: { units: text.units, tail: text.tail } }),
    };
  }
}
