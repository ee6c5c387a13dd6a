/**
 * The backend of the simulated engine as its API process sees it: a socket to the engine core, and what can be answered
 * without it (tokenizer, chat template, embeddings, log probabilities).
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import type { Socket } from 'node:net';
import { fileURLToPath } from 'node:url';
import { ENGINE_DEFAULTS } from '../../../lib/engine_timing.ts';
import type { Backend, ChatMessage, GenerateSink } from '../surface/backend.ts';
import type { SimConfig } from './config.ts';
import { embedIds, logprobOf } from './embeddings.ts';
import type { Control } from './engine_core.ts';
import {
  decodeStep,
  encodeAdd,
  FRAME,
  frame,
  frameReader,
  jsonFrame,
  type CoreLoad,
  type StepEntry,
} from './frames.ts';
import type { KvEvent } from './block_pool.ts';
import { createTokenizer } from './tokenizer.ts';
import { buildVocabulary } from './vocabulary.ts';

/** Step messages are acknowledged in groups; well under what the core lets run ahead. */
const ACK_EVERY = 16;

export interface KvBatch {
  readonly ts: number;
  readonly events: readonly KvEvent[];
}

export interface CoreClient {
  readonly backend: Backend;
  readonly process: ChildProcess;
  readonly ready: Promise<void>;
  control(ask: Control): void;
  isAsleep(): boolean;
}

export interface CoreClientHooks {
  /** The core ended without having been asked. */
  onDeath(code: number | null, signal: NodeJS.Signals | null): void;
  onKvEvents(batch: KvBatch): void;
}

interface Link {
  readonly sinks: Map<number, GenerateSink>;
  readonly pipe: Socket;
  handle: number;
  load: CoreLoad;
  alive: boolean;
  leaving: boolean;
  asleep: boolean;
  unacked: number;
}

const NO_LOAD: CoreLoad = {
  running: 0,
  waiting: 0,
  kvCacheUsage: 0,
  iterations: 0,
  prefixCacheQueries: 0,
  prefixCacheHits: 0,
  preemptions: 0,
};

/** Spawns the engine core; `ready` of what it returns resolves once it can work, and rejects when it ends before. */
export function startCore(config: SimConfig, hooks: CoreClientHooks): CoreClient {
  const child = spawn(
    process.execPath,
    [fileURLToPath(new URL('./engine_core.js', import.meta.url)), JSON.stringify(config)],
    {
      stdio: ['ignore', 'inherit', 'inherit', 'pipe'],
    },
  );
  const link: Link = {
    sinks: new Map(),
    pipe: child.stdio[3] as Socket,
    handle: 0,
    load: NO_LOAD,
    alive: true,
    leaving: false,
    asleep: false,
    unacked: 0,
  };
  link.pipe.on('error', () => undefined);
  const ready = new Promise<void>((resolve, reject) => {
    link.pipe.on(
      'data',
      frameReader((type, payload) => {
        if (type === FRAME.step) onStep(link, payload);
        else if (type === FRAME.kvEvents) hooks.onKvEvents(JSON.parse(payload.toString('utf8')) as KvBatch);
        else if (type === FRAME.ready) resolve();
      }),
    );
    child.once('exit', (code, signal) => {
      link.alive = false;
      reject(new Error(`EngineCore failed to start (${signal ?? code}).`));
      if (!link.leaving) hooks.onDeath(code, signal);
    });
  });
  // A core that ends while nobody waits for it is told by onDeath.
  ready.catch(() => undefined);
  const control = (ask: Control): void => {
    if (ask.op === 'exit') link.leaving = true;
    if (ask.op === 'sleep') link.asleep = true;
    if (ask.op === 'wake') link.asleep = false;
    if (link.alive) link.pipe.write(jsonFrame(FRAME.control, ask));
  };
  return {
    backend: backendOf(config, link, child, control),
    process: child,
    ready,
    control,
    isAsleep: () => link.asleep,
  };
}

