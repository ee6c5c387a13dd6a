/**
 * The metrics of hosts, GPUs, engines and agents, and the table that makes them of telemetry. An agent shows its own
 * readings, a scheduler those of the agents that it hears; both take them from the same messages by the same table, so a
 * series means the same wherever it is scraped. Names begin with `sophia_`; `mcp_gpu_utilization` is kept for dashboards
 * of earlier installations.
 */
import type { MetricSpec } from './metric_names.ts';

const ON_NODE = ['node'] as const;
const ON_GPU = ['node', 'gpu'] as const;
const ON_ENGINE = ['node', 'engine'] as const;

const gauge = <const Labels extends readonly string[]>(labels: Labels, help: string) =>
  ({ type: 'gauge', help, labels, on: 'both' }) as const;

export const FLEET_METRICS = {
  mcp_gpu_utilization: {
    ...gauge(ON_GPU, 'Busy part of a GPU in percent, 0 to 100, as nvidia-smi says it.'),
    unit: 'percent',
  },
  sophia_gpu_utilization_ratio: gauge(ON_GPU, 'Busy part of a GPU, 0 to 1.'),
  sophia_gpu_memory_used_bytes: gauge(ON_GPU, 'Memory of a GPU that is in use.'),
  sophia_gpu_memory_total_bytes: gauge(ON_GPU, 'Memory of a GPU.'),
  sophia_gpu_memory_usable_bytes: gauge(
    ON_GPU,
    'Memory of a GPU without what its driver keeps; shares are shares of it.',
  ),
  sophia_gpu_temperature_celsius: gauge(ON_GPU, 'Temperature of a GPU.'),
  sophia_gpu_memory_temperature_celsius: gauge(ON_GPU, 'Temperature of the memory of a GPU.'),
  sophia_gpu_power_watts: gauge(ON_GPU, 'Power drawn by a GPU.'),
  sophia_gpu_sm_clock_hertz: gauge(ON_GPU, 'Clock of the multiprocessors of a GPU.'),
  sophia_gpu_memory_clock_hertz: gauge(ON_GPU, 'Clock of the memory of a GPU.'),
  sophia_gpu_clocks_event_reasons: {
    ...gauge(ON_GPU, 'Why clocks are lowered, as the bit mask of NVML.'),
    unit: 'bit mask',
  },
  sophia_gpu_throttled_seconds: gauge(ON_GPU, 'Time with lowered clocks since the driver was loaded.'),
  sophia_gpu_ecc_corrected_errors: gauge(ON_GPU, 'Memory errors that were corrected, as the GPU counts them.'),
  sophia_gpu_ecc_uncorrected_errors: gauge(ON_GPU, 'Memory errors that were not corrected, as the GPU counts them.'),
  sophia_gpu_remapped_rows_corrected: gauge(ON_GPU, 'Rows remapped for corrected errors.'),
  sophia_gpu_remapped_rows_uncorrected: gauge(ON_GPU, 'Rows remapped for uncorrected errors.'),
  sophia_gpu_remap_pending: gauge(ON_GPU, 'Is 1 when rows are to be remapped at the next reset.'),
  sophia_gpu_remap_failed: gauge(ON_GPU, 'Is 1 when rows could not be remapped.'),
  sophia_gpu_pcie_replays: gauge(ON_GPU, 'Packets that were sent again over PCIe, as the GPU counts them.'),
  sophia_gpu_c2c_links: gauge(ON_GPU, 'Links between the GPU and its CPU that are up.'),
  sophia_gpu_c2c_errors: gauge(ON_GPU, 'Errors on the links between the GPU and its CPU.'),
  sophia_gpu_mig_enabled: gauge(ON_GPU, 'Is 1 when the GPU is split into instances.'),
  sophia_gpu_numa_node: { ...gauge(ON_GPU, 'NUMA node of the memory of a GPU.'), unit: 'number of the node' },
  sophia_gpu_health: gauge(
    [...ON_GPU, 'state'],
    'Is 1 for the state of a GPU, 0 for the others: ok, degraded, unhealthy, quarantined.',
  ),
  sophia_gpu_recovery_action: gauge(
    [...ON_GPU, 'action'],
    'Is 1 for what the driver asks to be done with a GPU: none, reset, reboot, drain or another word.',
  ),
  sophia_gpu_addressing_mode: gauge(
    [...ON_GPU, 'mode'],
    'Is 1 for how a GPU addresses the memory of its host: ats, hmm, none.',
  ),
  sophia_gpu_source: gauge(
    [...ON_NODE, 'source'],
    'Is 1 for the reader of the GPUs, 0 for the others: nvml, nvidia-smi, none.',
  ),
  sophia_gpu_sample_age_seconds: gauge(ON_NODE, 'Age of the newest sample of the GPUs when it was last told.'),
  sophia_engine_requests_running: gauge(ON_ENGINE, 'Requests that the engine works on, as it says.'),
  sophia_engine_requests_waiting: gauge(ON_ENGINE, 'Requests in the queue of the engine, as it says.'),
  sophia_engine_requests_relayed: gauge(ON_ENGINE, 'Requests that the agent holds open to the engine.'),
  sophia_engine_kv_cache_tokens: gauge(ON_ENGINE, 'Tokens that fit into the KV cache, as the engine says.'),
  sophia_engine_kv_cache_usage_ratio: gauge(ON_ENGINE, 'Used part of the KV cache, 0 to 1.'),
  sophia_engine_generation_tokens: gauge(ON_ENGINE, 'Tokens generated in this life of the engine, as it counts them.'),
  sophia_engine_gpu_memory_bytes: gauge(ON_ENGINE, "GPU memory of the engine's processes."),
  sophia_engine_host_memory_bytes: gauge(ON_ENGINE, "Host memory of the engine's processes, shared parts once."),
  sophia_engine_inter_token_p50_seconds: gauge(ON_ENGINE, 'Median time between the tokens of a stream of the engine.'),
  sophia_engine_silent_seconds: gauge(
    ON_ENGINE,
    'Time since the last token of any request, while the engine has some.',
  ),
  sophia_engine_sleeping: gauge(ON_ENGINE, 'Is 1 while the engine sleeps.'),
  sophia_engine_incarnation: { ...gauge(ON_ENGINE, 'Which life of the engine this is.'), unit: 'number of the life' },
  sophia_engine_state: gauge([...ON_ENGINE, 'state'], 'Is 1 for the state of an engine, 0 for the others.'),
  sophia_engine_routable: {
    ...gauge(ON_ENGINE, 'Is 1 when this scheduler may send requests to the engine.'),
    on: 'scheduler',
  },
  sophia_engine_breaker: {
    ...gauge([...ON_ENGINE, 'state'], "Is 1 for the state of an engine's circuit breaker: closed, open, half_open."),
    on: 'scheduler',
  },
  sophia_engine_breaker_openings: {
    ...gauge(ON_ENGINE, 'Times that the circuit breaker of an engine opened in this life of it.'),
    on: 'scheduler',
  },
  sophia_engine_pending_prefill_tokens: {
    ...gauge(ON_ENGINE, "Uncached prompt tokens of this scheduler's requests that wait for their first token."),
    on: 'scheduler',
  },
  sophia_host_cpu_utilization_ratio: gauge(ON_NODE, 'Busy part of the processors of a host, 0 to 1.'),
  sophia_host_memory_used_bytes: gauge(ON_NODE, 'Memory of a host that is not available to a new program.'),
  sophia_host_load_average_1m: {
    ...gauge(ON_NODE, 'Processes that run or wait to run, mean of a minute.'),
    unit: 'processes',
  },
  sophia_host_disk_free_bytes: gauge(ON_NODE, "Free space on the disk of the agent's data folder."),
  sophia_agent_rss_bytes: gauge(ON_NODE, 'Resident memory of an agent.'),
  sophia_agent_loop_lag_p99_seconds: gauge(
    ON_NODE,
    'How late the main loop of an agent turned, p99 of a telemetry period.',
  ),
  sophia_agent_relay_loop_lag_p99_seconds: gauge(
    ON_NODE,
    'How late the slowest relay thread turned, p99 of its period.',
  ),
  sophia_agent_gc_pause_max_seconds: gauge(ON_NODE, 'Longest pause for garbage in a telemetry period.'),
  sophia_agent_sessions: { ...gauge([], 'Schedulers with which the agent has a session.'), on: 'agent' },
  sophia_agent_journal_degraded: {
    ...gauge([], 'Is 1 while the journal cannot be written: a full disk, a read-only folder.'),
    on: 'agent',
  },
  sophia_agent_telemetry_messages_total: {
    type: 'counter',
    help: 'Telemetry messages to schedulers by kind: snapshot, delta, or empty where nothing had changed.',
    labels: ['kind'],
    on: 'agent',
  },
  sophia_engine_restarts_total: {
    type: 'counter',
    help: 'Starts of an engine after the first.',
    labels: ['engine', 'reason'],
    on: 'agent',
  },
  sophia_gpu_reader_failures_total: {
    type: 'counter',
    help: 'Failed readings of the GPUs by reason.',
    labels: ['reason'],
    on: 'agent',
  },
  sophia_node_connected: {
    ...gauge(ON_NODE, 'Is 1 while the agent of a node has a session with this scheduler.'),
    on: 'scheduler',
  },
  sophia_node_telemetry_age_seconds: {
    ...gauge(ON_NODE, 'Time since the agent of a node last sent telemetry.'),
    on: 'scheduler',
  },
  sophia_fleet_nodes: { ...gauge(['state'], 'Agents by state of their session: connected, lost.'), on: 'scheduler' },
  sophia_fleet_engines: { ...gauge(['state'], 'Engines of the fleet by state.'), on: 'scheduler' },
  sophia_fleet_gpus: {
    ...gauge(['health'], 'GPUs of the fleet by health; unknown where nobody has judged.'),
    on: 'scheduler',
  },
  sophia_fleet_nodes_without_detail: {
    ...gauge([], 'Nodes beyond metricsDetailNodes, which are in the sums alone.'),
    on: 'scheduler',
  },
} as const satisfies Record<string, MetricSpec>;

