/**
 * Why an engine ended, as rows of data: patterns of its output and its exit, whether a new start can help, the sentence
 * shown to a person and what that person can do. The first row that matches wins, so the more telling come first: an
 * engine core that died of a lack of memory says both. The patterns are lines of vLLM 0.6 to 0.32 and of the CUDA
 * driver, from their sources and from recorded output (test/fixtures/vllm-0.32).
 */

export type RetryPolicy =
  /** Nothing will change by itself: a person or a new wish must come first. */
  | 'never'
  /** After the usual pause. */
  | 'backoff'
  /** After the usual pause, on another address where the agent chose it. */
  | 'other_address';

export interface Diagnosis {
  /** Name of the row. */
  readonly cause: CrashCause;
  readonly retry: RetryPolicy;
  readonly sentence: string;
  readonly advice: string;
  /** The line of the output that told. */
  readonly evidence?: string;
}

export interface CrashFacts {
  /** The end of what the engine wrote. */
  readonly output: string;
  readonly exitCode?: number;
  readonly signal?: string;
  /** Nobody saw the end: the keeper was killed too. */
  readonly unseen?: boolean;
  /** The kernel's out-of-memory killer was active at the time, where that could be read. */
  readonly hostOomKills?: number;
  /** Newest Xid of one of its GPUs within the last moments. */
  readonly xid?: number;
  /**
   * It took requests in this life, so its flags, its model and its address were good: lines that say otherwise are of
   * some request (an adapter that does not exist, for one), and must not keep it from being started again.
   */
  readonly served?: boolean;
}

interface Row {
  readonly cause: string;
  readonly retry: RetryPolicy;
  readonly patterns: readonly RegExp[];
  readonly when?: (facts: CrashFacts) => boolean;
  readonly sentence: string;
  readonly advice: string;
}

