/**
 * The only file that touches node-llama-cpp: loads the library, the weights and one context, and offers them as a few
 * plain functions. Whatever else the engine does can be tested over a made-up LoadedModel.
 */
import {
  getLlama,
  LlamaLogLevel,
  type Llama,
  type LlamaContextSequence,
  type LlamaModel,
  type Token,
} from 'node-llama-cpp';
import { CodedError } from '../../../lib/errors.ts';
import { compileChatTemplate, type ChatTemplate } from './chat_template.ts';
import { createGate, type Gate } from './gate.ts';
import { planBatch } from './slots.ts';
import { createVocabulary, type Vocabulary } from './vocabulary.ts';

/** How the next tokens of one sequence are chosen. */
export interface Sampling {
  /** 0 means greedy. */
  readonly temperature: number;
  readonly topP: number;
  /** 0 means all. */
  readonly topK: number;
  /** 32 bits, unsigned. */
  readonly seed: number;
  /** Tokens that must not come next; asked before each token. */
  readonly forbidden: () => readonly number[];
}

/** One sequence of the context. Its calls must not overlap. */
export interface ModelSlot {
  /** Token ids in the cache of this sequence, oldest first. */
  cached(): readonly number[];
  /** Forgets everything after the first `length` cached tokens. */
  keep(length: number): Promise<void>;
  /** Evaluates tokens without choosing a next one; at most one batch long. */
  prefill(ids: readonly number[]): Promise<void>;
  /** Evaluates `ids` and goes on choosing tokens, end-of-generation tokens included, until the caller stops asking. */
  generate(ids: readonly number[], sampling: Sampling): AsyncIterable<number>;
}

export interface LoadedModel {
  readonly slots: readonly ModelSlot[];
  /** Most tokens of prompt and answer together in one sequence. */
  readonly contextTokens: number;
  /** Most prompt tokens to evaluate between two looks at whether the request still stands. */
  readonly chunkTokens: number;
  readonly vocabulary: Vocabulary;
  readonly chatTemplate: ChatTemplate;
  /** Set where prompts begin with a token of their own. */
  readonly bosToken: number | undefined;
  tokenize(text: string): number[];
  isEndOfGeneration(id: number): boolean;
  readonly endOfGenerationIds: readonly number[];
  /** Batches evaluated since the start. */
  iterations(): number;
  dispose(): Promise<void>;
}

export interface LoadOptions {
  readonly modelPath: string;
  readonly threads: number;
  readonly sequences: number;
  /** Absent: what the weights were trained for, at most `DEFAULT_CONTEXT_TOKENS`. */
  readonly contextTokens: number | undefined;
  /** Said as each step ends; `seconds` is how long the step took. */
  readonly onStep: (step: 'library' | 'weights' | 'context', seconds: number, megabytes: number) => void;
}

/** Memory of the cache is sequences x context; 8 x 2048 take about 380 MB for a 135M model. */
export const DEFAULT_CONTEXT_TOKENS = 2048;
/** About 0.1 s of work for a 135M model on one thread, which is what an abort waits in prefill; 64 would save 4-20 % of CPU. */
const CHUNK_TOKENS_PER_THREAD = 16;
const MOST_CHUNK_TOKENS = 512;
/** Logits are far below this, so a token with this penalty is never chosen. */
const FORBIDDING_PENALTY = 1e6;
const MOST_FORBIDDEN = 64;

function slotOf(sequence: LlamaContextSequence, gate: Gate): ModelSlot {
  return {
    cached: () => sequence.contextTokens,
    async keep(length) {
      const end = sequence.nextTokenIndex;
      if (length < end) await gate.closedFor(() => sequence.eraseContextTokenRanges([{ start: length, end }]));
    },
    async prefill(ids) {
      await gate.pass();
      await sequence.evaluateWithoutGeneratingNewTokens(ids as Token[]);
    },
    async *generate(ids, sampling) {
      const tokens = sequence.evaluate(ids as Token[], {
        temperature: sampling.temperature,
        topP: sampling.topP,
        topK: sampling.topK,
        minP: 0,
        seed: sampling.seed,
        yieldEogToken: true,
        // The library's token bias leaves end-of-generation tokens alone; its presence penalty does not.
        repeatPenalty: {
          punishTokens: () => sampling.forbidden().slice(0, MOST_FORBIDDEN) as Token[],
          maxPunishTokens: MOST_FORBIDDEN,
          penalty: 1,
          presencePenalty: FORBIDDING_PENALTY,
        },
      });
      try {
        for (;;) {
          await gate.pass();
          const next = await tokens.next();
          if (next.done === true) return;
          yield next.value;
        }
      } finally {
        await tokens.return();
      }
    },
  };
}

