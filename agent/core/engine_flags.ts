/**
 * Which flags of an engine a specification may carry. Everything that is not listed is refused: a flag that loads code
 * (--middleware, --tool-parser-plugin, --worker-extension-cls, --trust-remote-code, --config), opens a door
 * (--ssl-keyfile, --allowed-origins) or moves the engine out of the agent's sight has to be allowed by the operator
 * (allowedExtraFlags). Names are those of vLLM's EngineArgs and of its OpenAI server, 0.6 to 0.32.
 */
import type { EngineKindName } from './engine_spec.ts';

/** Flags that the agent sets itself: a second value would move the engine out of the agent's sight. */
const OWN_FLAGS = new Set([
  '--uds',
  '--host',
  '--port',
  '--served-model-name',
  '--shutdown-timeout',
  '--model',
  '--api-key',
  '--root-path',
]);

const VLLM_FLAGS = `
  -O -cc -dp -pp -q -tp -dcp -ep
  --additional-config --aggregate-engine-logging --all2all-backend --api-server-count --async-scheduling
  --attention-backend --attention-config --block-size --calculate-kv-scales --chat-template
  --chat-template-content-format --code-revision --compilation-config --config-format --convert --cpu-offload-gb
  --cp-kv-cache-interleave-size --cuda-graph-sizes --data-parallel-address --data-parallel-backend
  --data-parallel-hybrid-lb --data-parallel-rank --data-parallel-rpc-port --data-parallel-size
  --data-parallel-size-local --data-parallel-start-rank --dbo-decode-token-threshold
  --decode-context-parallel-size --default-chat-template-kwargs --default-mm-loras --disable-access-log-for-endpoints
  --disable-cascade-attn --disable-chunked-mm-input --disable-custom-all-reduce --disable-fastapi-docs
  --disable-frontend-multiprocessing --disable-hybrid-kv-cache-manager --disable-log-requests --disable-log-stats
  --disable-mm-preprocessor-cache --disable-nccl-for-dp-synchronization --disable-sliding-window
  --disable-uvicorn-access-log --distributed-executor-backend --download-dir --dtype --enable-auto-tool-choice
  --enable-chunked-prefill --enable-dbo --enable-eplb --enable-expert-parallel --enable-force-include-usage
  --enable-log-outputs --enable-log-requests --enable-lora --enable-lora-bias --enable-mfu-metrics
  --enable-mm-embeds --enable-multimodal-encoder-data-parallel --enable-prefix-caching --enable-prompt-adapter
  --enable-prompt-embeds --enable-prompt-tokens-details --enable-request-id-headers --enable-return-routed-experts
  --enable-reasoning --enable-scale-out --enable-server-load-tracking --enable-sleep-mode
  --enable-structured-outputs-in-reasoning --enforce-eager --eplb-config --exclude-tools-when-tool-choice-none
  --expert-placement-strategy --fully-sharded-loras --generation-config --gpu-memory-utilization --guided-decoding-backend
  --headless --hf-overrides --ignore-patterns --interleave-mm-strings --kernel-config
  --kv-cache-dtype --kv-cache-memory-bytes --kv-cache-metrics --kv-cache-metrics-sample --kv-events-config
  --kv-offloading-backend --kv-offloading-size --kv-sharing-fast-prefill --kv-transfer-config
  --limit-mm-per-prompt --load-format --log-config-file --logits-processor-pattern --logprobs-mode --long-lora-max-len
  --long-prefill-token-threshold --lora-dtype --lora-extra-vocab-size --lora-modules --mamba-block-size
  --mamba-cache-dtype --mamba-ssm-cache-dtype --master-addr --master-port --max-cpu-loras --max-cudagraph-capture-size
  --max-log-len --max-logprobs --max-long-partial-prefills --max-lora-rank --max-loras --max-model-len
  --max-num-batched-tokens --max-num-partial-prefills --max-num-seqs --max-parallel-loading-workers
  --max-seq-len-to-capture --media-io-kwargs --mm-encoder-attn-backend --mm-encoder-tp-mode --mm-processor-cache-gb
  --mm-processor-cache-type --mm-processor-kwargs --model-impl --model-loader-extra-config --moe-backend
  --multi-step-stream-outputs --nnodes --node-rank --num-gpu-blocks-override --num-lookahead-slots
  --num-redundant-experts --num-scheduler-steps --num-speculative-tokens --override-attention-dtype
  --override-generation-config --override-neuron-config --override-pooler-config --performance-mode
  --pipeline-parallel-size --pooler-config --preemption-mode --prefill-context-parallel-size --prefix-caching-hash-algo
  --profiler-config --quantization --ray-workers-use-nsight --reasoning-parser --renderer-num-workers
  --response-role --return-tokens-as-token-ids --revision --rope-scaling --rope-theta --runner
  --safetensors-load-strategy --scheduler-delay-factor --scheduling-policy --seed --show-hidden-metrics-for-version
  --skip-mm-profiling --skip-tokenizer-init --spec-decoding-config --speculative-config --speculative-model
  --stream-interval --structured-outputs-config --swap-space --task --tensor-parallel-size --tokenizer
  --tokenizer-mode --tokenizer-revision --tokens-only --tool-call-parser --uvicorn-log-level --use-tqdm-on-load
  --use-v2-block-manager --video-pruning-rate
`;

