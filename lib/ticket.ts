/**
 * The ticket with which a client calls an agent past the scheduler: what stands in it, and when it opens. The scheduler
 * makes it and an agent judges it, so both read it here. Its form on the wire is a JWS (proto/ticket_jws.ts): claims are
 * those of RFC 7519 where there is one, and short words of our own. Pure: the signature is checked before, time is told.
 *
 * A ticket opens once. What was used is remembered by the life of the listener that the ticket names (`lis`); a later
 * life remembers nothing and therefore takes none of the tickets of an earlier one.
 */
import { CodedError } from './errors.ts';
import { REQUEST_ID_PATTERN } from './ids.ts';

/** The kinds of requests that can be sent to an agent directly. */
export type DirectEndpoint = 'chat' | 'completions';

export interface TicketClaims {
  /** Name of the scheduler. */
  readonly iss: string;
  /** Name of the node. */
  readonly aud: string;
  /** The ticket itself: what may be used once, and the lease that it stands for. */
  readonly jti: string;
  /** Seconds since the epoch: made at, and good until. */
  readonly iat: number;
  readonly exp: number;
  /** Life of the agent's listener. */
  readonly lis: string;
  /** Name of the engine on the node, and its life. */
  readonly eng: string;
  readonly inc: number;
  readonly mdl: string;
  readonly end: DirectEndpoint;
  readonly ten: string;
  /** Request id. */
  readonly rid: string;
  /** Longest life of the request from the moment at which the agent takes it, in milliseconds. */
  readonly lim: number;
  /** SHA-256 of the only body that it is for, base64url; absent: any body for the model. */
  readonly bsh?: string;
}

/** What a listener judges a ticket by. */
export interface TicketCheck {
  readonly issuer: string;
  readonly node: string;
  readonly listener: string;
  /** Milliseconds since the epoch. */
  readonly nowMs: number;
  /** How far the clocks of scheduler and agent may be apart, in milliseconds. */
  readonly skewMs: number;
}

/** A longer ticket is refused unread: none of ours comes near. */
export const MAX_TICKET_BYTES = 4096;
/** A longer life would keep a used ticket in memory for as long. */
export const MAX_TICKET_LIFE_MS = 600_000;

const MAX_TEXT = 512;
const MAX_NUMBER = 2 ** 40;
const TEXTS = ['iss', 'aud', 'jti', 'lis', 'eng', 'mdl', 'ten', 'rid'] as const;
const NUMBERS = ['iat', 'exp', 'inc', 'lim'] as const;
const SHA256_BASE64URL = /^[A-Za-z0-9_-]{43}$/;

const malformed = (what: string): CodedError => new CodedError('ticket_invalid', `The ticket ${what}.`);

/**
 * Reads the claims of a ticket whose signature is sound. Its signer is ours, but another release of it may be not.
 * @throws CodedError ticket_invalid
 */
export function readClaims(payload: unknown): TicketClaims {
  if (typeof payload !== 'object' || payload === null || Array.isArray(payload)) throw malformed('holds no claims');
  const claims = payload as Record<string, unknown>;
  for (const name of TEXTS) {
    const value = claims[name];
    if (typeof value !== 'string' || value === '' || value.length > MAX_TEXT) throw malformed(`has no sound "${name}"`);
  }
  for (const name of NUMBERS) {
    const value = claims[name];
    if (typeof value !== 'number' || !Number.isInteger(value) || value < 0 || value > MAX_NUMBER)
      throw malformed(`has no sound "${name}"`);
  }
  const { end, bsh, rid } = claims as { end?: unknown; bsh?: unknown; rid: string };
  if (end !== 'chat' && end !== 'completions') throw malformed('has no sound "end"');
  if (bsh !== undefined && (typeof bsh !== 'string' || !SHA256_BASE64URL.test(bsh)))
    throw malformed('has no sound "bsh"');
  if (!REQUEST_ID_PATTERN.test(rid)) throw malformed('has no sound "rid"');
  return payload as TicketClaims;
}

/**
 * Whether a ticket opens this listener now, as far as the ticket itself can tell.
 * @throws CodedError ticket_invalid, ticket_expired, ticket_wrong_node, ticket_stale
 */
export function checkTicket(claims: TicketClaims, check: TicketCheck): void {
  const { issuer, node, listener, nowMs, skewMs } = check;
  if (claims.iss !== issuer) throw malformed('was not made by the scheduler whose key signed it');
  if ((claims.exp - claims.iat) * 1000 > MAX_TICKET_LIFE_MS) throw malformed('lives too long');
  if (claims.iat * 1000 > nowMs + skewMs)
    throw new CodedError('ticket_expired', 'The ticket is of a time to come: the clocks are too far apart.');
  if (claims.exp * 1000 + skewMs <= nowMs) throw new CodedError('ticket_expired', 'The ticket has expired.');
  if (claims.aud !== node) throw new CodedError('ticket_wrong_node', 'The ticket is for another node.');
  if (claims.lis !== listener)
    throw new CodedError('ticket_stale', 'The listener was opened anew since the ticket was made.');
}

/**
 * Whether a ticket is for this body.
 * @param sha256 of the body as it came, base64url; asked for only when the ticket names one
 * @throws CodedError ticket_wrong_request
 */
export function checkTicketBody(claims: TicketClaims, model: string, sha256: () => string): void {
  if (claims.mdl !== model)
    throw new CodedError('ticket_wrong_request', 'The ticket is for another model.', { param: 'model' });
  if (claims.bsh !== undefined && claims.bsh !== sha256())
    throw new CodedError('ticket_wrong_request', 'The ticket is for another body.');
}

/** Until when a used ticket must be remembered, in milliseconds since the epoch. */
export function rememberUntilMs(claims: TicketClaims, skewMs: number): number {
  return claims.exp * 1000 + skewMs;
}
