/**
 * What the HTTP door needs from outside, and its bounds. Everything that a client can make large, slow or many has a
 * number here.
 */
import type { Clock } from '../../../lib/clock.ts';
import type { Logger } from '../../../lib/io/logger.ts';
import type { Metrics } from '../../../lib/io/metrics.ts';
import type { RandomSource } from '../../../lib/rng.ts';
import type { ResourceOperations } from '../../core/resources/operations.ts';
import type { UsageOperations } from '../../core/usage/contract.ts';
import type { Authenticator, FleetView, Generator } from '../../ports.ts';

export interface HttpDoorOptions {
  readonly host: string;
  /** 0: the system chooses; `listen()` tells which. */
  readonly port: number;
  readonly maxBodyBytes: number;
  /** Deepest nesting of a JSON body. */
  readonly maxJsonDepth: number;
  readonly maxHeaderBytes: number;
  readonly maxConnections: number;
  /** Engine-internal fields that callers may set. */
  readonly allowedEngineFields: readonly string[];
  /** Lets engines fetch media from addresses that callers name. */
  readonly allowRemoteMedia: boolean;
  /** Most bytes of one answer that may be on their way to a client that does not read. */
  readonly clientWindowBytes: number;
  /** Later tokens of one client may be held this long to leave in one write; 0: only within one turn of the loop. */
  readonly coalesceMs: number;
  /** An open stream that is silent this long gets a comment. */
  readonly pingIntervalMs: number;
  /** A client that takes nothing for this long is given up. */
  readonly stallTimeoutMs: number;
  /** Most time for the headers, and for a whole request with its body, to arrive. */
  readonly headersTimeoutMs: number;
  readonly requestTimeoutMs: number;
  readonly keepAliveTimeoutMs: number;
  /** Origins whose pages may call from a browser, such as https://chat.example.org; empty: none but this server's own. */
  readonly corsOrigins: readonly string[];
  /** Addresses of proxies whose X-Forwarded-For is believed; empty: none. */
  readonly trustedProxies: readonly string[];
  /** WebSocket: requests at a time on one socket, size of a message, time for the first message, silence allowed. */
  readonly wsMaxRequests: number;
  readonly wsMaxMessageBytes: number;
  readonly wsAuthTimeoutMs: number;
  readonly wsIdleTimeoutMs: number;
}

export const HTTP_DOOR_DEFAULTS: HttpDoorOptions = {
  host: '127.0.0.1',
  port: 8080,
  maxBodyBytes: 16 * 1024 * 1024,
  maxJsonDepth: 64,
  maxHeaderBytes: 16 * 1024,
  maxConnections: 10_000,
  allowedEngineFields: [],
  allowRemoteMedia: false,
  clientWindowBytes: 128 * 1024,
  coalesceMs: 0,
  pingIntervalMs: 15_000,
  stallTimeoutMs: 60_000,
  headersTimeoutMs: 15_000,
  requestTimeoutMs: 60_000,
  keepAliveTimeoutMs: 75_000,
  corsOrigins: [],
  trustedProxies: [],
  wsMaxRequests: 16,
  wsMaxMessageBytes: 16 * 1024 * 1024,
  wsAuthTimeoutMs: 10_000,
  wsIdleTimeoutMs: 60_000,
};

export interface HttpDoorDeps {
  readonly generator: Generator;
  readonly fleet: FleetView;
  /** Undefined: this scheduler keeps no desired state. */
  readonly resources?: ResourceOperations | undefined;
  /** Undefined: this scheduler accounts no usage. */
  readonly usage?: UsageOperations | undefined;
  /** Makes the JSON Schemas of the kinds of resources, for the OpenAPI document. */
  readonly resourceSchemas?: (() => Promise<Readonly<Record<string, object>>>) | undefined;
  readonly authenticator: Authenticator;
  readonly metrics: Metrics;
  readonly logger: Logger;
  readonly clock: Clock;
  readonly random: RandomSource;
  /** What is left out has the value of HTTP_DOOR_DEFAULTS. */
  readonly options?: Partial<HttpDoorOptions>;
}

export interface HttpDoor {
  /** @throws CodedError address_in_use */
  listen(): Promise<{ readonly port: number }>;
  /** No new requests from now on; running ones finish. Readiness turns false, idle connections close. */
  drain(): void;
  /** Resolves when no request is running any more. */
  idle(): Promise<void>;
  /** Cancels what still runs and closes every connection. */
  close(): Promise<void>;
}
