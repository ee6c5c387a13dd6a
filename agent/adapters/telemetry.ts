/**
 * Gathers one reading of everything at the period that schedulers ask for. A source that is slow or silent leaves its
 * part out: what is unknown is absent, never 0.
 */
import type { Clock } from '../../lib/clock.ts';
import type { HostReading } from '../../proto/gen/fleet/v1/HostReading.ts';
import type { Telemetry } from '../../proto/gen/fleet/v1/Telemetry.ts';
import type {
  EngineAddress,
  EngineLoad,
  EngineProbe,
  EngineView,
  GpuReader,
  GpuSample,
  GpuState,
  HostFactsReader,
  Relay,
} from '../ports.ts';

export interface TelemetryParts {
  readonly clock: Clock;
  readonly host: HostFactsReader;
  readonly gpus: GpuReader;
  readonly probe: EngineProbe;
  readonly relay: Relay;
  readonly engines: () => readonly EngineView[];
  readonly probeTimeoutMs: number;
  readonly send: (telemetry: Telemetry) => void;
  readonly onError: (error: unknown) => void;
}

function gpuReading(gpu: GpuState): NonNullable<Telemetry['gpus']>[number] {
  const { index, utilizationRatio, memoryUsedBytes, memoryTotalBytes, temperatureCelsius, powerWatts } = gpu;
  return {
    index,
    ...(utilizationRatio === undefined ? {} : { utilizationRatio }),
    ...(memoryUsedBytes === undefined ? {} : { memoryUsedBytes }),
    ...(memoryTotalBytes === undefined ? {} : { memoryTotalBytes }),
    ...(temperatureCelsius === undefined ? {} : { temperatureCelsius }),
    ...(powerWatts === undefined ? {} : { powerWatts }),
  };
}

function engineReading(
  view: EngineView,
  load: EngineLoad | undefined,
  relayed: number,
): NonNullable<Telemetry['engines']>[number] {
  return {
    engine: view.life.spec.name,
    incarnation: view.life.incarnation,
    relayedRequests: relayed,
    ...(load?.runningRequests === undefined ? {} : { runningRequests: load.runningRequests }),
    ...(load?.waitingRequests === undefined ? {} : { waitingRequests: load.waitingRequests }),
    ...(load?.kvCacheUsageRatio === undefined ? {} : { kvCacheUsageRatio: load.kvCacheUsageRatio }),
    ...(load?.generationTokensTotal === undefined ? {} : { generationTokensTotal: load.generationTokensTotal }),
  };
}

/** The parts of a telemetry message that were read. */
export function toTelemetry(
  atMs: number,
  host: HostReading,
  sample: GpuSample,
  engines: readonly { readonly view: EngineView; readonly load: EngineLoad | undefined; readonly relayed: number }[],
): Telemetry {
  return {
    atMs,
    host,
    gpus: sample.gpus.map(gpuReading),
    engines: engines.map(({ view, load, relayed }) => engineReading(view, load, relayed)),
    gpuSource: sample.source,
    gpuSampleAgeMs: Math.max(0, atMs - sample.atMs),
  };
}

/** Sends telemetry again and again; one round is never begun before the last has ended. */
export class TelemetryLoop {
  readonly #parts: TelemetryParts;
  #periodMs: number;
  #cancel: (() => void) | undefined;
  #stopped = true;
  /** Newest load of each engine, for the agent's own metrics. */
  readonly loads = new Map<string, EngineLoad>();

  constructor(parts: TelemetryParts, periodMs: number) {
    this.#parts = parts;
    this.#periodMs = periodMs;
  }

  setPeriod(periodMs: number): void {
    this.#periodMs = Math.max(100, periodMs);
  }

  start(): void {
    this.#stopped = false;
    this.#later(0);
  }

  stop(): void {
    this.#stopped = true;
    this.#cancel?.();
  }

  #later(delayMs: number): void {
    if (this.#stopped) return;
    this.#cancel = this.#parts.clock.after(delayMs, () => {
      this.#round()
        .catch((error: unknown) => this.#parts.onError(error))
        .finally(() => this.#later(this.#periodMs));
    });
  }

  async #round(): Promise<void> {
    const { clock, host, gpus, probe, relay, probeTimeoutMs } = this.#parts;
    const ask = (view: EngineView, address: EngineAddress | undefined): Promise<EngineLoad | undefined> =>
      address === undefined || (view.life.status !== 'ready' && view.life.status !== 'draining')
        ? Promise.resolve(undefined)
        : probe.load(address, probeTimeoutMs);
    const views = this.#parts.engines();
    const [reading, loads] = await Promise.all([
      host.reading(),
      Promise.all(views.map((view) => ask(view, view.address))),
    ]);
    const { openByEngine } = relay.stats();
    const engines = views.map((view, index) => ({
      view,
      load: loads[index],
      relayed: openByEngine[view.life.spec.name] ?? 0,
    }));
    this.loads.clear();
    for (const { view, load } of engines) if (load !== undefined) this.loads.set(view.life.spec.name, load);
    this.#parts.send(toTelemetry(clock.wallMs(), reading, gpus.latest(), engines));
  }
}
