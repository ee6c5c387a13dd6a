/**
 * Stands before the generator: a request goes in when its shape is known. Most shapes are known at once; for the others
 * the request waits a few milliseconds, and may be cancelled meanwhile like any that runs.
 */
import { CodedError, toCodedError } from '../../../lib/errors.ts';
import type { RequestId, TenantId } from '../../../lib/ids.ts';
import type { RequestShape } from '../../core/routing/contract.ts';
import type { AdmittedRequest, Generation, GenerationSink, Generator } from '../../ports.ts';
import type { Shaper } from './shaper.ts';

export interface ShapeBook {
  /** The shape of a request that came through the generator; undefined for any other. */
  shapeOf(request: AdmittedRequest): RequestShape | undefined;
}

/** Shapes live as long as their requests. */
export interface WritableShapeBook extends ShapeBook {
  set(request: AdmittedRequest, shape: RequestShape): void;
}

export function createShapeBook(): WritableShapeBook {
  const shapes = new WeakMap<AdmittedRequest, RequestShape>();
  return { shapeOf: (request) => shapes.get(request), set: (request, shape) => void shapes.set(request, shape) };
}

/** A request whose shape is being made; afterwards a thin cover of the one that runs. */
class ShapingGeneration implements Generation {
  readonly id: RequestId;
  readonly #sink: GenerationSink;
  #grantedBytes = 0;
  #running: Generation | undefined;
  #ended = false;

  constructor(id: RequestId, sink: GenerationSink) {
    this.id = id;
    this.#sink = sink;
  }

  get ended(): boolean {
    return this.#ended;
  }

  grant(bytes: number): void {
    if (this.#running === undefined) this.#grantedBytes += bytes;
    else this.#running.grant(bytes);
  }

  cancel(reason: string): void {
    this.#ended = true;
    this.#running?.cancel(reason);
  }

  fail(error: CodedError): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#sink.onError(error);
  }

  begin(start: () => Generation): void {
    if (this.#ended) return;
    try {
      this.#running = start();
    } catch (thrown) {
      this.fail(toCodedError(thrown));
      return;
    }
    if (this.#grantedBytes > 0) this.#running.grant(this.#grantedBytes);
  }
}

export function createShapingGenerator(inner: Generator, shaper: Shaper, book: WritableShapeBook): Generator {
  const waiting = new Map<string, ShapingGeneration>();
  const keyOf = (tenant: TenantId, id: RequestId): string => `${tenant}\0${id}`;
  const begin = (
    request: AdmittedRequest,
    shape: RequestShape,
    sink: GenerationSink,
    creditBytes: number,
  ): Generation => {
    book.set(request, shape);
    return inner.start(request, sink, creditBytes);
  };
  return {
    start(request, sink, creditBytes) {
      const shape = shaper.shape(request);
      if (!(shape instanceof Promise)) return begin(request, shape, sink, creditBytes);
      const key = keyOf(request.tenant, request.id);
      if (waiting.has(key))
        throw new CodedError('already_exists', 'A request with this id is running.', { param: 'id' });
      const generation = new ShapingGeneration(request.id, sink);
      waiting.set(key, generation);
      void shape.then((made) => {
        waiting.delete(key);
        generation.begin(() => begin(request, made, sink, creditBytes));
      });
      return generation;
    },
    cancel(id, tenant) {
      const generation = waiting.get(keyOf(tenant, id));
      if (generation === undefined || generation.ended) return inner.cancel(id, tenant);
      generation.fail(new CodedError('cancelled', 'The request was cancelled.'));
      return true;
    },
  };
}
