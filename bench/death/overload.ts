/**
 * Half as many requests again as the engines can serve, for a while: callers come at random, whatever the queue, and go
 * away when their patience is over. A watchdog that takes a long queue for a wedged engine shows itself here.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { seededRandom } from '../../lib/rng.ts';
import { simPlans, startSupervisedFleet } from '../supervised/fleet.ts';
import { SchedulerLog } from '../supervised/scheduler_log.ts';

export interface OverloadOptions {
  readonly loadSeconds: number;
  readonly seed: number;
}

export interface OverloadResult {
  readonly seconds: number;
  readonly requests: number;
  readonly done: number;
  /** Requests a second that were offered, in relation to what the engines can serve. */
  readonly offeredRatio: number;
  readonly falsePositives: number;
}

const ENGINES = 2;
const SEQUENCES = 16;
const STEP_MS = 25;
const MEAN_TOKENS = 60;
const OFFERED_RATIO = 1.5;
const PATIENCE_MS = 20_000;
const LONGEST_PROMPT_WORDS = 600;

export async function overload({ loadSeconds, seed }: OverloadOptions): Promise<OverloadResult> {
  const random = seededRandom(seed);
  const fleet = await startSupervisedFleet({
    engines: simPlans(ENGINES, 'busy', ['--sim-itl-ms', String(STEP_MS), '--max-num-seqs', String(SEQUENCES)]),
  });
  try {
    const log = new SchedulerLog(fleet.schedulerLog);
    await log.news();
    const perSecond = (SEQUENCES * 1000) / STEP_MS / MEAN_TOKENS;
    const meanGapMs = 1000 / (perSecond * OFFERED_RATIO * ENGINES);
    let done = 0;
    const running: Promise<void>[] = [];
    const endMs = performance.now() + loadSeconds * 1000;
    let nextMs = performance.now();
    while (performance.now() < endMs) {
      const engine = `busy-${running.length % ENGINES}`;
      // Between half and one and a half of the mean, and one prompt in eight is long.
      const tokens = Math.round(MEAN_TOKENS * (0.5 + random.next()));
      const words = random.next() < 0.125 ? Math.ceil(random.next() * LONGEST_PROMPT_WORDS) : 8;
      const asked = { engine, tokens, prompt: 'sea '.repeat(words), limitMs: PATIENCE_MS };
      running.push(fleet.stream(asked).then(({ ok }) => void (done += ok ? 1 : 0)));
      nextMs += -Math.log(1 - random.next()) * meanGapMs;
      await sleep(Math.max(0, nextMs - performance.now()));
    }
    await Promise.all(running);
    // Nothing was done to the engines, so whatever is told of them was a mistake.
    const news = (await log.news()).filter(({ state }) => state !== 'ready');
    const lives = new Set(news.map(({ engine, incarnation }) => `${engine}/${incarnation}`));
    const requests = running.length;
    return { seconds: loadSeconds, requests, done, offeredRatio: OFFERED_RATIO, falsePositives: lives.size };
  } finally {
    await fleet.stop();
  }
}
