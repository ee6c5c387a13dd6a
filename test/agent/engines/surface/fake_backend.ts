/**
 * A backend whose tokens are single bytes and whose pace is the test's: tokens come when the test says so.
 */
import type { Backend, EndReason, GenerateRequest, GenerateSink } from '../../../../agent/engines/surface/backend.ts';

export interface FakeSequence {
  readonly request: GenerateRequest;
  readonly sink: GenerateSink;
  aborted: boolean;
  /** Emits the bytes of `text` (or the given bytes) as one token each, all in one call unless `apart`. */
  emit(text: string | readonly number[], apart?: boolean): void;
  end(reason: EndReason): void;
}

export interface FakeBackend extends Backend {
  readonly sequences: FakeSequence[];
  dead: boolean;
}

export function fakeBackend(more: Partial<Backend> = {}): FakeBackend {
  const sequences: FakeSequence[] = [];
  const backend: FakeBackend = {
    kind: 'llama',
    contextTokens: 100_000,
    vocabularySize: 256,
    sequences,
    dead: false,
    tokenize: (text) => [...Buffer.from(text, 'utf8')],
    detokenize: (ids) => Uint8Array.from(ids),
    chatPrompt: (messages) => messages.map((message) => `${message.role}:${message.content}`).join('|'),
    generate(request, sink) {
      const sequence: FakeSequence = {
        request,
        sink,
        aborted: false,
        emit(text, apart = false) {
          const ids = typeof text === 'string' ? [...Buffer.from(text, 'utf8')] : [...text];
          if (apart) for (const id of ids) sink.onTokens([id]);
          else sink.onTokens(ids);
        },
        end: (reason) => sink.onEnd(reason),
      };
      sequences.push(sequence);
      sink.onPrefill(0);
      return () => {
        if (sequence.aborted) return;
        sequence.aborted = true;
        sink.onEnd('abort');
      };
    },
    load: () => ({ running: sequences.length, waiting: 0 }),
    healthy: () => !backend.dead,
    stop: () => Promise.resolve(),
    ...more,
  };
  return backend;
}
