/** What the agent's main thread and its relay threads say to each other over their message port. Types only. */
import type { MessagePort } from 'node:worker_threads';
import type { ErrorCode } from '../../lib/errors.ts';
import type { TlsMaterial } from '../../lib/io/tls_files.ts';
import type { DirectLease } from '../../proto/gen/fleet/v1/DirectLease.ts';
import type { ProgressFigures } from '../core/engine_progress.ts';
import type { RelayCounters, RelayTarget } from '../ports.ts';

export interface RelaySettings {
  readonly nodeName: string;
  readonly sessionId: string;
  /** PEM text: a thread opens its own channels. */
  readonly tls: TlsMaterial;
  readonly engineConnectTimeoutMs: number;
  readonly engineIdleSocketMs: number;
  /** Longest time for which tokens after the first wait for others while the thread is busy; 0: never. */
  readonly laneHoldMs: number;
  /** How long a request runs on without a lane; 0: it is aborted at once. */
  readonly laneGraceMs: number;
  /** Most memory of a thread for what a scheduler may come back for. */
  readonly maxRetainedBytes: number;
  /** Most token ids kept of one request. */
  readonly maxJournalTokens: number;
  readonly batchEmbeddings: boolean;
  readonly maxEventBytes: number;
  readonly maxMessageBytes: number;
  readonly maxRequests: number;
  readonly keepaliveMs: number;
  readonly reconnectBaseMs: number;
  readonly reconnectCapMs: number;
}

/** What the thread that takes direct calls listens by. */
export interface DirectSettings {
  readonly host: string;
  /** 0: any free port. */
  readonly port: number;
  /** Absent: plain text. */
  readonly tls?: TlsMaterial;
  /** How far the clocks of schedulers may be apart from this host's. */
  readonly clockSkewMs: number;
  readonly maxConnections: number;
  /** Most used tickets that are remembered. */
  readonly maxUsedTickets: number;
  /** Bytes that may be on their way to a client that does not read. */
  readonly windowBytes: number;
  /** A silent stream gets a comment this often; a client that takes nothing for `stallTimeoutMs` is given up. */
  readonly pingPeriodMs: number;
  readonly stallTimeoutMs: number;
}

/** What a scheduler has said of its tickets; `scheduler` is the address of its session. */
export interface KnownIssuer {
  readonly scheduler: string;
  readonly issuer: string;
  readonly keys: readonly { readonly keyId: string; readonly publicKey: Uint8Array }[];
  readonly maxBodyBytes: number;
  readonly maxBodyDepth: number;
  readonly allowedEngineFields: readonly string[];
  readonly allowRemoteMedia: boolean;
  readonly leaseMs: number;
}

/** What the direct listener tells. */
export type DirectReport =
  | { readonly what: 'open'; readonly port: number; readonly life: string }
  | { readonly what: 'closed'; readonly code: ErrorCode; readonly reason: string }
  /** Which keys of each scheduler it knows from now on. */
  | {
      readonly what: 'keys';
      readonly known: readonly { readonly scheduler: string; readonly keyIds: readonly string[] }[];
    }
  | { readonly what: 'leases'; readonly scheduler: string; readonly leases: readonly DirectLease[] }
  | { readonly what: 'refused'; readonly counts: Readonly<Record<string, number>> };

/** What a relay thread is started with. */
export interface RelayTask {
  readonly worker: number;
  readonly port: MessagePort;
  readonly settings: RelaySettings;
  /** Shared with the main thread, which reads it when this thread is gone; see core/open_requests.ts. */
  readonly openList: SharedArrayBuffer;
  /** This thread takes direct calls, and opens no lanes. */
  readonly direct?: DirectSettings;
}

export type ToRelay =
  | { readonly kind: 'targets'; readonly targets: readonly RelayTarget[] }
  /** Opens a lane to each scheduler that has none and closes the others. */
  | { readonly kind: 'schedulers'; readonly addresses: readonly string[] }
  /** Certificates for connections that are opened from now on. */
  | { readonly kind: 'tls'; readonly tls: TlsMaterial }
  | { readonly kind: 'issuers'; readonly issuers: readonly KnownIssuer[] }
  | { readonly kind: 'direct_tls'; readonly tls: TlsMaterial }
  | { readonly kind: 'stop'; readonly graceMs: number };

/** The figures of one life of one engine on a thread; times by the clock of process.hrtime, which all threads share. */
export interface WorkerProgress {
  readonly incarnation: number;
  readonly figures: ProgressFigures;
}

export type WorkerCounters = Omit<RelayCounters, 'threadCrashesTotal' | 'lostWithThreadTotal'>;

export interface WorkerStats {
  readonly openByEngine: Readonly<Record<string, number>>;
  readonly progress: Readonly<Record<string, WorkerProgress>>;
  readonly loopLagP99Ms?: number;
  readonly gcPauseMaxMs?: number;
  readonly counters: WorkerCounters;
  readonly lanes: number;
  readonly tokensTotal: number;
  readonly messagesTotal: number;
  readonly bytesTotal: number;
  readonly stallsTotal: number;
}

export type FromRelay =
  | { readonly kind: 'stats'; readonly stats: WorkerStats }
  | { readonly kind: 'direct'; readonly report: DirectReport }
  | { readonly kind: 'lane'; readonly scheduler: string; readonly state: 'open' | 'lost'; readonly reason: string };
