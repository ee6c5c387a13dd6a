/** What the tokenising threads are told and what they answer. */
import type { Endpoint } from '../ports.ts';

/** Where the tokeniser of a model lies: a folder with tokenizer.json and what belongs to it, as models are published. */
export interface TokenizerPlace {
  readonly model: string;
  readonly folder: string;
}

export interface TokenizeSettings {
  readonly tokenizers: readonly TokenizerPlace[];
}

export type TokenizeTask =
  | { readonly kind: 'load'; readonly model: string }
  | {
      readonly kind: 'prompt';
      readonly model: string;
      readonly endpoint: Endpoint;
      /** As the engine gets it. */
      readonly body: Uint8Array;
    };

export interface TokenizedPrompt {
  readonly tokens: number;
  /** As in PromptBlocks. */
  readonly hashes: Uint32Array;
}

/** Undefined: this prompt cannot be tokenised here as the engine does it (media in it, or the template refuses it). */
export type TokenizeAnswer = TokenizedPrompt | undefined;
