/**
 * The embedded engine as a process: a real model on the CPU behind HTTP that looks like vLLM's. Its log has vLLM's
 * start-up lines in vLLM's order, because the agent reads progress from them whichever engine it started.
 */
import { CodedError } from '../../../lib/errors.ts';
import { systemRandom } from '../../../lib/io/system.ts';
import { seededRandom } from '../../../lib/rng.ts';
import { assertListenable } from '../surface/listen.ts';
import { startSurface, type Surface } from '../surface/server.ts';
import type { Backend } from '../surface/backend.ts';
import { type LlamaArguments, parseArguments } from './arguments.ts';
import { createLlamaBackend } from './backend.ts';
import { type LoadedModel, loadModel } from './model.ts';

/** Waiting requests per sequence; beyond that the wait would be longer than a client's patience. */
const WAITING_PER_SEQUENCE = 16;
/** After an abort every stream needs a moment to write its last chunk. */
const ABORT_GRACE_MS = 1_000;
/** The native side lets go of a sequence within one batch; past this the process ends without waiting for it. */
const RELEASE_GRACE_MS = 3_000;

const EXIT_BAD_ARGUMENTS = 2;

function info(line: string): void {
  const now = new Date();
  process.stdout.write(`INFO ${now.toISOString().slice(5, 19).replace('T', ' ')} [llama] ${line}\n`);
}

function error(line: string): void {
  process.stderr.write(`ERROR ${new Date().toISOString().slice(5, 19).replace('T', ' ')} [llama] ${line}\n`);
}

function within(task: Promise<unknown>, limitMs: number): Promise<unknown> {
  let timer: NodeJS.Timeout | undefined;
  const limit = new Promise((resolve) => {
    timer = setTimeout(resolve, limitMs);
  });
  return Promise.race([task, limit]).finally(() => clearTimeout(timer));
}

async function load(args: LlamaArguments): Promise<LoadedModel> {
  info(`Initializing a V1 LLM engine (llama.cpp on CPU, node-llama-cpp) with config: ${JSON.stringify(args)}`);
  const startedMs = performance.now();
  const model = await loadModel({
    modelPath: args.model,
    threads: args.threads,
    sequences: args.maxNumSeqs,
    contextTokens: args.maxModelLen,
    onStep(step, seconds, megabytes) {
      if (step !== 'weights') return;
      info(`Loading weights took ${seconds.toFixed(2)} seconds`);
      info(`Model loading took ${(megabytes / 1024).toFixed(2)} GiB and ${seconds.toFixed(2)} seconds`);
    },
  });
  const cacheTokens = model.contextTokens * model.slots.length;
  info(`CPU KV cache size: ${cacheTokens.toLocaleString('en-US')} tokens`);
  info(
    `Maximum concurrency for ${model.contextTokens.toLocaleString('en-US')} tokens per request: ${model.slots.length.toFixed(2)}x`,
  );
  if (!model.vocabulary.exact)
    info('The tokenizer kind is unknown here: a character that spans two tokens may arrive as U+FFFD.');
  info(
    `init engine (profile, create kv cache, warmup model) took ${((performance.now() - startedMs) / 1000).toFixed(2)} seconds`,
  );
  return model;
}

/** Ends in-flight work by the shutdown timeout and exits; a second signal exits at once. */
function stopOnSignal(surface: Surface, backend: Backend, shutdownTimeoutMs: number): void {
  let stopping = false;
  const stop = async (): Promise<void> => {
    surface.beginDrain();
    if (shutdownTimeoutMs > 0) {
      info(
        `[shutdown] EngineCore: draining in-flight requests count=${surface.inFlight()} timeout=${shutdownTimeoutMs / 1000}s`,
      );
      await within(surface.drained(), shutdownTimeoutMs);
    }
    surface.abortAll('abort');
    await within(surface.drained(), ABORT_GRACE_MS);
    await surface.close();
    await within(backend.stop(), RELEASE_GRACE_MS);
    info('Application shutdown complete.');
    process.exit(0);
  };
  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    process.on(signal, () => {
      if (stopping) process.exit(signal === 'SIGTERM' ? 143 : 130);
      stopping = true;
      stop().catch((thrown: unknown) => {
        error(`Shutdown failed: ${String(thrown)}`);
        process.exit(1);
      });
    });
  }
}

async function run(args: LlamaArguments): Promise<void> {
  await assertListenable(args.listen);
  const model = await load(args);
  // Filled in a moment later: the native side may fail before the server listens.
  const live: { surface?: Surface } = {};
  const backend = createLlamaBackend({
    model,
    maxWaiting: args.maxNumSeqs * WAITING_PER_SEQUENCE,
    random: args.seed === undefined ? systemRandom : seededRandom(args.seed),
    onDead(cause) {
      error(`EngineCore encountered a fatal error. ${cause.message}`);
      live.surface?.abortAll('error');
      setTimeout(() => process.exit(1), ABORT_GRACE_MS);
    },
  });
  const surface = await startSurface({
    backend,
    servedModelName: args.servedModelName,
    model: args.model,
    listen: args.listen,
    ownedBy: 'llama.cpp',
    maxChoices: 1,
  });
  live.surface = surface;
  stopOnSignal(surface, backend, args.shutdownTimeoutMs);
  info(`Starting vLLM-compatible API server on ${surface.address}`);
  info('Application startup complete.');
}

function fail(thrown: unknown): never {
  if (thrown instanceof CodedError) {
    error(thrown.message);
    process.exit(thrown.code === 'invalid_config' ? EXIT_BAD_ARGUMENTS : 1);
  }
  if (/Address already in use/.test(String(thrown))) error((thrown as Error).message);
  else
    error(`EngineCore failed to start. ${thrown instanceof Error ? (thrown.stack ?? thrown.message) : String(thrown)}`);
  process.exit(1);
}

try {
  await run(parseArguments(process.argv.slice(2)));
} catch (thrown) {
  fail(thrown);
}
