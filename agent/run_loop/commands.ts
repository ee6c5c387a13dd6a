/**
 * A person's orders, the same whether they came through a scheduler's session or through the local socket. An order that
 * takes long (a drain, a restart) is begun and answered; the engine's events tell the rest.
 */
import type { ErrorCode } from '../../lib/errors.ts';
import type { Command__Output } from '../../proto/gen/fleet/v1/Command.ts';
import type { CommandResult } from '../../proto/gen/fleet/v1/CommandResult.ts';
import { ENGINE_NAME, isConfined } from '../core/engine_spec.ts';
import type { Hold } from '../core/lifecycle/life.ts';
import type { CommandRunner, CommandSink, EngineVerb } from '../ports.ts';
import { pause, type Runtime } from './parts.ts';
import type { RunLoop } from './run_loop.ts';

type Result = Omit<CommandResult, 'id'>;
type Order = (command: Command__Output, sink: CommandSink) => Result | Promise<Result>;

export interface CommandParts {
  readonly loop: RunLoop;
  /** Follows an engine's log; absent where it is not wired. */
  readonly logs?: (command: Command__Output, sink: CommandSink) => Promise<Result>;
  /** Lifts the quarantine of a GPU. */
  readonly releaseGpu?: (gpu: number, actor: string, reason: string) => Promise<Result> | Result;
}

const VERB_TIMEOUT_MS = 120_000;
const SLEEP_POLL_MS = 100;
const JOURNAL_CHUNK = 50;
const MAX_TEXT_CHARS = 500;
const LORA_NAME = /^[A-Za-z0-9][A-Za-z0-9._/-]{0,127}$/;

const done = (message: string): Result => ({ code: '', message, param: '' });
const refuse = (code: ErrorCode, message: string, param = ''): Result => ({ code, message, param });

const plain = (text: string): string =>
  // Names and reasons reach logs and terminals, so control characters are cut out.
  Array.from(text, (character) => (character < ' ' || character === '\u007f' ? ' ' : character))
    .join('')
    .trim()
    .slice(0, MAX_TEXT_CHARS);

const actorOf = (command: Command__Output): string => plain(command.actor) || 'a person';

