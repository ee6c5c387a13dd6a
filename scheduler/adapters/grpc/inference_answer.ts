/** Collects an answer that is not a stream, up to a bound, because it leaves as one message. */
import { CodedError } from '../../../lib/errors.ts';

export class AnswerBuffer {
  readonly #maxBytes: number;
  #parts: Buffer[] = [];
  #bytes = 0;

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  /** Copies `bytes`; false when the answer would exceed the bound, and nothing is kept then. */
  append(bytes: Buffer): boolean {
    this.#bytes += bytes.length;
    if (this.#bytes > this.#maxBytes) {
      this.#parts = [];
      return false;
    }
    this.#parts.push(Buffer.from(bytes));
    return true;
  }

  /** The whole answer; the buffer is empty afterwards. */
  take(): Buffer {
    const whole = this.#parts.length === 1 ? (this.#parts[0] as Buffer) : Buffer.concat(this.#parts);
    this.#parts = [];
    this.#bytes = 0;
    return whole;
  }

  tooLarge(): CodedError {
    return new CodedError('engine_failed', `The engine's answer exceeds ${this.#maxBytes} bytes; ask for a stream.`);
  }
}
