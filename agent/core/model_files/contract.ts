/** What the rest of the agent knows of the files of models: what is wanted, how far it is, where it lies. Types only. */
import type { ModelReading } from '../../../proto/gen/fleet/v1/ModelReading.ts';
import type { ModelSource } from './source.ts';

/** How far the files of a model are. */
export type ModelFilesState =
  /** `path`: a folder, or one file; `files`: what is in it, below `path`. */
  | { readonly kind: 'ready'; readonly path: string; readonly files: readonly string[] }
  /** On their way; `ratio` 0 to 1. */
  | { readonly kind: 'busy'; readonly message: string; readonly ratio: number; readonly etaMs?: number }
  /** Given up until `again`. */
  | { readonly kind: 'failed'; readonly message: string };

/** Brings the files of models to this host. Nothing here waits or rejects: whoever needs a model looks again. */
export interface ModelFiles {
  /** Everything that the engines of this host are to use; what is not named may go when room is needed. */
  setWanted(sources: readonly ModelSource[]): void;
  stateOf(source: ModelSource): ModelFilesState;
  /** An engine is about to start: what was given up is tried again, and what is on disk is looked at. */
  again(source: ModelSource): void;
  readings(): readonly ModelReading[];
}
