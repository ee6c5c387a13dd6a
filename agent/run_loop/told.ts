/**
 * What others are told of the engines as they are: the relay its targets, schedulers the state of the node; and what the
 * relay tells of them, for their journals.
 */
import type { NodeEvent } from '../../proto/gen/fleet/v1/NodeEvent.ts';
import { isHeadless } from '../core/gang.ts';
import type { Hold } from '../core/lifecycle/life.ts';
import type { OpenRequests } from '../core/open_requests.ts';
import { toDrain } from '../core/report.ts';
import type { RelayTarget } from '../ports.ts';
import type { LoopCore, Runtime } from './parts.ts';
import { drainView } from './watcher.ts';

/** The engines that the relay may send requests to, and those whose running requests may end. */
export function relayTargets(runtimes: Iterable<Runtime>): RelayTarget[] {
  const targets: RelayTarget[] = [];
  for (const { life, plan } of runtimes) {
    if (plan === undefined || (life.status !== 'ready' && life.status !== 'draining')) continue;
    if (isHeadless(plan.args)) continue;
    const most = life.spec.maxConcurrentRequests;
    targets.push({
      engine: life.spec.name,
      incarnation: life.incarnation,
      address: plan.address,
      ...(life.status === 'draining' || life.sleeping ? { draining: true } : {}),
      ...(most === undefined ? {} : { maxConcurrentRequests: most }),
    });
  }
  return targets;
}

/** The node as a whole: its drain, what still runs, and until when. */
export function nodeEventOf(core: LoopCore, hold: Hold | undefined): NodeEvent {
  const atMs = core.parts.clock.wallMs();
  if (hold === undefined) return { draining: false, atMs };
  let runningRequests = 0;
  let etaMs: number | undefined = 0;
  for (const runtime of core.runtimes()) {
    const view = drainView(core, runtime);
    if (view === undefined) continue;
    runningRequests += view.runningRequests;
    // As long as the time of one engine is not known, that of the node is not either.
    etaMs = etaMs === undefined || view.etaMs === undefined ? undefined : Math.max(etaMs, view.etaMs);
  }
  const view = { runningRequests, ...(etaMs === undefined ? {} : { etaMs }) };
  return { draining: true, atMs, drain: toDrain(hold, view) };
}

/** A relay thread has crashed: how many requests that cost stands in the journal of each engine that had some on it. */
export function noteLostThread(core: LoopCore, worker: number, { listed, unlisted }: OpenRequests): void {
  const rest = unlisted === 0 ? '' : ` ${unlisted} more of the thread are of engines that are not known.`;
  for (const runtime of core.runtimes()) {
    const { name } = runtime.life.spec;
    const lost = listed.filter(({ engine }) => engine === name).length;
    if (lost === 0) continue;
    const requests = lost === 1 ? '1 request was' : `${lost} requests were`;
    core.note(runtime, 'relay_thread_lost', `${requests} open on relay thread ${worker} as it crashed.${rest}`);
  }
}
