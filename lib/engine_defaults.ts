/**
 * What the embedded engine does when its command line does not say. Its process and the scheduler, which must know how much
 * an engine takes at a time, read the same number. vLLM's default depends on its version and the GPU, and is not known.
 */

/** Sequences that the embedded engine works on at a time without `--max-num-seqs`. */
export const EMBEDDED_MAX_SEQUENCES = 8;
