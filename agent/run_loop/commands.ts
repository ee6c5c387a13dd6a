/**
 * A person's orders, the same whether they came through a scheduler's session or through the local socket. An order that
 * takes long (a drain, a restart) is begun and answered; the engine's events tell the rest.
 */
import type { Command__Output } from '../../proto/gen/fleet/v1/Command.ts';
import { ENGINE_NAME } from '../core/engine_spec.ts';
import type { Hold } from '../core/lifecycle/life.ts';
import type { CommandRunner, CommandSink } from '../ports.ts';
import {
  actorOf,
  done,
  loadLora,
  plain,
  refuse,
  resetPrefixCache,
  type Result,
  sleepEngine,
  unloadLora,
  wakeEngine,
} from './engine_verbs.ts';
import type { Runtime } from './parts.ts';
import type { RunLoop } from './run_loop.ts';

export interface CommandParts {
  readonly loop: RunLoop;
  /** Follows an engine's log; absent where it is not wired. */
  readonly logs?: (command: Command__Output, sink: CommandSink) => Promise<Result>;
  /** Lifts the quarantine of a GPU. */
  readonly releaseGpu?: (gpu: number, actor: string, reason: string) => Promise<Result> | Result;
}

type Order = (command: Command__Output, sink: CommandSink, parts: CommandParts) => Result | Promise<Result>;

const JOURNAL_CHUNK = 50;

const unknownEngine = (command: Command__Output): Result =>
  refuse('not_found', `There is no engine ${plain(command.engine)} on this node.`, 'engine');

/** An order for one engine, refused when there is no such engine. */
const forEngine =
  (act: (loop: RunLoop, runtime: Runtime, command: Command__Output) => Result | Promise<Result>): Order =>
  (command, _sink, { loop }) => {
    const runtime = loop.runtimeOf(command.engine);
    return runtime === undefined ? unknownEngine(command) : act(loop, runtime, command);
  };

const holdFrom = (loop: RunLoop, command: Command__Output): Hold => ({
  actor: actorOf(command),
  reason: plain(command.reason),
  sinceMs: loop.parts.clock.wallMs(),
});

function undrainEngine(loop: RunLoop, runtime: Runtime, command: Command__Output): Result {
  const { name } = runtime.life.spec;
  const isNodeDrained = loop.holdOf() !== undefined;
  if (isNodeDrained && loop.holdOf(name) === undefined)
    return refuse('draining', 'The whole node is drained; release the node.', 'engine');
  loop.unhold(actorOf(command), name);
  return done(isNodeDrained ? 'It is released once the node is.' : 'It is released.');
}

function restartEngine(loop: RunLoop, runtime: Runtime, command: Command__Output): Result {
  const { hold, spec, quarantine } = runtime.life;
  if (hold !== undefined) return refuse('draining', 'It is drained; release it first.', 'engine');
  if (quarantine !== undefined) return refuse('draining', 'Its GPU is quarantined; release the GPU first.', 'engine');
  const reason = plain(command.reason);
  const message = `Restart ordered by ${actorOf(command)}${reason === '' ? '' : `: ${reason}`}.`;
  loop.send(spec.name, { kind: 'restart', reason: 'restart_ordered', message, drain: true });
  return done('It is restarted once its running requests have ended.');
}

async function showJournal(command: Command__Output, sink: CommandSink, { loop }: CommandParts): Promise<Result> {
  const entries = ENGINE_NAME.test(command.engine) ? await loop.parts.journal.read(command.engine) : [];
  if (entries.length === 0 && loop.runtimeOf(command.engine) === undefined) return unknownEngine(command);
  for (let from = 0; from < entries.length && !sink.signal.aborted; from += JOURNAL_CHUNK)
    sink.output({ journal: entries.slice(from, from + JOURNAL_CHUNK) });
  return done(`${entries.length} entries.`);
}

function releaseGpu(command: Command__Output, _sink: CommandSink, parts: CommandParts): Result | Promise<Result> {
  if (command.gpu === undefined) return refuse('missing_field', 'gpu is absent.', 'gpu');
  if (parts.releaseGpu === undefined) return refuse('not_supported', 'This agent quarantines no GPUs.', 'gpu');
  return parts.releaseGpu(command.gpu, actorOf(command), plain(command.reason));
}

const ORDERS: Readonly<Record<string, Order>> = {
  COMMAND_VERB_ENGINE_DRAIN: forEngine((loop, runtime, command) => {
    loop.hold(holdFrom(loop, command), runtime.life.spec.name);
    return done('It drains: running requests end, then it is stopped until it is released.');
  }),
  COMMAND_VERB_ENGINE_UNDRAIN: forEngine(undrainEngine),
  COMMAND_VERB_ENGINE_RESTART: forEngine(restartEngine),
  COMMAND_VERB_ENGINE_SLEEP: forEngine(sleepEngine),
  COMMAND_VERB_ENGINE_WAKE: forEngine(wakeEngine),
  COMMAND_VERB_LORA_LOAD: forEngine(loadLora),
  COMMAND_VERB_LORA_UNLOAD: forEngine(unloadLora),
  COMMAND_VERB_PREFIX_CACHE_RESET: forEngine(resetPrefixCache),
  COMMAND_VERB_ENGINE_LOGS: (command, sink, { logs }) =>
    logs === undefined ? refuse('not_supported', 'This agent has no logs to follow.') : logs(command, sink),
  COMMAND_VERB_ENGINE_JOURNAL: showJournal,
  COMMAND_VERB_NODE_DRAIN: (command, _sink, { loop }) => {
    loop.hold(holdFrom(loop, command));
    return done('The node drains: running requests end, then its engines are stopped until it is released.');
  },
  COMMAND_VERB_NODE_UNDRAIN: (command, _sink, { loop }) => {
    loop.unhold(actorOf(command));
    return done('The node is released.');
  },
  COMMAND_VERB_GPU_RELEASE: releaseGpu,
};

export function createCommandRunner(parts: CommandParts): CommandRunner {
  return {
    async run(command, sink) {
      const order = Object.hasOwn(ORDERS, command.verb) ? ORDERS[command.verb] : undefined;
      if (order === undefined)
        return refuse('not_supported', 'This agent does not know the verb; it may be of a newer release.', 'verb');
      try {
        return await order(command, sink, parts);
      } catch (error) {
        const { verb, engine } = command;
        parts.loop.parts.log.warn({ verb, engine, err: error }, 'an order failed');
        return refuse('internal', 'The order failed; the log of the agent has the cause.');
      }
    },
  };
}
