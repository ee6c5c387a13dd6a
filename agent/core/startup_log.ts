/**
 * Reads an engine's start-up log for people: how far it is, and why it gave up. The milestones are vLLM's, in order, and
 * the engines of our own print the same. The ratios are shares of a typical start, not a promise.
 */

const MILESTONES: readonly { readonly text: string; readonly ratio: number; readonly message: string }[] = [
  { text: 'Initializing a V1 LLM engine', ratio: 0.1, message: 'The engine is initialising.' },
  { text: 'Loading weights took', ratio: 0.4, message: 'The weights are read.' },
  { text: 'Model loading took', ratio: 0.45, message: 'The model is loaded.' },
  { text: 'torch.compile takes', ratio: 0.65, message: 'The model is compiled.' },
  { text: 'GPU KV cache size', ratio: 0.7, message: 'The KV cache is sized.' },
  { text: 'Maximum concurrency', ratio: 0.72, message: 'The KV cache is sized.' },
  { text: 'Graph capturing finished', ratio: 0.9, message: 'The graphs are captured.' },
  {
    text: 'init engine (profile, create kv cache, warmup model) took',
    ratio: 0.95,
    message: 'The engine is warmed up.',
  },
  { text: 'Application startup complete', ratio: 1, message: 'The engine opens its door.' },
];

const CAUSES: readonly { readonly text: string; readonly message: string }[] = [
  {
    text: 'is less than desired GPU memory utilization',
    message: 'The GPU has less free memory than the engine wants.',
  },
  { text: 'CUDA out of memory', message: 'The GPU is out of memory.' },
  { text: 'Address already in use', message: 'Its address is taken by another program.' },
  { text: 'EngineCore encountered a fatal error', message: 'Its core met a fatal error.' },
  { text: 'EngineCore failed to start', message: 'Its core failed to start.' },
  { text: '401 Client Error', message: 'The model is gated: the hub refused the credential.' },
  { text: '404 Client Error', message: 'The model does not exist on the hub.' },
  { text: 'unrecognized arguments', message: 'It does not know one of its flags.' },
];

/** The furthest milestone in `text`, or undefined when there is none. */
export function startupProgress(text: string): { readonly ratio: number; readonly message: string } | undefined {
  return MILESTONES.findLast((milestone) => text.includes(milestone.text));
}

/** A known cause of failure in `text`, as one sentence; the most telling one when there are several. */
export function failureCause(text: string): string | undefined {
  return CAUSES.find((cause) => text.includes(cause.text))?.message;
}
