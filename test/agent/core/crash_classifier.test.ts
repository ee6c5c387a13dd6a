/** Each kind of end has its row: real lines of vLLM, the retry that fits, a sentence and an advice for a person. */
import t from 'tap';
import { classifyCrash, crashRows, seenDiagnosis } from '../../../agent/core/crash_classifier.ts';
import { fixture } from '../support/bytes.ts';

/** Lines as vLLM, CUDA and the engines of our own write them, with the row that must be found. */
const LINES: readonly (readonly [line: string, cause: string, retry: string])[] = [
  [
    'ValueError: Free memory on device cuda:0 (74.9/142.5 GiB) on startup is less than desired GPU memory utilization (0.9, 128.25 GiB). Decrease GPU memory utilization or reduce GPU memory used by other processes.',
    'gpu_memory',
    'backoff',
  ],
  ['torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB.', 'gpu_memory', 'backoff'],
  [
    'ValueError: No available memory for the cache blocks. Try increasing `gpu_memory_utilization`',
    'gpu_memory',
    'backoff',
  ],
  ['vllm: error: unrecognized arguments: --max-model-length 5', 'bad_flag', 'never'],
  ["vllm serve: error: argument --dtype: invalid choice: 'float8' (choose from auto, half)", 'bad_flag', 'never'],
  [
    'ValueError: User-specified max_model_len (99999) is greater than the derived max_model_len (max_position_embeddings=8192).',
    'bad_flag',
    'never',
  ],
  ["sophia-sim: error: Unknown option '--x'", 'bad_flag', 'never'],
  ['ERROR 11-26 04:48:10 [llama] Unrecognized argument: --foo.', 'bad_flag', 'never'],
  ["sophia-sim: error: argument --sim-timing: 'x' is not one of a100", 'bad_flag', 'never'],
  ['OSError: [Errno 98] Address already in use', 'port_taken', 'other_address'],
  ['Cannot listen on 127.0.0.1:8000: the address is in use.', 'port_taken', 'other_address'],
  [
    'huggingface_hub.errors.GatedRepoError: 401 Client Error. Cannot access gated repo for url https://hub/x.',
    'bad_model',
    'never',
  ],
  [
    "OSError: org/none is not a local folder and is not a valid model identifier listed on 'https://huggingface.co/models'",
    'bad_model',
    'never',
  ],
  ["ValueError: Model architectures ['FooForCausalLM'] are not supported for now.", 'bad_model', 'never'],
  [
    'safetensors._safetensors_rust.SafetensorError: Error while deserializing header: incomplete metadata, file not fully covered',
    'bad_model',
    'never',
  ],
  ['safetensors_rust.SafetensorError: Error while deserializing header: HeaderTooLarge', 'bad_model', 'never'],
  ['ERROR [llama] The weights at /x cannot be loaded: ENOENT: no such file or directory', 'bad_model', 'never'],
  ['RuntimeError: CUDA error: an illegal memory access was encountered', 'gpu_fault', 'backoff'],
  // Printed by PyTorch 2.11 on an H100: a device that is not among the visible ones, and none of them.
  ['torch.AcceleratorError: CUDA error: invalid device ordinal', 'gpu_fault', 'backoff'],
  ['RuntimeError: No CUDA GPUs are available', 'gpu_fault', 'backoff'],
  ['NVRM: Xid (PCI:0000:01:00): 79, pid=1, GPU has fallen off the bus.', 'gpu_fault', 'backoff'],
  ['RuntimeError: CUDA error: uncorrectable ECC error encountered', 'gpu_fault', 'backoff'],
  ['OSError: [Errno 28] No space left on device', 'disk_full', 'backoff'],
  ['MemoryError', 'host_memory', 'backoff'],
  [
    'RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {}',
    'engine_core',
    'backoff',
  ],
  ['Something nobody has seen before', 'unknown', 'backoff'],
];

t.test('lines of real engines', async (t) => {
  for (const [line, cause, retry] of LINES) {
    const diagnosis = classifyCrash({ output: `INFO: before\n${line}\nINFO: after`, exitCode: 1 });
    t.match(diagnosis, { cause, retry }, line);
    if (cause !== 'unknown') t.equal(diagnosis.evidence, line.slice(0, 300), 'and the line is quoted');
  }
});