const ROWS = [
  {
    cause: 'disk_full',
    retry: 'backoff',
    patterns: [/No space left on device/i, /Errno 28\b/, /\bENOSPC\b/, /Disk quota exceeded/i],
    sentence: 'The disk is full.',
    advice: 'Free space on the disk of the caches and of the data folder.',
  },
  {
    cause: 'bad_flag',
    retry: 'never',
    patterns: [
      /error: unrecognized arguments:/,
      /error: argument \S+: (?:invalid|expected)/,
      /error: the following arguments are required/,
      /error: ambiguous option/,
      /unrecognized argument[s:]/i,
      /^sophia-sim: error: /m,
      /^(?:.*error: )?argument --\S+: /m,
      /^(?:.*: )?Argument --\S+ (?:is|needs)/m,
      /Setting \S+: .*(?:allowed|unknown)/,
      /--\S+ (?:is not supported|must be|should be|requires|cannot be) /,
      /larger than the maximum number of tokens that can be stored in KV cache/,
      /max seq len \(\d+\) is larger than the maximum number of tokens/,
      /User-specified max_model_len \(\d+\) is greater than the derived/,
      /KV cache is needed, which is larger than the available KV cache memory/,
      // Last, because the line after it says more; what it says of the model itself is no flag's fault.
      /ValidationError: \d+ validation errors? for \w*(?:Config|Args)(?!\n.*(?:Invalid repository ID|does not recognize this architecture|rchitectures? .* not supported|not a valid model identifier))/,
    ],
    sentence: 'One of its flags is wrong.',
    advice: 'Correct the flag that the last lines name, then apply the specification again.',
  },
  {
    cause: 'gpu_fault',
    retry: 'backoff',
    patterns: [
      /NVRM: Xid/,
      /CUDA error: (?:an illegal memory access|uncorrectable|unspecified launch failure|device-side assert|misaligned address|unknown error|the launch timed out|invalid device ordinal|no CUDA-capable device|all CUDA-capable devices are busy|system not yet initialized)/i,
      /cudaError(?:IllegalAddress|ECCUncorrectable|LaunchFailure|HardwareStackError)/,
      /CUBLAS_STATUS_(?:EXECUTION_FAILED|INTERNAL_ERROR)/,
      /NCCL error:? (?:unhandled cuda|remote process|system error)/i,
      /(?:GPU|device) (?:has fallen off the bus|is lost)/i,
      /CUDA_ERROR_(?:ECC_UNCORRECTABLE|ILLEGAL_ADDRESS|DEVICE_UNAVAILABLE|SYSTEM_NOT_READY)/,
      /No CUDA GPUs are available/,
      /CUDA driver version is insufficient/,
      /Cuda failure/,
    ],
    when: (facts) => facts.xid !== undefined,
    sentence: 'The GPU or its driver met a fault.',
    advice: 'Look at the events of the GPU (sophia gpu list); when they repeat, drain the node and reset the GPU.',
  },
  {
    cause: 'gpu_memory',
    retry: 'backoff',
    patterns: [
      /is less than desired GPU memory utilization/,
      /CUDA out of memory/i,
      /OutOfMemoryError/,
      /CUDA error: out of memory/i,
      /cudaErrorMemoryAllocation/,
      /CUDA_ERROR_OUT_OF_MEMORY/,
      /No available memory for the cache blocks/,
      /Available KV cache memory: -/,
      /failed to allocate (?:CUDA|Vulkan|compute|buffer)/i,
    ],
    sentence: 'The GPU has less free memory than the engine wants.',
    advice:
      'Free the GPU, or lower --gpu-memory-utilization, --max-model-len or --max-num-seqs in its specification; the agent never does that by itself.',
  },
  {
    cause: 'port_taken',
    retry: 'other_address',
    patterns: [
      /Address already in use/i,
      /\bEADDRINUSE\b/,
      /Errno 98\b/,
      /the address is in use/,
      /Port \d+ is already in use/i,
    ],
    sentence: 'Its address is taken by another program.',
    advice: 'Choose another port, or leave the address out so that the agent chooses one.',
  },
  {
    cause: 'bad_model',
    retry: 'never',
    patterns: [
      /(?:401|403) Client Error/,
      /404 Client Error/,
      /(?:GatedRepo|RepositoryNotFound|LocalEntryNotFound|HFValidation)Error: /,
      /is not a local folder and is not a valid model identifier/,
      /Invalid repository ID or local directory specified/,
      /does not appear to have a file named config\.json/,
      /Model architectures? .* (?:are|is) not supported/,
      /Cannot find any model weights with/,
      /SafetensorError|safetensors_rust|Error while deserializing header/,
      // The header of a weights file that was cut or is something else: the error itself may be any.
      /(?<=in parse_safetensors_file_metadata\n(?: .*\n){1,4})\w.*/,
      /Unrecognized model in /,
      /model type `?\S+`? but Transformers does not recognize this architecture/,
      /(?:invalid|bad) magic|not a GGUF|gguf.*(?:corrupt|invalid|unsupported)/i,
      /The weights at .* cannot be loaded/,
      /Can't load (?:tokenizer|the model|the configuration|feature extractor) for/,
    ],
    sentence: 'The model does not exist, may not be read, or is not one that the engine can load.',
    advice: 'Check the path or the hub id of the model and the credential for it, then apply the specification again.',
  },
  {
    cause: 'host_memory',
    retry: 'backoff',
    patterns: [
      /oom-kill/i,
      /Out of memory: Killed process/,
      /Cannot allocate memory/,
      /\bMemoryError\b/,
      /Errno 12\b/,
      /std::bad_alloc/,
      /JavaScript heap out of memory/,
    ],
    when: (facts) => facts.signal === 'SIGKILL' && (facts.hostOomKills ?? 0) > 0,
    sentence: 'The host ran out of memory.',
    advice: 'Run fewer engines on this host or lower their use of host memory (--cpu-offload-gb, --swap-space).',
  },
  {
    cause: 'engine_core',
    retry: 'backoff',
    patterns: [
      /EngineDeadError/,
      /EngineCore (?:encountered|failed|died|hit|initialization failed)/,
      /Engine core (?:initialization failed|proc \S+ died|process .* died)/i,
      /Worker proc \S+ died unexpectedly/,
      /WorkerProc (?:hit an exception|initialization failed|failed to start)/,
      /Engine process failed to start/,
      /Executor failed/,
    ],
    sentence: 'Its core died.',
    advice: 'Read the lines before the error in its log; when it repeats, the journal shows since which specification.',
  },
  {
    cause: 'keeper_killed',
    retry: 'backoff',
    patterns: [],
    when: (facts) => facts.unseen === true,
    sentence: 'Its keeper was killed, so nobody saw how it ended.',
    advice: 'Nothing, unless it repeats: then look for what kills processes on this host.',
  },
  {
    cause: 'killed',
    retry: 'backoff',
    patterns: [],
    when: (facts) => facts.signal === 'SIGKILL',
    sentence: 'Another program killed it.',
    advice: "Look into the kernel's log for the out-of-memory killer, and for whoever may send signals on this host.",
  },
] as const satisfies readonly Row[];