type FleetGauge = keyof typeof FLEET_METRICS;

/** A reading of telemetry as a gauge: its field there, the metric, and what it is multiplied with. */
export type ReadingRow = readonly [field: string, metric: FleetGauge, factor?: number];

const MHZ = 1e6;
const MS = 1e-3;
const NS = 1e-9;

export const GPU_READINGS = [
  ['utilizationRatio', 'sophia_gpu_utilization_ratio'],
  ['utilizationRatio', 'mcp_gpu_utilization', 100],
  ['memoryUsedBytes', 'sophia_gpu_memory_used_bytes'],
  ['memoryTotalBytes', 'sophia_gpu_memory_total_bytes'],
  ['memoryUsableBytes', 'sophia_gpu_memory_usable_bytes'],
  ['temperatureCelsius', 'sophia_gpu_temperature_celsius'],
  ['memoryTemperatureCelsius', 'sophia_gpu_memory_temperature_celsius'],
  ['powerWatts', 'sophia_gpu_power_watts'],
  ['smClockMhz', 'sophia_gpu_sm_clock_hertz', MHZ],
  ['memoryClockMhz', 'sophia_gpu_memory_clock_hertz', MHZ],
  ['clocksEventReasons', 'sophia_gpu_clocks_event_reasons'],
  ['throttledNs', 'sophia_gpu_throttled_seconds', NS],
  ['eccCorrectedTotal', 'sophia_gpu_ecc_corrected_errors'],
  ['eccUncorrectedTotal', 'sophia_gpu_ecc_uncorrected_errors'],
  ['remappedRowsCorrected', 'sophia_gpu_remapped_rows_corrected'],
  ['remappedRowsUncorrected', 'sophia_gpu_remapped_rows_uncorrected'],
  ['remapPending', 'sophia_gpu_remap_pending'],
  ['remapFailed', 'sophia_gpu_remap_failed'],
  ['pcieReplayTotal', 'sophia_gpu_pcie_replays'],
  ['c2cLinkCount', 'sophia_gpu_c2c_links'],
  ['c2cErrorTotal', 'sophia_gpu_c2c_errors'],
  ['migEnabled', 'sophia_gpu_mig_enabled'],
  ['numaNode', 'sophia_gpu_numa_node'],
] as const satisfies readonly ReadingRow[];

