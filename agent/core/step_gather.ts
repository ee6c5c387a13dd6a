/**
 * What is known of one engine's step on one lane. An engine gives each of its running answers a token in one step, but
 * writes them one after another, so that they reach this process over some milliseconds. A message for every few of them
 * wakes the scheduler as often; who counts them knows when the step is whole and one message can carry it.
 */

export class StepGather {
  #streams = 0;
  #arrived = 0;
  #epoch = 0;

  /** An answer has begun to get tokens. */
  join(): void {
    this.#streams += 1;
  }

  /** It has ended, or its reader takes no more at present. */
  leave(): void {
    this.#streams -= 1;
  }

  /**
   * A token of one of the answers is here.
   * @param epoch number of times that a wait for a step was given up; what came before the last of them counts no more
   * @returns whether every answer has had its token, so that nothing is to be waited for
   */
  arrive(epoch: number): boolean {
    if (epoch !== this.#epoch) {
      this.#epoch = epoch;
      this.#arrived = 0;
    }
    this.#arrived += 1;
    if (this.#arrived < this.#streams) return false;
    this.#arrived = 0;
    return true;
  }
}

/** The steps of one engine, one for each way that its answers leave by. */
export class EngineSteps {
  readonly #byWay = new WeakMap<object, StepGather>();

  on(way: object): StepGather {
    const known = this.#byWay.get(way);
    if (known !== undefined) return known;
    const step = new StepGather();
    this.#byWay.set(way, step);
    return step;
  }
}
