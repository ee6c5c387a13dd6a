/**
 * Bytes that may be on their way to the client of one request. A frame may overdraw; what the client then owes for the
 * bytes of one attempt is not lent to the next, or a slow client would be owed a whole answer by each attempt.
 */
export class AnswerCredit {
  #bytes: number;
  /** Granted bytes that the present attempt must not be given. */
  #debtBytes = 0;

  constructor(bytes: number) {
    this.#bytes = bytes;
  }

  /** Bytes that an attempt may send before a grant. */
  get bytes(): number {
    return Math.max(0, this.#bytes);
  }

  spend(bytes: number): void {
    this.#bytes -= bytes;
  }

  /** @returns what of a grant goes to the attempt under way */
  grant(bytes: number): number {
    this.#bytes += bytes;
    const paid = Math.min(this.#debtBytes, bytes);
    this.#debtBytes -= paid;
    return bytes - paid;
  }

  beginAttempt(): void {
    this.#debtBytes = Math.max(0, -this.#bytes);
  }
}