export const ENGINE_READINGS = [
  ['incarnation', 'sophia_engine_incarnation'],
  ['runningRequests', 'sophia_engine_requests_running'],
  ['waitingRequests', 'sophia_engine_requests_waiting'],
  ['relayedRequests', 'sophia_engine_requests_relayed'],
  ['kvCacheUsageRatio', 'sophia_engine_kv_cache_usage_ratio'],
  ['kvCacheTokens', 'sophia_engine_kv_cache_tokens'],
  ['generationTokensTotal', 'sophia_engine_generation_tokens'],
  ['gpuMemoryBytes', 'sophia_engine_gpu_memory_bytes'],
  ['hostMemoryBytes', 'sophia_engine_host_memory_bytes'],
  ['interTokenP50Ms', 'sophia_engine_inter_token_p50_seconds', MS],
  ['silentMs', 'sophia_engine_silent_seconds', MS],
  ['sleeping', 'sophia_engine_sleeping'],
] as const satisfies readonly ReadingRow[];

export const HOST_READINGS = [
  ['cpuUtilizationRatio', 'sophia_host_cpu_utilization_ratio'],
  ['memoryUsedBytes', 'sophia_host_memory_used_bytes'],
  ['loadAverage_1m', 'sophia_host_load_average_1m'],
  ['diskFreeBytes', 'sophia_host_disk_free_bytes'],
] as const satisfies readonly ReadingRow[];

export const AGENT_READINGS = [
  ['rssBytes', 'sophia_agent_rss_bytes'],
  ['loopLagP99Ms', 'sophia_agent_loop_lag_p99_seconds', MS],
  ['relayLoopLagP99Ms', 'sophia_agent_relay_loop_lag_p99_seconds', MS],
  ['gcPauseMaxMs', 'sophia_agent_gc_pause_max_seconds', MS],
] as const satisfies readonly ReadingRow[];
