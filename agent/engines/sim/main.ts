/**
 * The simulated engine's API server process: what `vllm serve` is in a real engine. It starts the engine core, answers
 * HTTP through the shared surface, and repeats how vLLM 0.32 was seen to stop and to die.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { assertListenable } from '../surface/listen.ts';
import { startSurface, type Surface } from '../surface/server.ts';
import { parseConfig, UsageError, type SimConfig } from './config.ts';
import { startCore, type CoreClient, type KvBatch } from './core_client.ts';
import { createFaults } from './faults.ts';
import { awaitMembers, computeTogether, takePart } from './gang.ts';
import { createKvLog } from './kv_log.ts';
import { startKvPublisher } from './kv_publisher.ts';
import { createSimRoutes } from './routes.ts';
import { engineLogger } from './startup_log.ts';

/** Seen after kill -9 of EngineCore: the port is refused at 0.65 s and the API process is gone at 1.3 s. */
const DEATH_CLOSE_MS = 650;
const DEATH_EXIT_MS = 1_300;

const log = engineLogger('APIServer');

interface Engine {
  readonly config: SimConfig;
  surface: Surface | undefined;
  core: CoreClient | undefined;
  stopping: boolean;
}

/** The engine core died unasked: streams end with an error chunk, then the port goes, then the process. */
async function die(engine: Engine): Promise<void> {
  if (engine.surface === undefined || engine.stopping) return;
  engine.stopping = true;
  log(
    'ERROR EngineCore encountered a fatal error. vllm.v1.engine.exceptions.EngineDeadError: EngineCore encountered an issue.',
  );
  engine.surface.abortAll('error');
  await sleep(DEATH_CLOSE_MS);
  await engine.surface.close();
  await sleep(DEATH_EXIT_MS - DEATH_CLOSE_MS);
  process.exit(engine.config.deathExitCode);
}

/** SIGTERM: without a time limit what runs is aborted; with one it may finish while new work is refused. */
async function stop(engine: Engine): Promise<void> {
  const { config, surface, core } = engine;
  if (engine.stopping) return;
  engine.stopping = true;
  if (surface === undefined || core === undefined) {
    await core?.backend.stop();
    process.exit(0);
  }
  surface.beginDrain();
  if (config.shutdownTimeoutS > 0) {
    log(
      `[shutdown] EngineCore: draining in-flight requests count=${surface.inFlight()} timeout=${config.shutdownTimeoutS}s`,
    );
    await Promise.race([surface.drained(), sleep(config.shutdownTimeoutS * 1_000, undefined, { ref: false })]);
  } else if (config.onSigterm === 'hang') {
    await core.backend.stop();
    log('Shutting down FastAPI HTTP server.');
    return;
  }
  surface.abortAll(config.shutdownTimeoutS > 0 || config.onSigterm !== 'error' ? 'abort' : 'error');
  surface.closeListener();
  await core.backend.stop();
  await Promise.race([surface.drained(), sleep(200)]);
  await surface.close();
  process.exit(0);
}

async function run(engine: Engine): Promise<void> {
  const { config } = engine;
  process.stdout.on('error', () => undefined);
  process.stderr.on('error', () => undefined);
  if (config.gang?.headless === true) return takePart(config.gang, log);
  process.on('SIGTERM', () => void stop(engine));
  process.on('SIGINT', () => void stop(engine));
  const kvLog = createKvLog();
  await assertListenable(config.listen);
  const publisher = config.kvEndpoints === undefined ? undefined : await startKvPublisher(config.kvEndpoints);
  const onKvEvents = (batch: KvBatch): void => {
    kvLog.add(batch);
    publisher?.add(batch);
  };
  engine.core = startCore(config, { onDeath: () => void die(engine), onKvEvents });
  await engine.core.ready;
  if (config.gang !== undefined) {
    const { core } = engine;
    log(`waiting for ${config.gang.size - 1} members on ${config.gang.address}:${config.gang.port}`);
    computeTogether(await awaitMembers(config.gang), (ms) => core.control({ op: 'hang', ms }));
  }
  const faults = createFaults({ specs: config.faults, core: engine.core });
  engine.surface = await startSurface({
    backend: faults.wrap(engine.core.backend),
    servedModelName: config.servedModelName,
    model: config.model,
    listen: config.listen,
    ownedBy: 'sophia-sim',
    modelFields: { simulated: true },
    runtimeLora: config.runtimeLora,
    intercept: (exchange) => faults.intercept(exchange),
    route: createSimRoutes({ config, core: engine.core, faults, kvLog }),
  });
  log(`Starting vLLM API server (simulated) on ${engine.surface.address}`);
  process.stderr.write('INFO:     Application startup complete.\n');
}

async function main(): Promise<void> {
  let engine: Engine | undefined;
  try {
    engine = { config: parseConfig(process.argv.slice(2)), surface: undefined, core: undefined, stopping: false };
    await run(engine);
  } catch (error) {
    // A core that ends because it was told to is no failed start.
    if (engine?.stopping === true) return;
    const usage = error instanceof UsageError;
    const reason = error instanceof Error ? error.message : String(error);
    process.stderr.write(usage ? `sophia-sim: error: ${reason}\n` : `ERROR ${reason}\n`);
    await engine?.core?.backend.stop();
    process.exit(usage ? 2 : 1);
  }
}

await main();
