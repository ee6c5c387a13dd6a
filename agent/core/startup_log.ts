/**
 * Reads an engine's start-up log for people: how far it is. The milestones are vLLM's, in order, and
 * the engines of our own print the same. The ratios are shares of a typical start, not a promise.
 */

const MILESTONES: readonly { readonly text: string; readonly ratio: number; readonly message: string }[] = [
  { text: 'Initializing a V1 LLM engine', ratio: 0.1, message: 'The engine is initialising.' },
  { text: 'Starting to load model', ratio: 0.15, message: 'The weights are being read.' },
  { text: 'Loading weights took', ratio: 0.4, message: 'The weights are read.' },
  { text: 'Model loading took', ratio: 0.45, message: 'The model is loaded.' },
  { text: 'torch.compile takes', ratio: 0.65, message: 'The model is compiled.' },
  { text: 'KV cache size:', ratio: 0.7, message: 'The KV cache is sized.' },
  { text: 'Maximum concurrency', ratio: 0.72, message: 'The KV cache is sized.' },
  { text: 'Graph capturing finished', ratio: 0.9, message: 'The graphs are captured.' },
  {
    text: 'init engine (profile, create kv cache, warmup model) took',
    ratio: 0.95,
    message: 'The engine is warmed up.',
  },
  { text: 'Application startup complete', ratio: 1, message: 'The engine opens its door.' },
];

/** The furthest milestone in `text`, or undefined when there is none. */
export function startupProgress(text: string): { readonly ratio: number; readonly message: string } | undefined {
  return MILESTONES.findLast((milestone) => text.includes(milestone.text));
}

/** Bytes on each GPU, as an engine says while it starts. */
export interface StartMemory {
  readonly weightsBytes?: number;
  readonly kvCacheBytes?: number;
  /** The peak of its profile run, which it says only when it is asked to say more. */
  readonly activationBytes?: number;
}

const GIB = 2 ** 30;
/**
 * vLLM's words, of several releases; each worker says its own, and of several the largest counts, of caches the smallest, as
 * the engine takes that for all.
 */
const MEMORY: readonly { readonly part: keyof StartMemory; readonly text: RegExp; readonly pick: 'max' | 'min' }[] = [
  { part: 'weightsBytes', text: /Model loading took ([\d.]+) ?GiB/g, pick: 'max' },
  { part: 'kvCacheBytes', text: /Available KV cache memory: ([\d.]+) ?GiB/g, pick: 'min' },
  {
    part: 'activationBytes',
    text: /(?:torch peak memory increase:|activation peak memory takes) ([\d.]+) ?GiB/g,
    pick: 'max',
  },
];

/** What the log says of memory, with what it said before; the same object where that is nothing new. */
export function startMemory(text: string, before: StartMemory | undefined): StartMemory | undefined {
  let now = before;
  for (const { part, text: words, pick } of MEMORY) {
    const seen = [...text.matchAll(words)].map(([, figure]) => Math.round(Number(figure) * GIB));
    const sound = seen.filter((bytes) => Number.isSafeInteger(bytes) && bytes > 0);
    if (sound.length === 0) continue;
    const bytes = Math[pick](...sound);
    if (now?.[part] !== bytes) now = { ...now, [part]: bytes };
  }
  return now;
}