t.test('what a real vLLM wrote', async (t) => {
  t.equal(classifyCrash({ output: fixture('core-killed.log.txt').toString('utf8'), exitCode: 0 }).cause, 'engine_core');
  t.equal(
    classifyCrash({ output: fixture('startup.log.txt').toString('utf8'), signal: 'SIGTERM' }).cause,
    'unknown',
    'warnings of a healthy start name no cause',
  );
  t.equal(classifyCrash({ output: fixture('sigterm-40.log.txt').toString('utf8'), exitCode: 0 }).cause, 'unknown');
});

/** Starts of a real vLLM that cannot succeed, and the line that a person needs. */
const FAILED_STARTS: readonly (readonly [fixture: string, cause: string, retry: string, evidence: RegExp])[] = [
  ['start-unknown-flag', 'bad_flag', 'never', /unrecognized arguments: --max-model-length 99/],
  ['start-bad-value', 'bad_flag', 'never', /argument --max-model-len: invalid .* value: 'none-at-all'/],
  ['start-too-long', 'bad_flag', 'never', /max_model_len \(999999\) is greater than/],
  ['start-no-folder', 'bad_model', 'never', /Repo id must be .*'\/srv\/models\/does-not-exist'/],
  ['start-empty-folder', 'bad_model', 'never', /Invalid repository ID .*'\/srv\/models\/empty-model'/],
  ['start-unknown-architecture', 'bad_model', 'never', /model type `nosuch`/],
  ['start-no-weights', 'bad_model', 'never', /Cannot find any model weights with `\/srv\/models\/no-weights`/],
  ['start-broken-weights', 'bad_model', 'never', /^MemoryError$/],
  ['start-empty-weights', 'bad_model', 'never', /^struct.error: unpack requires/],
  ['start-hub-offline', 'bad_model', 'never', /outgoing traffic has been disabled/],
  ['start-port-taken', 'port_taken', 'other_address', /Address already in use/],
  ['start-socket-taken', 'port_taken', 'other_address', /Address already in use/],
];

t.test('starts of a real vLLM that failed', async (t) => {
  for (const [name, cause, retry, evidence] of FAILED_STARTS) {
    const diagnosis = classifyCrash({ output: fixture(`${name}.log.txt`).toString('utf8'), exitCode: 1 });
    t.match(diagnosis, { cause, retry, evidence }, name);
  }
});

t.test('an engine that has served is tried again, whatever its log says of flags, models and addresses', async (t) => {
  const adapter = "huggingface_hub.errors.HFValidationError: Repo id must be in the form 'name': '/adapters/none'.";
  t.match(classifyCrash({ output: adapter, signal: 'SIGKILL', served: true }), { cause: 'killed', retry: 'backoff' });
  t.match(classifyCrash({ output: adapter, exitCode: 1 }), { cause: 'bad_model', retry: 'never' });
  for (const [line] of LINES) t.equal(classifyCrash({ output: line, served: true }).retry, 'backoff', line);
});

t.test('the root cause wins over what followed from it', async (t) => {
  const output = 'torch.OutOfMemoryError: CUDA out of memory.\nRuntimeError: Engine core initialization failed.';
  t.equal(classifyCrash({ output }).cause, 'gpu_memory');
});

t.test('ends that the output cannot tell', async (t) => {
  t.equal(classifyCrash({ output: '', signal: 'SIGKILL', hostOomKills: 1 }).cause, 'host_memory');
  t.equal(classifyCrash({ output: '', signal: 'SIGKILL', hostOomKills: 0 }).cause, 'killed');
  t.equal(classifyCrash({ output: '', signal: 'SIGTERM', hostOomKills: 1 }).cause, 'unknown');
  t.equal(classifyCrash({ output: '', unseen: true }).cause, 'keeper_killed');
  t.equal(classifyCrash({ output: '', exitCode: 1, xid: 48 }).cause, 'gpu_fault');
});

t.test('a line without an end is quoted too, and a long one is cut', async (t) => {
  const { evidence } = classifyCrash({ output: `MemoryError ${'x'.repeat(1000)}` });
  t.equal(evidence?.length, 300);
});

t.test(
  'every row has a sentence and an advice, and only a bad flag or model, or files that do not come, are never tried again',
  async (t) => {
    const rows = crashRows();
    t.equal(new Set(rows.map(({ cause }) => cause)).size, rows.length);
    for (const { sentence, advice } of rows) {
      t.match(sentence, /^[A-Z].*\.$/);
      t.match(advice, /^[A-Z].*\.$/);
    }
    t.same(
      rows.filter(({ retry }) => retry === 'never').map(({ cause }) => cause),
      ['bad_flag', 'bad_model', 'model_files'],
    );
    t.equal(seenDiagnosis('wedged').cause, 'wedged');
  },
);