/** Ends that the agent brings about or sees itself, with the same fields. */
const SEEN = {
  start_timeout: {
    retry: 'backoff',
    sentence: 'It was not ready in time.',
    advice: 'See in its log how far it came; a cold cache or a large model may need a longer startTimeoutMs.',
  },
  wedged: {
    retry: 'backoff',
    sentence: 'It made no progress while requests were waiting.',
    advice: 'Its dump (folder dumps beside its log) shows what its processes were doing.',
  },
  unhealthy: {
    retry: 'backoff',
    sentence: 'It said that it is unhealthy, or did not answer.',
    advice: 'Read the end of its log.',
  },
  warm_failed: {
    retry: 'backoff',
    sentence: 'It answered, but could not generate one token.',
    advice: 'Read the end of its log; a request of one token shows the same error.',
  },
  gpu_order: {
    retry: 'backoff',
    sentence: 'Its GPU asked for a restart.',
    advice: 'Look at the events of the GPU (sophia gpu list).',
  },
  program: {
    retry: 'backoff',
    sentence: 'Its program cannot be started.',
    advice: 'Install it, or correct the setting vllmCommand of the agent.',
  },
  model_files: {
    retry: 'never',
    sentence: 'The files of its model cannot be brought to this host.',
    advice: 'See why in sophia model list; correct the source, or order a restart of the engine to try again.',
  },
  host: {
    retry: 'backoff',
    sentence: 'The host is not ready for it.',
    advice: 'See the checks of the engine (sophia engine show NAME).',
  },
  unknown: {
    retry: 'backoff',
    sentence: 'Why is not known.',
    advice: 'Read the end of its log.',
  },
} as const satisfies Record<string, Pick<Row, 'retry' | 'sentence' | 'advice'>>;

export type SeenCause = keyof typeof SEEN;
export type CrashCause = (typeof ROWS)[number]['cause'] | SeenCause;

/** The row of an end that needs no look at the output. */
export const seenDiagnosis = (cause: SeenCause): Diagnosis => ({ cause, ...SEEN[cause] });

/** A row of the table by its name, for what is known before anything was started. */
export function rowDiagnosis(cause: (typeof ROWS)[number]['cause']): Diagnosis {
  const row = ROWS.find((one) => one.cause === cause) as (typeof ROWS)[number];
  return { cause, retry: row.retry, sentence: row.sentence, advice: row.advice };
}

const MAX_EVIDENCE_CHARS = 300;

function lineAt(text: string, index: number): string {
  const from = text.lastIndexOf('\n', index) + 1;
  const to = text.indexOf('\n', index);
  return text
    .slice(from, to === -1 ? undefined : to)
    .trim()
    .slice(0, MAX_EVIDENCE_CHARS);
}

/** Why the engine ended. What no row knows is `unknown`, with the pause of any other failure. */
export function classifyCrash(facts: CrashFacts): Diagnosis {
  for (const row of ROWS as readonly Row[]) {
    const { cause, retry, sentence, advice } = row;
    if (facts.served === true && retry !== 'backoff') continue;
    const told = { cause: cause as CrashCause, retry, sentence, advice };
    for (const pattern of row.patterns) {
      const match = pattern.exec(facts.output);
      if (match !== null) return { ...told, evidence: lineAt(facts.output, match.index) };
    }
    if (row.when?.(facts) === true) return told;
  }
  return seenDiagnosis('unknown');
}

/** All rows, for the documentation and its test. */
export const crashRows = (): readonly Pick<Diagnosis, 'cause' | 'retry' | 'sentence' | 'advice'>[] => [
  ...ROWS.map(({ cause, retry, sentence, advice }) => ({ cause, retry, sentence, advice })),
  ...Object.entries(SEEN).map(([cause, row]) => ({ cause: cause as SeenCause, ...row })),
];
