/** What the agent's main thread and its relay threads say to each other over their message port. Types only. */
import type { MessagePort } from 'node:worker_threads';
import type { RelayTarget } from '../ports.ts';

/** Certificates as PEM text: a thread opens its own channels. */
export interface TlsMaterial {
  readonly caPem: string;
  readonly certPem: string;
  readonly keyPem: string;
}

export interface RelaySettings {
  readonly nodeName: string;
  readonly sessionId: string;
  readonly tls: TlsMaterial;
  readonly engineConnectTimeoutMs: number;
  readonly engineIdleSocketMs: number;
  /** Longest time for which tokens after the first wait for others; 0: until the end of the event loop's turn. */
  readonly laneHoldMs: number;
  readonly maxEventBytes: number;
  readonly maxMessageBytes: number;
  readonly maxRequests: number;
  readonly keepaliveMs: number;
  readonly reconnectBaseMs: number;
  readonly reconnectCapMs: number;
}

/** What a relay thread is started with. */
export interface RelayTask {
  readonly worker: number;
  readonly port: MessagePort;
  readonly settings: RelaySettings;
}

export type ToRelay =
  | { readonly kind: 'targets'; readonly targets: readonly RelayTarget[] }
  /** Opens a lane to each scheduler that has none and closes the others. */
  | { readonly kind: 'schedulers'; readonly addresses: readonly string[] }
  | { readonly kind: 'stop'; readonly graceMs: number };

export interface WorkerStats {
  readonly openByEngine: Readonly<Record<string, number>>;
  readonly lanes: number;
  readonly tokensTotal: number;
  readonly messagesTotal: number;
  readonly bytesTotal: number;
  readonly stallsTotal: number;
}

export type FromRelay =
  | { readonly kind: 'stats'; readonly stats: WorkerStats }
  | { readonly kind: 'lane'; readonly scheduler: string; readonly state: 'open' | 'lost'; readonly reason: string };
