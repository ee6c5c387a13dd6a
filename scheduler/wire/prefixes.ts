/** Puts together what routing knows of prompts: the shapes of requests, and which engines hold which prefixes. */
import type { NodeId } from '../../lib/ids.ts';
import { systemClock } from '../../lib/io/system.ts';
import type { Logger } from '../../lib/io/logger.ts';
import type { Metrics } from '../../lib/io/metrics.ts';
import type { ConfigOf } from '../../lib/io/settings.ts';
import { createShaper } from '../adapters/tokenizer/shaper.ts';
import { createShapeBook, createShapingGenerator } from '../adapters/tokenizer/shaping_generator.ts';
import type { settings } from '../config.ts';
import { byteShape } from '../core/prompt/shape.ts';
import { createKvIntake } from '../core/residency/kv_intake.ts';
import { createResidency, type PrefixIndex } from '../core/residency/residency.ts';
import type { RequestShape } from '../core/routing/contract.ts';
import type { AdmittedRequest, FleetSink, Generator } from '../ports.ts';
import type { RunLoop } from '../run_loop.ts';

type SchedulerConfig = ConfigOf<NonNullable<(typeof settings)['table']>>;

export interface Prefixes {
  readonly residency: PrefixIndex;
  readonly shapeOf: (request: AdmittedRequest) => RequestShape;
  /** The generator for the doors: requests reach the loop when their shape is known. */
  generatorOf(inner: Generator): Generator;
  /** What agents tell, with what they tell of prefix caches. */
  sinkOf(loop: RunLoop): FleetSink;
  stop(): Promise<void>;
}

/** States of an engine whose cache matters. */
const SERVING: ReadonlySet<string> = new Set(['ENGINE_STATE_READY', 'ENGINE_STATE_DRAINING']);

function isPresent({ inspector }: RunLoop, node: NodeId, engine: string, incarnation: number): boolean {
  const record = inspector.directory.state.nodes.get(node)?.engines.get(engine);
  return record?.event.incarnation === incarnation && SERVING.has(record.event.state);
}

export function createPrefixes(config: SchedulerConfig, logger: Logger, metrics: Metrics): Prefixes {
  const compared = metrics.counter('prefix_tokens_total');
  const residency = createResidency({
    maxBytes: config.prefixIndexBytes,
    onCompared(foretoldTokens, cachedTokens) {
      compared.inc({ kind: 'foretold' }, foretoldTokens);
      compared.inc({ kind: 'cached' }, cachedTokens);
    },
  });
  const book = createShapeBook();
  const shaped = metrics.counter('prompt_shapes_total');
  const dropped = metrics.counter('dropped_total');
  const told = metrics.counter('prefix_blocks_told_total');
  const shaper = createShaper({
    tokenizers: Object.entries(config.tokenizers).map(([model, folder]) => ({ model, folder })),
    threads: config.tokenizeThreads,
    waitMs: config.tokenizeWaitMs,
    clock: systemClock,
    logger,
    onShaped: (how) => shaped.inc({ how }),
  });
  metrics.gauge('prefix_index_bytes').set({}, residency.bytes);
  return {
    residency,
    shapeOf: (request) => book.shapeOf(request) ?? byteShape(request),
    generatorOf: (inner) => createShapingGenerator(inner, shaper, book),
    sinkOf(loop) {
      const sink = loop.fleetSink;
      const intake = createKvIntake({
        index: residency,
        isPresent: (node, engine, incarnation) => isPresent(loop, node, engine, incarnation),
        onTaken(stored, removed) {
          told.inc({ kind: 'stored' }, stored);
          told.inc({ kind: 'removed' }, removed);
        },
        onRefused: (why) => dropped.inc({ where: `kv_events_${why}` }),
      });
      sink.onKvEvents = (session, events) => intake.take(session.nodeName, events, systemClock.monotonicMs());
      return sink;
    },
    stop: () => shaper.stop(),
  };
}