const LLAMA_FLAGS = '--max-model-len --max-num-seqs --threads --seed';

const SIM_FLAGS = `
  --max-model-len --max-num-seqs --max-num-batched-tokens --stream-interval --threads --seed --kv-events-config
  --enable-sleep-mode --enable-lora --enable-prompt-tokens-details --enable-server-load-tracking
  --enable-prefix-caching --nnodes --node-rank --master-addr --master-port --headless
`;

const words = (text: string): ReadonlySet<string> => new Set(text.trim().split(/\s+/));

const ALLOWED: Readonly<Record<EngineKindName, ReadonlySet<string>>> = {
  vllm: words(VLLM_FLAGS),
  llama: words(LLAMA_FLAGS),
  sim: words(SIM_FLAGS),
};

/** Flags whose value is a number with limits; memory that is negative or no number is refused before it is launched. */
const NUMBERS: Readonly<Record<string, { readonly more: number; readonly most: number }>> = {
  '--gpu-memory-utilization': { more: 0, most: 1 },
  '--cpu-offload-gb': { more: -1e-9, most: 1e5 },
  '--swap-space': { more: -1e-9, most: 1e5 },
  '--kv-offloading-size': { more: -1e-9, most: 1e5 },
  '--tensor-parallel-size': { more: 0, most: 1024 },
  '--pipeline-parallel-size': { more: 0, most: 1024 },
  '--nnodes': { more: 0, most: 1024 },
  '--node-rank': { more: -1, most: 1023 },
  '--master-port': { more: 0, most: 65_535 },
  '--max-num-seqs': { more: 0, most: 1e6 },
  '--block-size': { more: 0, most: 1e5 },
};

const MAX_FLAGS = 128;

/** The name in the spelling of the table: argparse of vLLM takes underscores too, and `--config.key` for JSON. */
function canonical(flag: string): string {
  const name = (flag.split('=', 1)[0] as string).replaceAll('_', '-');
  // -O3, -tp2 are not taken apart by vLLM's parser but -O is: only it has a value without a space.
  if (/^-O\d$/.test(name)) return '-O';
  return name.startsWith('--') ? (name.split('.', 1)[0] as string) : name;
}

const isFlag = (token: string): boolean => /^-{1,2}[A-Za-z]/.test(token);

/** On vLLM `--no-x` turns `--x` off. */
const positive = (name: string): string => (name.startsWith('--no-') ? `--${name.slice(5)}` : name);

export interface FlagRules {
  readonly kind: EngineKindName;
  /** Flags that the operator allows besides the table. */
  readonly alsoAllowed: readonly string[];
  /** Whether a path may be given to an engine. */
  readonly isAllowedPath: (path: string) => boolean;
}

export interface FlagComplaint {
  /** Place of the flag; absent: all of them together. */
  readonly index?: number;
  readonly message: string;
}

function complainOfValue(name: string, value: string, rules: FlagRules): string | undefined {
  const limits = NUMBERS[name];
  if (limits !== undefined) {
    const number = value.trim() === '' ? Number.NaN : Number(value);
    if (!(number > limits.more && number <= limits.most)) return `${name} has no sensible value.`;
  }
  if (name === '--kv-events-config' && /"(?:replay_)?endpoint"\s*:\s*"(?!ipc:\/\/)/.test(value))
    return `${name} may name ipc:// endpoints only: the events carry prompts.`;
  const path = name === '--lora-modules' ? value.slice(value.indexOf('=') + 1) : value;
  const isPath = path.startsWith('/') || path.split('/').includes('..');
  if (isPath && !rules.isAllowedPath(path)) return `${name} names a path outside the folders that this agent allows.`;
  return undefined;
}

function complainOfFlag(name: string, rules: FlagRules): string | undefined {
  if (OWN_FLAGS.has(name)) return `${name} is set by the agent.`;
  const also = rules.alsoAllowed.some((one) => canonical(one) === name);
  const simulated = rules.kind === 'sim' && name.startsWith('--sim-');
  if (also || simulated || ALLOWED[rules.kind].has(positive(name))) return undefined;
  return `${name.slice(0, 100)} is not a flag that this agent allows for ${rules.kind} engines (allowedExtraFlags adds some).`;
}

/** The first thing that is wrong with the flags of a specification. */
export function complainOfFlags(flags: readonly string[], rules: FlagRules): FlagComplaint | undefined {
  if (flags.length > MAX_FLAGS) return { message: `There are more than ${MAX_FLAGS} extra flags.` };
  let name: string | undefined;
  for (const [index, token] of flags.entries()) {
    let value: string | undefined = token;
    if (isFlag(token) || token === '--' || token === '-') {
      name = canonical(token);
      const message = complainOfFlag(name, rules);
      if (message !== undefined) return { index, message };
      value = token.includes('=') ? token.slice(token.indexOf('=') + 1) : undefined;
    } else if (name === undefined) {
      return { index, message: 'A value stands without a flag before it.' };
    }
    const message = value === undefined ? undefined : complainOfValue(name, value, rules);
    if (message !== undefined) return { index, message };
  }
  return undefined;
}
