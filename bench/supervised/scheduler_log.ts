/**
 * When the scheduler learned of an engine's change, from its own log: the line is written in the same turn of its loop in
 * which the engine leaves the candidates, and carries the time in whole milliseconds of the clock that all processes of
 * this machine share. Together with the time of the kill, rounded the same way, the error is below 1 ms.
 */
import { open } from 'node:fs/promises';

export interface EngineNews {
  readonly atMs: number;
  readonly engine: string;
  readonly incarnation: number;
  readonly state: string;
  readonly reason: string;
  readonly message: string;
}

interface Line {
  readonly time?: string;
  readonly engine?: string;
  readonly incarnation?: number;
  readonly state?: string;
  readonly reason?: string;
  readonly msg?: string;
}

/** Follows a log from where it now ends. */
export class SchedulerLog {
  readonly #file: string;
  #at = 0;
  #rest = '';

  constructor(file: string) {
    this.#file = file;
  }

  /** What was written since the last call: the changes of engines, oldest first. */
  async news(): Promise<EngineNews[]> {
    const handle = await open(this.#file, 'r');
    try {
      const { size } = await handle.stat();
      const { buffer, bytesRead } = await handle.read(Buffer.alloc(size - this.#at), 0, size - this.#at, this.#at);
      this.#at += bytesRead;
      const lines = (this.#rest + buffer.toString('utf8', 0, bytesRead)).split('\n');
      this.#rest = lines.pop() ?? '';
      return lines.flatMap(newsOf);
    } finally {
      await handle.close();
    }
  }
}

function newsOf(text: string): EngineNews[] {
  if (!text.startsWith('{')) return [];
  const { time, engine, incarnation, state, reason = '', msg = '' } = JSON.parse(text) as Line;
  if (time === undefined || engine === undefined || incarnation === undefined || state === undefined) return [];
  const word = state.replace('ENGINE_STATE_', '').toLowerCase();
  return [{ atMs: Date.parse(time), engine, incarnation, state: word, reason, message: msg }];
}
