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