function onStep(link: Link, payload: Buffer): void {
  link.load = decodeStep(payload, (entry) => deliver(link, entry));
  link.unacked += 1;
  if (link.unacked < ACK_EVERY) return;
  const count = Buffer.allocUnsafe(4);
  count.writeUInt32LE(link.unacked, 0);
  link.unacked = 0;
  link.pipe.write(frame(FRAME.ack, count));
}

function deliver(link: Link, entry: StepEntry): void {
  const sink = link.sinks.get(entry.handle);
  if (sink === undefined) return;
  if (entry.cachedTokens !== undefined) sink.onPrefill(entry.cachedTokens);
  if (entry.ids.length > 0) sink.onTokens(entry.ids);
  if (entry.end === undefined) return;
  link.sinks.delete(entry.handle);
  sink.onEnd(entry.end);
}

function chatPrompt(
  messages: readonly ChatMessage[],
  options: { addGenerationPrompt: boolean; continueFinal: boolean; tools?: readonly unknown[] },
): string {
  let text = '<|bos|>';
  if (options.tools !== undefined) text += `<|message|>tools\n${JSON.stringify(options.tools)}<|end|>\n`;
  messages.forEach((message, at) => {
    const open = options.continueFinal && at === messages.length - 1;
    const calls = message.tool_calls === undefined ? '' : JSON.stringify(message.tool_calls);
    text += open
      ? `<|message|>assistant\n<|answer|>${message.content}`
      : `<|message|>${message.role}\n${message.content}${calls}<|end|>\n`;
  });
  return options.addGenerationPrompt ? `${text}<|message|>assistant\n<|answer|>` : text;
}

function backendOf(config: SimConfig, link: Link, child: ChildProcess, control: (ask: Control) => void): Backend {
  const vocabulary = buildVocabulary();
  const tokenizer = createTokenizer(vocabulary);
  const { blockTokens } = ENGINE_DEFAULTS;
  const kvBlocks = { blockTokens, blocks: Math.floor(config.kvTokens / blockTokens) };
  return {
    kind: 'sim',
    contextTokens: config.contextTokens,
    vocabularySize: vocabulary.size,
    followsScript: true,
    tokenize: (text, addSpecialTokens) => tokenizer.encode(text, addSpecialTokens),
    detokenize: (ids, skipSpecialTokens) => tokenizer.decode(ids, skipSpecialTokens ?? false),
    chatPrompt,
    logprob: (id, position, top) => logprobOf({ id, position, top, vocabularySize: vocabulary.size }),
    generate(request, sink) {
      link.handle = (link.handle + 1) >>> 0;
      const { handle } = link;
      link.sinks.set(handle, sink);
      link.pipe.write(
        encodeAdd({
          handle,
          maxTokens: request.maxTokens,
          minTokens: request.minTokens,
          ignoreEos: request.ignoreEos,
          seed: request.temperature > 0 ? request.seed : undefined,
          stopIds: request.stopTokenIds,
          promptIds: request.promptIds,
          script: request.scripted === undefined ? [] : tokenizer.encode(request.scripted, false),
        }),
      );
      return () => {
        if (!link.sinks.delete(handle)) return;
        const payload = Buffer.allocUnsafe(4);
        payload.writeUInt32LE(handle, 0);
        if (link.alive) link.pipe.write(frame(FRAME.abort, payload));
        sink.onEnd('abort');
      };
    },
    embed: (inputs) => Promise.resolve(inputs.map((ids) => embedIds(ids, config.embeddingDimensions, config.seed))),
    load: () => ({ ...link.load, kvBlocks }),
    healthy: () => link.alive,
    resetPrefixCache: () => control({ op: 'reset_prefix_cache' }),
    async stop() {
      if (child.exitCode !== null || child.signalCode !== null) return;
      control({ op: 'exit' });
      const timer = setTimeout(() => child.kill('SIGKILL'), 5_000);
      await once(child, 'exit');
      clearTimeout(timer);
    },
  };
}
