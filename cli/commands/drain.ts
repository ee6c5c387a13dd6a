/**
 * `sophia engine drain` and `sophia node drain`, and taking them back. A drain is the agent's: it is kept on its disk and
 * goes on whoever watches it, so that Ctrl-C of --wait ends the watching and nothing else.
 */
import { type Command, Option } from 'commander';
import { setTimeout as sleep } from 'node:timers/promises';
import { CodedError } from '../../lib/errors.ts';
import type { DrainProgress__Output } from '../../proto/gen/fleet/v1/DrainProgress.ts';
import { type FleetAccess, nameOf } from '../access/fleet_access.ts';
import { ExitRequest } from '../exit.ts';
import type { Printer } from '../output.ts';
import { withFleet } from '../session.ts';
import { onInterrupt, reasonOption } from './arguments.ts';
import { drainText } from './engine_view.ts';

interface DrainFlags {
  readonly reason: string;
  readonly wait?: boolean;
}

/** What drains, as the one who asks sees it at one moment. */
interface DrainView {
  readonly name: string;
  /** `pending`: ordered, but not seen yet. */
  readonly state: 'pending' | 'drains' | 'drained' | 'serves';
  readonly drain: DrainProgress__Output | null;
}

const POLL_MS = 300;
/** How long the agent's first word of the drain may take to arrive. */
const FIRST_WORD_MS = 5_000;
const SIGINT_EXIT = 130;
/** States in which an engine has no request left, whatever was said last. */
const EMPTY_STATES: ReadonlySet<string> = new Set([
  'ENGINE_STATE_STOPPED',
  'ENGINE_STATE_FAILED',
  'ENGINE_STATE_BACKOFF',
  'ENGINE_STATE_QUARANTINED',
]);

async function engineDrain(fleet: FleetAccess, name: string): Promise<DrainView> {
  const { event } = await fleet.engine(name);
  const drain = event?.drain ?? null;
  const state = event?.state ?? 'ENGINE_STATE_UNSPECIFIED';
  if (EMPTY_STATES.has(state)) return { name, state: 'drained', drain };
  if (drain === null) return { name, state: state === 'ENGINE_STATE_DRAINING' ? 'drains' : 'serves', drain };
  return { name, state: drain.runningRequests === 0 ? 'drained' : 'drains', drain };
}

async function nodeDrain(fleet: FleetAccess, name: string): Promise<DrainView> {
  const { nodeEvent } = await fleet.node(name);
  if (nodeEvent?.draining !== true) return { name, state: 'serves', drain: null };
  const { drain } = nodeEvent;
  return { name, state: drain?.runningRequests === 0 ? 'drained' : 'drains', drain };
}

/** Looks until `wanted` is seen or `limitMs` has passed; gives what was seen last. */
async function lookUntil(
  look: () => Promise<DrainView>,
  wanted: (view: DrainView) => boolean,
  limitMs: number,
  signal: AbortSignal,
): Promise<DrainView> {
  const endMs = performance.now() + limitMs;
  for (;;) {
    const view = await look();
    if (wanted(view) || signal.aborted || performance.now() > endMs) return view;
    await sleep(POLL_MS, undefined, { signal }).catch(() => undefined);
  }
}

function viewText(view: DrainView): string {
  if (view.state === 'drained') return `${view.name} is drained: nothing runs on it.`;
  const detail = drainText(view.drain, Date.now());
  return `${view.name} drains${detail === undefined ? '.' : `: ${detail}.`}`;
}

/** Shows what still runs, each time that it changes, until nothing does. @throws CodedError cancelled, ExitRequest */
async function watch(look: () => Promise<DrainView>, print: Printer, undo: string): Promise<DrainView> {
  const stop = new AbortController();
  const forget = onInterrupt(() => stop.abort());
  let shown = '';
  const changed = (view: DrainView): boolean => {
    const text = viewText(view);
    const { runningRequests } = view.drain ?? {};
    if (`${view.state} ${runningRequests}` !== shown && view.state !== 'drained') print.line(text);
    shown = `${view.state} ${runningRequests}`;
    return view.state !== 'drains';
  };
  try {
    const view = await lookUntil(look, changed, Infinity, stop.signal);
    if (stop.signal.aborted) {
      print.result({ name: view.name, state: view.state, drain: view.drain, watched: false }, () => {
        return `No longer watched; the drain goes on. Take it back with: ${undo}`;
      });
      throw new ExitRequest(SIGINT_EXIT);
    }
    if (view.state === 'serves') throw new CodedError('cancelled', `The drain of ${view.name} was taken back.`);
    return view;
  } finally {
    forget();
  }
}

/** The drain has been ordered: shows it, and with --wait stays until it is over. */
async function follow(look: () => Promise<DrainView>, print: Printer, wait: boolean, undo: string): Promise<void> {
  const begun = await lookUntil(look, ({ state }) => state !== 'serves', FIRST_WORD_MS, new AbortController().signal);
  // The agent has taken the order; that its word of it is late does not make it undone.
  const seen: DrainView = begun.state === 'serves' ? { ...begun, state: 'pending' } : begun;
  const view = wait && seen.state !== 'drained' ? await watch(look, print, undo) : seen;
  print.result({ name: view.name, state: view.state, drain: view.drain }, () =>
    view.state === 'drained' ? viewText(view) : `${viewText(view)}\nTake it back with: ${undo}`,
  );
}

const waitOption = (): Option =>
  new Option('--wait', 'stay until nothing runs any more; Ctrl-C leaves the drain going');

export function addEngineDrain(engine: Command): void {
  engine
    .command('drain <name>')
    .description('send no new requests and let the running ones finish')
    .addOption(reasonOption())
    .addOption(waitOption())
    .action((name: string, { reason, wait = false }: DrainFlags, command: Command) =>
      withFleet(command, async (fleet, print) => {
        const target = nameOf(await fleet.engine(name));
        await fleet.run(target, { verb: 'COMMAND_VERB_ENGINE_DRAIN', reason });
        await follow(() => engineDrain(fleet, target), print, wait, `sophia engine undrain ${target}`);
      }),
    );
  engine
    .command('undrain <name>')
    .description('take a drain back: the engine serves again')
    .addOption(reasonOption())
    .action((name: string, { reason }: DrainFlags, command: Command) =>
      withFleet(command, async (fleet, print) => {
        const target = nameOf(await fleet.engine(name));
        await fleet.run(target, { verb: 'COMMAND_VERB_ENGINE_UNDRAIN', reason });
        print.result({ name: target, state: 'serves' }, () => `${target} takes requests again.`);
      }),
    );
}

export function addNodeOrders(node: Command): void {
  node
    .command('drain <name>')
    .description('drain every engine of a node, and start none there')
    .addOption(reasonOption())
    .addOption(waitOption())
    .action((name: string, { reason, wait = false }: DrainFlags, command: Command) =>
      withFleet(command, async (fleet, print) => {
        await fleet.run(name, { verb: 'COMMAND_VERB_NODE_DRAIN', reason });
        await follow(() => nodeDrain(fleet, name), print, wait, `sophia node undrain ${name}`);
      }),
    );
  node
    .command('undrain <name>')
    .description('take the drain of a node back')
    .addOption(reasonOption())
    .action((name: string, { reason }: DrainFlags, command: Command) =>
      withFleet(command, async (fleet, print) => {
        await fleet.run(name, { verb: 'COMMAND_VERB_NODE_UNDRAIN', reason });
        print.result({ name, state: 'serves' }, () => `${name} takes requests again.`);
      }),
    );
}
