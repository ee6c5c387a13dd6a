/** Runs pieces of work one after the other, for what must not be done twice at once: a file that is written, a spool. */

export type Serial = <Result>(work: () => Promise<Result>) => Promise<Result>;

/** @returns a function that begins each piece when the one before has ended, well or not; failures are the caller's */
export function createSerial(): Serial {
  let last: Promise<unknown> = Promise.resolve();
  return (work) => {
    const done = last.then(work, work);
    last = done;
    return done;
  };
}
