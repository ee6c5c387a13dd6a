/** The verbs that an engine itself carries out: sleep and wake, LoRA adapters, its prefix cache. */
import type { ErrorCode } from '../../lib/errors.ts';
import type { Command__Output } from '../../proto/gen/fleet/v1/Command.ts';
import type { CommandResult } from '../../proto/gen/fleet/v1/CommandResult.ts';
import { isConfined } from '../core/engine_spec.ts';
import type { EngineVerb } from '../ports.ts';
import { type LoopCore, pause, type Runtime } from './parts.ts';

export type Result = Omit<CommandResult, 'id'>;

const VERB_TIMEOUT_MS = 120_000;
const SLEEP_POLL_MS = 100;
const MAX_TEXT_CHARS = 500;
const LORA_NAME = /^[A-Za-z0-9][A-Za-z0-9._/-]{0,127}$/;

export const done = (message: string): Result => ({ code: '', message, param: '' });
export const refuse = (code: ErrorCode, message: string, param = ''): Result => ({ code, message, param });

/** Names and reasons reach logs and terminals, so control characters are cut out. */
export const plain = (text: string): string =>
  Array.from(text, (character) => (character < ' ' || character === '\u007f' ? ' ' : character))
    .join('')
    .trim()
    .slice(0, MAX_TEXT_CHARS);

export const actorOf = (command: Command__Output): string => plain(command.actor) || 'a person';

async function askVerb(loop: LoopCore, runtime: Runtime, verb: EngineVerb): Promise<Result> {
  const { life, plan } = runtime;
  if (plan === undefined || life.status !== 'ready')
    return refuse('no_engine', `Engine ${life.spec.name} is ${life.status}, not ready.`, 'engine');
  const answer = await loop.parts.probe.verb(plan.address, verb, VERB_TIMEOUT_MS);
  if (answer.kind === 'unsupported') return refuse('not_supported', answer.message, 'engine');
  if (answer.kind === 'failed') return refuse('engine_failed', answer.message, 'engine');
  return done(`Done: ${verb.kind}.`);
}

/** Asks the engine and notes in its journal who did what. */
async function order(
  loop: LoopCore,
  runtime: Runtime,
  command: Command__Output,
  verb: EngineVerb,
  what: string,
): Promise<Result> {
  const result = await askVerb(loop, runtime, verb);
  if (result.code === '') loop.note(runtime, 'order', `${what}, ordered by ${actorOf(command)}.`);
  return result;
}

/** Requests that run end first: an engine that sleeps gives no more tokens. */
export async function sleepEngine(loop: LoopCore, runtime: Runtime, command: Command__Output): Promise<Result> {
  const level = command.sleepLevel ?? 1;
  if (level !== 1 && level !== 2) return refuse('invalid_value', 'The level of sleep is 1 or 2.', 'sleep_level');
  const { name, limits } = runtime.life.spec;
  const verb = { kind: 'sleep', level } as const;
  if (runtime.life.status !== 'ready') return askVerb(loop, runtime, verb);
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
  const result = await order(loop, runtime, command, verb, `Sleep at level ${level}`);
  if (result.code !== '') loop.send(name, { kind: 'woke' });
  return result;
}

export async function wakeEngine(loop: LoopCore, runtime: Runtime, command: Command__Output): Promise<Result> {
  const result = await order(loop, runtime, command, { kind: 'wake' }, 'Wake');
  if (result.code === '') loop.send(runtime.life.spec.name, { kind: 'woke' });
  return result;
}

export async function loadLora(loop: LoopCore, runtime: Runtime, command: Command__Output): Promise<Result> {
  const { loraName, loraPath } = command;
  const { modelRoots } = loop.parts.rules();
  if (!LORA_NAME.test(loraName)) return refuse('invalid_value', 'lora_name is not a name.', 'lora_name');
  if (loraPath === '') return refuse('missing_field', 'lora_path is empty.', 'lora_path');
  const isPath = loraPath.startsWith('/') || loraPath.split('/').includes('..');
  const isInside = isPath && isConfined(loraPath, modelRoots);
  const real = isInside ? await loop.parts.inspector.confinedPath(loraPath, modelRoots) : undefined;
  if (isPath && real === undefined)
    return refuse('invalid_value', 'lora_path does not exist or lies outside of modelRoots.', 'lora_path');
  const verb = { kind: 'lora_load', name: loraName, path: real ?? loraPath } as const;
  return order(loop, runtime, command, verb, `Adapter ${loraName} loaded`);
}

export async function unloadLora(loop: LoopCore, runtime: Runtime, command: Command__Output): Promise<Result> {
  const { loraName } = command;
  if (!LORA_NAME.test(loraName)) return refuse('invalid_value', 'lora_name is not a name.', 'lora_name');
  return order(loop, runtime, command, { kind: 'lora_unload', name: loraName }, `Adapter ${loraName} unloaded`);
}

export const resetPrefixCache = (loop: LoopCore, runtime: Runtime, command: Command__Output): Promise<Result> =>
  order(loop, runtime, command, { kind: 'prefix_cache_reset' }, 'Prefix cache reset');
