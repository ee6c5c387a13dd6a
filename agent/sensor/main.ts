/**
 * The sensor: a process of its own that reads GPUs when it is asked. nvidia-smi can hang for seconds, or for ever inside
 * the driver; only this process then waits, and the agent kills it. It ends when the agent is gone, with all it started.
 */
import smi from 'node-nvidia-smi';
import { normalise } from './nvidia_smi.ts';

const MAX_REASON_CHARS = 300;

const reasonOf = (error: unknown): string =>
  (error instanceof Error ? error.message : String(error)).replace(/\s+/g, ' ').trim().slice(0, MAX_REASON_CHARS);

let reading = false;

function answer(id: unknown, content: object): void {
  reading = false;
  process.send?.({ id, ...content });
}

process.on('message', (message: { readonly id?: unknown }) => {
  // Single flight: a second question while nvidia-smi runs would only pile up behind it.
  if (reading) return;
  reading = true;
  smi((error, data) => {
    if (error != null) {
      answer(message.id, { failure: `nvidia-smi failed: ${reasonOf(error)}` });
      return;
    }
    try {
      answer(message.id, { gpus: normalise(data) });
    } catch {
      answer(message.id, { failure: 'nvidia-smi printed something that is not its XML' });
    }
  });
});

process.on('disconnect', () => {
  // It leads a process group, so that a hanging nvidia-smi goes with it.
  process.kill(-process.pid, 'SIGKILL');
});
