/**
 * The simulated VLLM::Worker: it takes part in each step (the engine core waits for its answer), so that stopping it
 * stalls the engine, and it outlives a killed engine core by the time that a real one was seen to.
 */
import { Socket } from 'node:net';
import { FRAME, frame, frameReader } from './frames.ts';

/** Seen with vLLM 0.32 on a CPU: kill -9 of EngineCore, and the Worker is gone after 3.6 s. */
const OUTLIVES_CORE_MS = 3_600;

function main(): void {
  process.title = 'VLLM::Worker';
  const core = new Socket({ fd: 3, readable: true, writable: true });
  let orderly = false;
  const done = frame(FRAME.workDone, new Uint8Array(0));
  core.on(
    'data',
    frameReader((type) => {
      if (type === FRAME.work) core.write(done);
      else if (type === FRAME.control) orderly = true;
    }),
  );
  core.on('error', () => core.destroy());
  core.on('close', () => {
    if (orderly) process.exit(0);
    setTimeout(() => process.exit(1), OUTLIVES_CORE_MS);
  });
  // The core is ready once its worker is.
  core.write(done);
  // A signal to the whole group must not take the worker from under a draining engine core.
  process.on('SIGTERM', () => undefined);
  process.on('SIGINT', () => undefined);
}

main();