export function createCommandRunner(parts: CommandParts): CommandRunner {
  const { loop } = parts;

  const withEngine =
    (act: (runtime: Runtime, command: Command__Output, sink: CommandSink) => Result | Promise<Result>): Order =>
    (command, sink) => {
      const runtime = loop.runtimeOf(command.engine);
      return runtime === undefined
        ? refuse('not_found', `There is no engine ${plain(command.engine)} on this node.`, 'engine')
        : act(runtime, command, sink);
    };

  const holdFrom = (command: Command__Output): Hold => ({
    actor: actorOf(command),
    reason: plain(command.reason),
    sinceMs: loop.parts.clock.wallMs(),
  });

  const askVerb = async (runtime: Runtime, verb: EngineVerb): Promise<Result> => {
    const { life, plan } = runtime;
    if (plan === undefined || life.status !== 'ready')
      return refuse('no_engine', `Engine ${life.spec.name} is ${life.status}, not ready.`, 'engine');
    const answer = await loop.parts.probe.verb(plan.address, verb, VERB_TIMEOUT_MS);
    if (answer.kind === 'unsupported') return refuse('not_supported', answer.message, 'engine');
    if (answer.kind === 'failed') return refuse('engine_failed', answer.message, 'engine');
    return done(`Done: ${verb.kind}.`);
  };

  const noteVerb = (command: Command__Output, runtime: Runtime, what: string): void =>
    loop.note(runtime, 'order', `${what}, ordered by ${actorOf(command)}.`);

  /** Requests that run end first: an engine that sleeps gives no more tokens. */
  const sleep = async (runtime: Runtime, command: Command__Output): Promise<Result> => {
    const level = command.sleepLevel ?? 1;
    if (level !== 1 && level !== 2) return refuse('invalid_value', 'The level of sleep is 1 or 2.', 'sleep_level');
    const { name, limits } = runtime.life.spec;
    if (runtime.life.status !== 'ready') return askVerb(runtime, { kind: 'sleep', level });
    if (runtime.life.sleeping) return done('It sleeps already.');
    loop.send(name, { kind: 'slept' });
    const until = loop.parts.clock.monotonicMs() + limits.drainTimeoutMs;
    while ((loop.parts.relay.stats().openByEngine[name] ?? 0) > 0) {
      if (loop.parts.clock.monotonicMs() > until) {
        loop.send(name, { kind: 'woke' });
        return refuse('overloaded', 'Its running requests did not end in time; it goes on.', 'engine');
      }
      await pause(loop, SLEEP_POLL_MS);
    }
    const result = await askVerb(runtime, { kind: 'sleep', level });
    if (result.code === '') noteVerb(command, runtime, `Sleep at level ${level}`);
    else loop.send(name, { kind: 'woke' });
    return result;
  };

  const wake = async (runtime: Runtime, command: Command__Output): Promise<Result> => {
    const result = await askVerb(runtime, { kind: 'wake' });
    if (result.code !== '') return result;
    noteVerb(command, runtime, 'Wake');
    loop.send(runtime.life.spec.name, { kind: 'woke' });
    return result;
  };

  const loadLora = async (runtime: Runtime, command: Command__Output): Promise<Result> => {
    const { loraName, loraPath } = command;
    const { modelRoots } = loop.parts.rules();
    if (!LORA_NAME.test(loraName)) return refuse('invalid_value', 'lora_name is not a name.', 'lora_name');
    const isPath = loraPath.startsWith('/') || loraPath.split('/').includes('..');
    if (loraPath === '') return refuse('missing_field', 'lora_path is empty.', 'lora_path');
    const real =
      isPath && isConfined(loraPath, modelRoots)
        ? await loop.parts.inspector.confinedPath(loraPath, modelRoots)
        : undefined;
    if (isPath && real === undefined)
      return refuse('invalid_value', 'lora_path does not exist or lies outside of modelRoots.', 'lora_path');
    const result = await askVerb(runtime, { kind: 'lora_load', name: loraName, path: real ?? loraPath });
    if (result.code === '') noteVerb(command, runtime, `Adapter ${loraName} loaded`);
    return result;
  };

  const unloadLora = async (runtime: Runtime, command: Command__Output): Promise<Result> => {
    if (!LORA_NAME.test(command.loraName)) return refuse('invalid_value', 'lora_name is not a name.', 'lora_name');
    const result = await askVerb(runtime, { kind: 'lora_unload', name: command.loraName });
    if (result.code === '') noteVerb(command, runtime, `Adapter ${command.loraName} unloaded`);
    return result;
  };

  const journal: Order = async (command, sink) => {
    const entries = ENGINE_NAME.test(command.engine) ? await loop.parts.journal.read(command.engine) : [];
    if (entries.length === 0 && loop.runtimeOf(command.engine) === undefined)
      return refuse('not_found', `There is no engine ${plain(command.engine)} on this node.`, 'engine');
    for (let from = 0; from < entries.length && !sink.signal.aborted; from += JOURNAL_CHUNK)
      sink.output({ journal: entries.slice(from, from + JOURNAL_CHUNK) });
    return done(`${entries.length} entries.`);
  };

  const unsupported =
    (what: string): Order =>
    () =>
      refuse('not_supported', `This agent has no ${what}.`);

  const orders: Readonly<Record<string, Order>> = {
    COMMAND_VERB_ENGINE_DRAIN: withEngine((runtime, command) => {
      loop.hold(holdFrom(command), runtime.life.spec.name);
      return done('It drains: running requests end, then it is stopped until it is released.');
    }),
    COMMAND_VERB_ENGINE_UNDRAIN: withEngine((runtime, command) => {
      const { name } = runtime.life.spec;
      if (loop.holdOf() !== undefined && loop.holdOf(name) === undefined)
        return refuse('draining', 'The whole node is drained; release the node.', 'engine');
      loop.unhold(actorOf(command), name);
      return done(loop.holdOf() === undefined ? 'It is released.' : 'It is released once the node is.');
    }),
    COMMAND_VERB_ENGINE_RESTART: withEngine((runtime, command) => {
      if (runtime.life.hold !== undefined) return refuse('draining', 'It is drained; release it first.', 'engine');
      const reason = plain(command.reason);
      const message = `Restart ordered by ${actorOf(command)}${reason === '' ? '' : `: ${reason}`}.`;
      loop.send(runtime.life.spec.name, { kind: 'restart', reason: 'restart_ordered', message, drain: true });
      return done('It is restarted once its running requests have ended.');
    }),
    COMMAND_VERB_ENGINE_SLEEP: withEngine(sleep),
    COMMAND_VERB_ENGINE_WAKE: withEngine(wake),
    COMMAND_VERB_LORA_LOAD: withEngine(loadLora),
    COMMAND_VERB_LORA_UNLOAD: withEngine(unloadLora),
    COMMAND_VERB_PREFIX_CACHE_RESET: withEngine((runtime) => askVerb(runtime, { kind: 'prefix_cache_reset' })),
    COMMAND_VERB_ENGINE_LOGS: parts.logs ?? unsupported('logs to follow'),
    COMMAND_VERB_ENGINE_JOURNAL: journal,
    COMMAND_VERB_NODE_DRAIN: (command) => {
      loop.hold(holdFrom(command));
      return done('The node drains: running requests end, then its engines are stopped until it is released.');
    },
    COMMAND_VERB_NODE_UNDRAIN: (command) => {
      loop.unhold(actorOf(command));
      return done('The node is released.');
    },
    COMMAND_VERB_GPU_RELEASE: (command) => {
      if (command.gpu === undefined) return refuse('missing_field', 'gpu is absent.', 'gpu');
      if (parts.releaseGpu === undefined) return refuse('not_supported', 'This agent quarantines no GPUs.', 'gpu');
      return parts.releaseGpu(command.gpu, actorOf(command), plain(command.reason));
    },
  };

  return {
    async run(command, sink) {
      const order = Object.hasOwn(orders, command.verb) ? orders[command.verb] : undefined;
      if (order === undefined)
        return refuse('not_supported', 'This agent does not know the verb; it may be of a newer release.', 'verb');
      try {
        return await order(command, sink);
      } catch (error) {
        loop.parts.log.warn({ verb: command.verb, engine: command.engine, err: error }, 'an order failed');
        return refuse('internal', 'The order failed; the log of the agent has the cause.');
      }
    },
  };
}
