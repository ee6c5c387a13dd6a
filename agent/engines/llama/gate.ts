/**
 * Lets one sequence change its cache beside others that generate. The library evaluates in a loop that holds the lock of the
 * whole context as long as any sequence has asked for a token, and streams ask for their next one before it looks: a
 * change of a cache would wait until all streams have ended. While one waits here, nobody asks for a next token, so that
 * the loop runs dry after the batch that is under way.
 */

export interface Gate {
  /** Runs `change` while the gate is closed. */
  closedFor(change: () => Promise<void>): Promise<void>;
  /** Resolves once nobody wants it closed. */
  pass(): Promise<void>;
}

export function createGate(): Gate {
  let changes = 0;
  let opened = Promise.resolve();
  let open: () => void = () => undefined;
  return {
    async closedFor(change) {
      if (changes === 0)
        opened = new Promise((resolve) => {
          open = resolve;
        });
      changes += 1;
      try {
        await change();
      } finally {
        changes -= 1;
        if (changes === 0) open();
      }
    },
    async pass() {
      while (changes > 0) await opened;
    },
  };
}
