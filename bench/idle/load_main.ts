/**
 * The process that holds the simulated agents: opens them a few at a time, says so, then lets each speak once per period,
 * spread evenly over it. It ends with its parent.
 */
import type { PemPair } from '../../lib/io/local_ca.ts';
import { openLightAgent, type LightAgent } from './light_agent.ts';
import type { FleetShape } from './messages.ts';

export interface LoadOrder {
  readonly port: number;
  readonly ca: PemPair;
  readonly agents: number;
  readonly periodMs: number;
  readonly shape: FleetShape;
}

const OPENING = 20;
const TICK_MS = 10;

function speak(agents: readonly LightAgent[], periodMs: number): void {
  let spoken = 0;
  const startedAtMs = performance.now();
  setInterval(() => {
    const due = Math.floor(((performance.now() - startedAtMs) / periodMs) * agents.length);
    // A load that fell behind catches up, but never with more than a period's worth.
    spoken = Math.max(spoken, due - agents.length);
    for (; spoken < due; spoken++) (agents[spoken % agents.length] as LightAgent).tick();
  }, TICK_MS);
}

async function run({ port, ca, agents: count, periodMs, shape }: LoadOrder): Promise<void> {
  const agents: LightAgent[] = [];
  for (let index = 0; index < count; index += OPENING) {
    const some = Array.from({ length: Math.min(OPENING, count - index) }, (_, step) => index + step);
    const opened = await Promise.all(some.map((one) => openLightAgent(one, { port, ca, shape })));
    await Promise.all(opened.map(({ welcomed }) => welcomed));
    agents.push(...opened);
  }
  process.send?.({ kind: 'open' });
  speak(agents, periodMs);
}

process.once('message', (order: LoadOrder) => {
  run(order).catch((error: unknown) => {
    process.send?.({ kind: 'failed', message: error instanceof Error ? error.message : String(error) });
    process.exitCode = 1;
    process.disconnect();
  });
});
process.once('disconnect', () => process.exit());