async function loadWeights(llama: Llama, modelPath: string): Promise<LlamaModel> {
  try {
    return await llama.loadModel({ modelPath, gpuLayers: 0 });
  } catch (thrown) {
    throw new CodedError(
      'missing_model',
      `The weights at ${modelPath} cannot be loaded: ${(thrown as Error).message}`,
      { cause: thrown },
    );
  }
}

function vocabularyOf(model: LlamaModel): Vocabulary {
  const { ggml } = model.fileInfo.metadata.tokenizer;
  return createVocabulary(ggml, (id) => model.detokenize([id as Token], true));
}

function chunkTokens(threads: number): number {
  return Math.min(CHUNK_TOKENS_PER_THREAD * threads, MOST_CHUNK_TOKENS);
}

/**
 * Loads everything; about two seconds for a 135M model. Throws CodedError `missing_model` when the weights cannot be read
 * and `invalid_config` when no context of the asked size fits into memory.
 */
export async function loadModel(options: LoadOptions): Promise<LoadedModel> {
  const { threads, sequences } = options;
  let sinceMs = performance.now();
  const step = (name: 'library' | 'weights' | 'context', bytes: number): void => {
    const nowMs = performance.now();
    options.onStep(name, (nowMs - sinceMs) / 1000, bytes / 1e6);
    sinceMs = nowMs;
  };
  const llama = await getLlama({
    gpu: false,
    build: 'never',
    progressLogs: false,
    maxThreads: threads,
    logLevel: LlamaLogLevel.error,
    logger: (level, message) => process.stderr.write(`${level}: ${message.trim()}\n`),
  });
  step('library', 0);
  const model = await loadWeights(llama, options.modelPath);
  step('weights', model.size);
  const contextTokens = options.contextTokens ?? Math.min(model.trainContextSize, DEFAULT_CONTEXT_TOKENS);
  if (contextTokens > model.trainContextSize) {
    await llama.dispose();
    throw new CodedError(
      'invalid_config',
      `--max-model-len ${contextTokens} is more than the ${model.trainContextSize} tokens that the model was trained for.`,
    );
  }
  const chunk = chunkTokens(threads);
  let iterations = 0;
  const context = await model.createContext({
    contextSize: contextTokens,
    sequences,
    threads,
    // One token for every decoding sequence and a whole chunk of a prompt always fit together.
    batchSize: chunk + sequences,
    // Without it attention over a long prompt takes twice as long on a CPU.
    flashAttention: true,
    batching: {
      itemPrioritizationStrategy: ({ items, size }) => {
        iterations += 1;
        return planBatch(items, size);
      },
    },
  });
  const gate = createGate();
  const slots = Array.from({ length: sequences }, () => slotOf(context.getSequence(), gate));
  step('context', context.memoryUsage.ram);
  const vocabulary = vocabularyOf(model);
  const isEndOfGeneration = (id: number): boolean => model.isEogToken(id as Token);
  const ids = Array.from({ length: vocabulary.size }, (_, id) => id);
  return {
    slots,
    contextTokens,
    chunkTokens: chunk,
    vocabulary,
    chatTemplate: compileChatTemplate(model.fileInfo.metadata.tokenizer.chat_template, {
      bos: model.tokens.bosString ?? '',
      eos: model.tokens.eosString ?? '',
    }),
    bosToken: model.tokens.shouldPrependBosToken ? (model.tokens.bos ?? undefined) : undefined,
    tokenize: (text) => model.tokenize(text, true),
    isEndOfGeneration,
    endOfGenerationIds: ids.filter(isEndOfGeneration),
    iterations: () => iterations,
    dispose: () => llama.dispose(),
  };
}
