/**
 * How long the threads of an engine have stood in the kernel's run queues: the sign by which an engine that gets no CPU is
 * told from one that is stuck. A stopped or deadlocked thread waits for no CPU, so that its figure stands still.
 */
import { readdir, readFile } from 'node:fs/promises';

/** Threads that are looked at; what an engine has beyond them goes unseen, which makes it look less starved. */
const MAX_THREADS = 1024;

async function orNothing<T>(value: Promise<T>, nothing: T): Promise<T> {
  try {
    return await value;
  } catch {
    // The thread has ended, or this kernel keeps no such figures: nothing is known of it then.
    return nothing;
  }
}

/**
 * Milliseconds that each thread of these processes has been ready to run without a CPU since it began, by thread id: the
 * second number of /proc/PID/task/TID/schedstat, in nanoseconds (the kernel's sched-stats.rst). Threads that cannot be read
 * are absent.
 */
export async function runDelaysMs(pids: readonly number[]): Promise<ReadonlyMap<number, number>> {
  const delays = new Map<number, number>();
  for (const pid of pids) {
    const threads = await orNothing(readdir(`/proc/${pid}/task`), []);
    for (const thread of threads.slice(0, MAX_THREADS - delays.size)) {
      const text = await orNothing(readFile(`/proc/${pid}/task/${thread}/schedstat`, 'latin1'), '');
      const waitedNs = Number(text.split(' ', 2)[1]);
      if (Number.isFinite(waitedNs)) delays.set(Number(thread), waitedNs / 1e6);
    }
  }
  return delays;
}
