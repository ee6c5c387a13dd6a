/**
 * A scheduler's control side as a process of its own, so that a test can stop, kill and question it. What it is asked over
 * IPC it answers with the number of the question; `act as` makes it do what a leader does that does not know it is none.
 */
import type { NodeId } from '../../../lib/ids.ts';
import { createLogger } from '../../../lib/io/logger.ts';
import { type ControlSchedulerOptions, startControlScheduler } from './control_scheduler.ts';

export type Question =
  | { readonly ask: 'state'; readonly names: readonly string[] }
  /** Appends under the fence of an epoch, whoever leads. */
  | { readonly ask: 'append_as'; readonly epoch: number }
  /** Orders a node what this process believes, under a term of its own choice. */
  | { readonly ask: 'order_as'; readonly epoch: number; readonly node: string };

const options = JSON.parse(process.argv[2] as string) as Omit<ControlSchedulerOptions, 'logger'>;
const forced: { term: number | undefined } = { term: undefined };
const scheduler = await startControlScheduler({
  ...options,
  logger: createLogger({ name: options.id, level: 'info' }),
  forcedTerm: () => forced.term,
});

function stateOf(names: readonly string[]): object {
  const { view, fleet } = scheduler;
  return {
    leader: view.leader(),
    statuses: Object.fromEntries(names.map((name) => [name, view.deploymentStatus(name) ?? null])),
    engines: [...fleet.nodes.values()].flatMap((node) =>
      [...node.engines.values()].flatMap(({ name, event }) =>
        event.pid === undefined ? [] : [`${node.name}/${name}:${event.pid}`],
      ),
    ),
  };
}

async function answer(question: Question): Promise<unknown> {
  switch (question.ask) {
    case 'state':
      return stateOf(question.names);
    case 'append_as':
      return scheduler.store.append({
        idempotencyId: `stale-${process.pid}-${Date.now()}`,
        items: [
          {
            kind: 'action.taken',
            resource: { kind: 'Deployment', name: 'x' },
            actor: `scheduler:${options.id}`,
            reason: 'late',
            correlationId: 'late',
            after: null,
          },
        ],
        fence: { lease: 'reconcile', epoch: question.epoch },
      });
    case 'order_as':
      forced.term = question.epoch;
      scheduler.loop.fleetSink.onOrdersChanged?.(question.node as NodeId);
      forced.term = undefined;
      return true;
  }
}

process.on('message', ({ n, question }: { readonly n: number; readonly question: Question }) => {
  void answer(question)
    .catch((error: unknown) => ({ failed: String(error) }))
    .then((value) => process.send?.({ n, value }));
});
// A test that dies takes this with it, its log and its lease.
process.once('disconnect', () => process.exit(0));
process.send?.({ type: 'ready', port: scheduler.port });
