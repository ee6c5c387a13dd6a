/**
 * Tickets on the wire: a compact JWS (RFC 7515) signed by Ed25519 (RFC 8037), with jose. The header names the key by its
 * thumbprint (RFC 7638) and says that it is a ticket (RFC 8725, 3.11), so that no other token of the same key passes for
 * one. The algorithm is ours to say and never taken from the header.
 */
import { calculateJwkThumbprint, compactVerify, CompactSign, type CryptoKey, importJWK } from 'jose';
import { CodedError } from '../lib/errors.ts';
import { type ModelTicketClaims, readModelClaims } from '../lib/model_ticket.ts';
import { MAX_TICKET_BYTES, readClaims, type TicketClaims } from '../lib/ticket.ts';

const ALGORITHM = 'EdDSA';
const PUBLIC_KEY_BYTES = 32;

/** A kind of ticket: what its header says, and how its claims are read. */
export interface TicketForm<Claims> {
  readonly type: string;
  /** @throws CodedError ticket_invalid */
  readonly read: (payload: unknown) => Claims;
}

/** For one request of a client. */
export const REQUEST_TICKET: TicketForm<TicketClaims> = { type: 'sophia-ticket+jwt', read: readClaims };
/** For the files of one model. */
export const MODEL_TICKET: TicketForm<ModelTicketClaims> = { type: 'sophia-model+jwt', read: readModelClaims };

export interface PublicTicketKey {
  readonly keyId: string;
  /** 32 bytes. */
  readonly publicKey: Uint8Array;
}

const jwkOf = (publicKey: Uint8Array) => ({
  kty: 'OKP',
  crv: 'Ed25519',
  x: Buffer.from(publicKey).toString('base64url'),
});

/** The thumbprint of a public key. */
export function ticketKeyId(publicKey: Uint8Array): Promise<string> {
  return calculateJwkThumbprint(jwkOf(publicKey));
}

function sign(key: CryptoKey, keyId: string, type: string, claims: object): Promise<string> {
  return new CompactSign(Buffer.from(JSON.stringify(claims)))
    .setProtectedHeader({ alg: ALGORITHM, kid: keyId, typ: type })
    .sign(key);
}

export const signTicket = (key: CryptoKey, keyId: string, claims: TicketClaims): Promise<string> =>
  sign(key, keyId, REQUEST_TICKET.type, claims);

export const signModelTicket = (key: CryptoKey, keyId: string, claims: ModelTicketClaims): Promise<string> =>
  sign(key, keyId, MODEL_TICKET.type, claims);

/** Who signs with which keys. */
export interface TicketIssuerKeys {
  readonly issuer: string;
  readonly keys: readonly PublicTicketKey[];
}

const invalid = (message: string, cause?: unknown): CodedError =>
  new CodedError('ticket_invalid', message, cause === undefined ? {} : { cause });

/** Checks signatures by the keys of every issuer that it was told of, of tickets of one form. */
class Verifier<Issuer extends TicketIssuerKeys, Claims extends { readonly iss: string }> {
  readonly #form: TicketForm<Claims>;
  #byKey: ReadonlyMap<string, { readonly key: CryptoKey; readonly issuers: readonly Issuer[] }> = new Map();

  constructor(form: TicketForm<Claims>) {
    this.#form = form;
  }

  /**
   * Replaces all that was known. A key that is none, or whose name is not its thumbprint, is left out.
   * @returns the ids of the keys that are good
   */
  async setIssuers(issuers: readonly Issuer[]): Promise<ReadonlySet<string>> {
    const known = new Map<string, { key: CryptoKey; issuers: Issuer[] }>();
    for (const issuer of issuers) {
      for (const { keyId, publicKey } of issuer.keys) {
        const before = known.get(keyId);
        if (before !== undefined) before.issuers.push(issuer);
        else {
          const key = await importKey(keyId, publicKey);
          if (key !== undefined) known.set(keyId, { key, issuers: [issuer] });
        }
      }
    }
    this.#byKey = known;
    return new Set(known.keys());
  }

  /**
   * The claims of a ticket whose signature is sound, and whose it is.
   * @throws CodedError ticket_invalid
   */
  async verify(ticket: string): Promise<{ readonly claims: Claims; readonly issuer: Issuer }> {
    if (ticket.length > MAX_TICKET_BYTES) throw invalid('The ticket is too long.');
    let signers: readonly Issuer[] = [];
    const keyOf = ({ kid }: { kid?: string }): CryptoKey => {
      const known = this.#byKey.get(kid ?? '');
      if (known === undefined) throw invalid('The ticket names no key that is known here.');
      signers = known.issuers;
      return known.key;
    };
    let payload: Uint8Array;
    try {
      const checked = await compactVerify(ticket, keyOf, { algorithms: [ALGORITHM] });
      if (checked.protectedHeader.typ !== this.#form.type) throw invalid('The token is not a ticket.');
      payload = checked.payload;
    } catch (thrown) {
      throw thrown instanceof CodedError ? thrown : invalid('The signature of the ticket is not sound.', thrown);
    }
    const claims = this.#form.read(parse(payload));
    // Schedulers may share a key; each then takes the leases of its own tickets.
    const issuer = signers.find((each) => each.issuer === claims.iss) ?? signers[0];
    return { claims, issuer: issuer as Issuer };
  }
}

/** Of tickets for requests of clients. */
export class TicketVerifier<Issuer extends TicketIssuerKeys> extends Verifier<Issuer, TicketClaims> {
  constructor() {
    super(REQUEST_TICKET);
  }
}

/** Of tickets for files of models. */
export class ModelTicketVerifier<Issuer extends TicketIssuerKeys> extends Verifier<Issuer, ModelTicketClaims> {
  constructor() {
    super(MODEL_TICKET);
  }
}

async function importKey(keyId: string, publicKey: Uint8Array): Promise<CryptoKey | undefined> {
  if (publicKey.length !== PUBLIC_KEY_BYTES || (await ticketKeyId(publicKey)) !== keyId) return undefined;
  return (await importJWK(jwkOf(publicKey), ALGORITHM)) as CryptoKey;
}

function parse(payload: Uint8Array): unknown {
  try {
    return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(payload));
  } catch (cause) {
    throw invalid('The ticket holds no claims.', cause);
  }
}
