/** What every writer of a long answer needs: to wait for its reader, and not for ever. */
import type { ServerResponse } from 'node:http';

/** Resolves when the response takes more, or is gone. @returns false when it took nothing for too long */
export function drained(response: ServerResponse, stallTimeoutMs: number): Promise<boolean> {
  return new Promise((resolve) => {
    const settle = (moved: boolean): void => {
      clearTimeout(timer);
      response.removeListener('drain', onMoved);
      response.removeListener('close', onMoved);
      resolve(moved);
    };
    const onMoved = (): void => settle(true);
    const timer = setTimeout(() => settle(false), stallTimeoutMs);
    response.once('drain', onMoved);
    response.once('close', onMoved);
  });
}
