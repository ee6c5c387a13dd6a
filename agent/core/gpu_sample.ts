/** What is read of GPUs and what their driver says by itself: the words that the reader, the health table and telemetry share. */

/** One reading of all GPUs; an empty list with source 'none' is a normal answer. */
export interface GpuSample {
  readonly source: 'nvml' | 'nvidia-smi' | 'none';
  readonly atMs: number;
  readonly gpus: readonly GpuState[];
  /** Why there is no figure, when there is none. */
  readonly reason?: string;
}

export interface GpuState {
  readonly index: number;
  readonly uuid?: string;
  readonly name?: string;
  readonly driverVersion?: string;
  readonly utilizationRatio?: number;
  readonly memoryUsedBytes?: number;
  readonly memoryTotalBytes?: number;
  /** What a program can have: less than total without used, for the driver keeps some (615 MiB of an H200). */
  readonly memoryFreeBytes?: number;
  readonly temperatureCelsius?: number;
  readonly powerWatts?: number;
  readonly memoryTemperatureCelsius?: number;
  readonly smClockMhz?: number;
  readonly memoryClockMhz?: number;
  /** NVML's bit mask of why clocks are lowered. */
  readonly clocksEventReasons?: number;
  readonly throttledNs?: number;
  readonly eccCorrectedTotal?: number;
  readonly eccUncorrectedTotal?: number;
  readonly remappedRowsCorrected?: number;
  readonly remappedRowsUncorrected?: number;
  readonly remapPending?: boolean;
  readonly remapFailed?: boolean;
  readonly recoveryAction?: string;
  readonly numaNode?: number;
  readonly addressingMode?: string;
  readonly c2cLinkCount?: number;
  readonly c2cErrorTotal?: number;
  readonly migEnabled?: boolean;
  readonly pcieReplayTotal?: number;
  readonly persistenceMode?: boolean;
  /** Where the hardware begins to slow down. */
  readonly temperatureLimitCelsius?: number;
  readonly memoryTemperatureLimitCelsius?: number;
  /** Of the NUMA node that is the GPU's memory on a GH200, from the kernel. */
  readonly numaMemoryTotalBytes?: number;
  readonly numaMemoryFreeBytes?: number;
  readonly c2cLinksActive?: number;
  readonly c2cBandwidthMbps?: number;
  readonly c2cLowPower?: boolean;
  readonly pcieErrorTotal?: number;
  readonly pcieFatalTotal?: number;
  /** Processes with memory on this GPU; absent where the list could not be read. */
  readonly processes?: readonly { readonly pid: number; readonly memoryBytes?: number }[];
  /** Wall-clock milliseconds when that list was asked for; lists are read less often than loads. */
  readonly processesAtMs?: number;
}

/** What the driver said by itself: an Xid, a GPU that fell off the bus, a changed recovery action. */
export interface GpuIncident {
  readonly index: number;
  readonly uuid?: string;
  readonly kind: 'xid' | 'lost' | 'unavailable' | 'recovery_action';
  readonly xid?: number;
  /** Wall-clock milliseconds. */
  readonly atMs: number;
}

/**
 * The total that CUDA tells a program, of which vLLM's share is one: 143,156 MiB of an H200's 143,771 MiB, as the driver
 * keeps the rest for itself (docs/GPU.md). Bytes; undefined: the reader does not tell used and free.
 */
export function usableBytes({ memoryUsedBytes, memoryFreeBytes }: GpuState): number | undefined {
  return memoryUsedBytes === undefined || memoryFreeBytes === undefined ? undefined : memoryUsedBytes + memoryFreeBytes;
}
