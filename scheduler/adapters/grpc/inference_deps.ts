/** What the handlers of `inference.v1.Inference` are given; types only. */
import type { Clock } from '../../../lib/clock.ts';
import type { Logger } from '../../../lib/io/logger.ts';
import type { Metrics } from '../../../lib/io/metrics.ts';
import type { RandomSource } from '../../../lib/rng.ts';
import type { RequestLimits } from '../../../lib/request/prepare.ts';
import type { DirectRouter, FleetView, Generator, TicketSigner } from '../../ports.ts';

export interface InferenceOptions {
  /** Bounds on a body, as on every door. */
  readonly limits: RequestLimits;
  /** How many bytes may be on their way from an engine to one request's client. */
  readonly clientWindowBytes: number;
  /** Largest gRPC message that is taken, and largest whole answer (`stream: false`) that is sent. */
  readonly maxMessageBytes: number;
  /** Most requests that run at once on one GenerateMany stream. */
  readonly maxRunningPerStream: number;
  /** A batch of GenerateMany is sent when it holds this many bytes, without waiting for the end of the turn. */
  readonly maxBatchBytes: number;
}

export interface InferenceDeps {
  readonly generator: Generator;
  /** Absent: this scheduler gives out no tickets. */
  readonly direct?: { readonly router: DirectRouter; readonly signer: TicketSigner };
  readonly fleet: FleetView;
  readonly clock: Clock;
  readonly random: RandomSource;
  readonly logger: Logger;
  readonly metrics: Metrics;
  readonly options: InferenceOptions;
}
