/** Streams that run in the background of a fault, so that there is something to lose and progress to be seen. */
import type { Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import type { SupervisedFleet } from './fleet.ts';

export interface LoadFigures {
  readonly done: number;
  readonly failed: number;
  readonly tokens: number;
}

export interface Load {
  readonly figures: () => LoadFigures;
  /** Cuts what runs and begins nothing until `resume`. */
  pause(): Promise<void>;
  resume(): void;
  stop(): Promise<void>;
}

/** A client whose request failed waits so long before it asks again. */
const RETRY_MS = 200;

/** Keeps `streams` completions of `tokens` tokens running on each engine. */
export function startLoad(fleet: SupervisedFleet, streams: number, tokens: number): Load {
  const figures = { done: 0, failed: 0, tokens: 0 };
  const sockets = new Set<Socket>();
  let running = true;
  let generation = 0;
  let loops: Promise<void>[] = [];
  const loop = async (engine: string, mine: number): Promise<void> => {
    while (running && generation === mine) {
      const outcome = await fleet.stream(
        { engine, tokens },
        {
          onEvents: (count) => void (figures.tokens += count),
          onSocket: (socket) => {
            sockets.add(socket);
            socket.once('close', () => sockets.delete(socket));
          },
        },
      );
      if (outcome.ok) figures.done += 1;
      else if (generation === mine) {
        figures.failed += 1;
        await sleep(RETRY_MS);
      }
    }
  };
  const begin = (): void => {
    generation += 1;
    const mine = generation;
    loops = fleet.plans.flatMap(({ name }) => Array.from({ length: streams }, () => loop(name, mine)));
  };
  const pause = async (): Promise<void> => {
    generation += 1;
    for (const socket of sockets) socket.destroy();
    await Promise.all(loops);
  };
  begin();
  return {
    figures: () => ({ ...figures }),
    pause,
    resume: begin,
    async stop() {
      running = false;
      await pause();
    },
  };
}
