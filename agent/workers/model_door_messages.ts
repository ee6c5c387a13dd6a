/** What the main thread and the thread that gives files of models to other nodes say to each other. Types only. */
import type { ErrorCode } from '../../lib/errors.ts';
import type { TlsMaterial } from '../../lib/io/tls_files.ts';

export interface ModelDoorSettings {
  readonly nodeName: string;
  readonly host: string;
  /** 0: any free port. */
  readonly port: number;
  /** The agent's own certificate, and the authority that callers' certificates must be of. */
  readonly tls: TlsMaterial;
  readonly clockSkewMs: number;
  /** Files that are being sent at a time. */
  readonly maxTransfers: number;
  /** Bytes per second, of all transfers together; 0: no limit. */
  readonly bandwidth: number;
  /** A caller that takes nothing for this long is given up. */
  readonly stallTimeoutMs: number;
}

/** A file of a model that is whole, as it was when it was checked. */
export interface ServedFile {
  readonly path: string;
  readonly bytes: number;
  readonly mtimeMs: number;
  /** Kind and digits, such as `sha256:...`. */
  readonly sum: string;
}

export interface ServedModel {
  readonly source: string;
  readonly resolved: string;
  readonly folder: string;
  readonly files: readonly ServedFile[];
}

/** Whose tickets are good: one for each scheduler of the agent's list. */
export interface ModelIssuer {
  readonly scheduler: string;
  readonly issuer: string;
  readonly keys: readonly { readonly keyId: string; readonly publicKey: Uint8Array }[];
}

export type ToModelDoor =
  | { readonly kind: 'issuers'; readonly issuers: readonly ModelIssuer[] }
  /** Everything that may be given, in place of what was said before. */
  | { readonly kind: 'models'; readonly models: readonly ServedModel[] }
  | { readonly kind: 'tls'; readonly tls: TlsMaterial }
  | { readonly kind: 'stop' };

export type ModelDoorReport =
  | { readonly what: 'open'; readonly port: number }
  | { readonly what: 'closed'; readonly code: ErrorCode; readonly reason: string }
  | {
      readonly what: 'keys';
      readonly known: readonly { readonly scheduler: string; readonly keyIds: readonly string[] }[];
    }
  /** Since the last such report. */
  | { readonly what: 'served'; readonly bytes: number; readonly refused: Readonly<Record<string, number>> };
