/**
 * What each Xid means for a GPU, as data. Source: NVIDIA, "XID Errors" catalogue (docs.nvidia.com/deploy/xid-errors, the
 * immediate-action column), as of 2026-11; repeats and levels after gpud (leptonai/gpud, components/accelerator/nvidia).
 * A row that is not here is recorded and nothing else: drivers add Xids, and an unknown one is no reason to drain.
 */

/** In rising order: what is done with a GPU and, from `drain` on, that it is quarantined. */
export const GPU_ACTIONS = ['record', 'restart_engine', 'drain', 'reset', 'reboot', 'replace'] as const;
export type GpuAction = (typeof GPU_ACTIONS)[number];

export type GpuLevel = 'ok' | 'degraded' | 'unhealthy';

export const TABLE_SOURCE = 'NVIDIA XID Errors catalogue';
export const TABLE_DATE = '2026-11-23';

export interface Repeat {
  readonly count: number;
  /** Absent: however long ago. */
  readonly withinMs?: number;
  /** `episode`: only once per boot or release, for faults that go on being told until then. */
  readonly per: 'burst' | 'episode';
  readonly action: GpuAction;
}

export interface FaultRule {
  /** NVIDIA's own word for the immediate action. */
  readonly nvidia: string;
  readonly action: GpuAction;
  readonly level: GpuLevel;
  readonly note: string;
  readonly repeat?: Repeat;
  /** False: the action waits until the GPU is idle, and the GPU serves on. */
  readonly quarantine?: false;
}

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;

const application = (note: string): FaultRule => ({
  nvidia: 'RESTART_APP',
  action: 'restart_engine',
  level: 'degraded',
  note,
  repeat: { count: 3, withinMs: HOUR_MS, per: 'burst', action: 'drain' },
});
const harmless = (note: string): FaultRule => ({ nvidia: 'IGNORE', action: 'record', level: 'ok', note });
const reset = (note: string): FaultRule => ({ nvidia: 'RESET_GPU', action: 'reset', level: 'unhealthy', note });
const link = (note: string): FaultRule => ({
  nvidia: 'WORKFLOW_NVLINK',
  action: 'record',
  level: 'degraded',
  note,
  repeat: { count: 3, withinMs: HOUR_MS, per: 'burst', action: 'drain' },
});

/** The GPU does not answer on the bus: Xid 79, or NVML's GPU_IS_LOST, which is the same fault seen from here. */
export const LOST: FaultRule = {
  nvidia: 'RESTART_BM',
  action: 'reboot',
  level: 'unhealthy',
  note: 'The GPU has fallen off the bus.',
  repeat: { count: 2, per: 'episode', action: 'replace' },
};

/** The driver hung on this GPU, or said that it cannot be used. Once may be a slow moment, again is not. */
export const UNAVAILABLE: FaultRule = {
  nvidia: 'none',
  action: 'record',
  level: 'degraded',
  note: 'The driver does not answer for this GPU.',
  repeat: { count: 3, withinMs: HOUR_MS, per: 'burst', action: 'drain' },
};

export const XID_RULES: Readonly<Record<number, FaultRule>> = {
  8: application('A channel of the GPU stopped responding.'),
  11: application('Invalid or corrupted push buffer stream.'),
  13: application('Exception in the graphics engine.'),
  31: application('Memory page fault.'),
  32: application('Invalid or corrupted push buffer address.'),
  39: application('Exception in a copy engine.'),
  40: application('Exception in a copy engine.'),
  41: application('Exception in a copy engine.'),
  43: harmless('The GPU stopped processing; the fault is the application.'),
  44: harmless('The driver timed out an idle context.'),
  45: { nvidia: 'WORKFLOW_XID_45', action: 'record', level: 'ok', note: 'Channels were removed after another fault.' },
  46: reset('The GPU stopped processing.'),
  48: { nvidia: 'WORKFLOW_XID_48', action: 'drain', level: 'unhealthy', note: 'Uncorrectable memory error.' },
  62: reset('Internal microcontroller halt.'),
  63: harmless('A memory row is recorded for remapping; whether it is pending is read from the GPU.'),
  64: reset('A memory row could not be recorded for remapping.'),
  69: application('Exception in the compute class.'),
  74: link('NVLink error.'),
  79: LOST,
  92: harmless('High rate of corrected memory errors.'),
  93: harmless('Not a fatal error of the information ROM.'),
  94: application('Contained memory error: only the application is hit.'),
  95: reset('Uncontained memory error.'),
  109: reset('Context switch timeout.'),
  110: reset('Security fault.'),
  119: reset('The GPU system processor does not answer.'),
  120: reset('Error of the GPU system processor.'),
  121: {
    nvidia: 'IGNORE, then support',
    action: 'reboot',
    level: 'degraded',
    note: 'Chip-to-chip link error; reboot the host when it is idle.',
    quarantine: false,
    repeat: { count: 2, withinMs: 7 * DAY_MS, per: 'burst', action: 'replace' },
  },
  136: reset('Link training failed.'),
  140: reset('Unrecovered memory error.'),
  141: harmless('Unrecovered memory error in a part that is not in use.'),
  143: reset('The GPU could not be initialised.'),
  144: link('NVLink: SAW error.'),
  145: link('NVLink: RLW error.'),
  146: link('NVLink: TLW error.'),
  147: link('NVLink: TREX error.'),
  148: link('NVLink: NVLPW control error.'),
  149: link('NVLink: netlist error.'),
  150: link('NVLink: MSE error.'),
  154: harmless('The recovery action of the GPU changed; it is read from the GPU.'),
  155: reset('NVLink software error that needs a reset.'),
  156: reset('Resource retirement that needs a reset.'),
  157: { nvidia: 'CONTACT_SUPPORT', action: 'replace', level: 'unhealthy', note: 'Resource retirement has failed.' },
  158: reset('Fatal timeout of the GPU.'),
  159: { nvidia: 'CHECK_UVM', action: 'drain', level: 'unhealthy', note: 'Error of the coherent host interface.' },
  171: { nvidia: 'WORKFLOW_XID_48', action: 'drain', level: 'unhealthy', note: 'Uncorrectable memory error in DRAM.' },
  172: { nvidia: 'WORKFLOW_XID_48', action: 'drain', level: 'unhealthy', note: 'Uncorrectable memory error in SRAM.' },
};

/**
 * What NVML's recovery action (field 230, nvmlDeviceGpuRecoveryAction_t) asks for. It knows more than the Xid table and
 * wins over it; only a replacement stands above it.
 */
export const RECOVERY_RULES: Readonly<Record<string, GpuAction>> = {
  reset: 'reset',
  reboot: 'reboot',
  drain: 'drain',
  drain_and_reset: 'reset',
  recover_imex_domain: 'drain',
  bus_reset: 'reset',
  system_reboot: 'reboot',
};
