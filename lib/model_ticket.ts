/**
 * The ticket with which one agent takes files of a model from another. A scheduler makes it and the agent that has the
 * files judges it, so both read it here. It names one model, the node that may fetch, and the node that gives: the
 * certificate of the caller must carry the first name. It opens more than once within its short life, because a model is
 * fetched in many ranges. Pure: the signature is checked before (proto/ticket_jws.ts), time is told.
 */
import { CodedError } from './errors.ts';
import { MAX_TICKET_LIFE_MS } from './ticket.ts';

/** Claims of RFC 7519 where there is one, and short words of our own. */
export interface ModelTicketClaims {
  /** Name of the scheduler. */
  readonly iss: string;
  /** Name of the node that gives. */
  readonly aud: string;
  /** Name of the node that fetches. */
  readonly sub: string;
  /** Seconds since the epoch: made at, and good until. */
  readonly iat: number;
  readonly exp: number;
  /** The model's source as agents name it (lib/model_source.ts). */
  readonly src: string;
  /** What it was resolved to on the node that gives, such as a commit; empty: nothing better is known than the sums. */
  readonly res: string;
}

/** What a door judges a ticket by. */
export interface ModelTicketCheck {
  readonly issuer: string;
  readonly node: string;
  /** The name in the caller's certificate. */
  readonly client: string;
  /** Milliseconds since the epoch. */
  readonly nowMs: number;
  /** How far the clocks of scheduler and agent may be apart, in milliseconds. */
  readonly skewMs: number;
}

const MAX_TEXT = 512;
/** An address of 2,048 characters, and a revision. */
const MAX_SOURCE = 2560;
const MAX_NUMBER = 2 ** 40;

const invalid = (what: string): CodedError => new CodedError('ticket_invalid', `The ticket ${what}.`);

/**
 * Reads the claims of a ticket whose signature is sound.
 * @throws CodedError ticket_invalid
 */
export function readModelClaims(payload: unknown): ModelTicketClaims {
  if (typeof payload !== 'object' || payload === null || Array.isArray(payload)) throw invalid('holds no claims');
  const claims = payload as Record<string, unknown>;
  for (const [name, most] of [
    ['iss', MAX_TEXT],
    ['aud', MAX_TEXT],
    ['sub', MAX_TEXT],
    ['src', MAX_SOURCE],
  ] as const) {
    const value = claims[name];
    if (typeof value !== 'string' || value === '' || value.length > most) throw invalid(`has no sound "${name}"`);
  }
  if (typeof claims['res'] !== 'string' || claims['res'].length > MAX_TEXT) throw invalid('has no sound "res"');
  for (const name of ['iat', 'exp']) {
    const value = claims[name];
    if (typeof value !== 'number' || !Number.isInteger(value) || value < 0 || value > MAX_NUMBER)
      throw invalid(`has no sound "${name}"`);
  }
  return payload as ModelTicketClaims;
}

/**
 * Whether a ticket opens this door for this caller now.
 * @throws CodedError ticket_invalid, ticket_expired, ticket_wrong_node
 */
export function checkModelTicket(claims: ModelTicketClaims, check: ModelTicketCheck): void {
  const { issuer, node, client, nowMs, skewMs } = check;
  if (claims.iss !== issuer) throw invalid('was not made by the scheduler whose key signed it');
  if ((claims.exp - claims.iat) * 1000 > MAX_TICKET_LIFE_MS) throw invalid('lives too long');
  if (claims.iat * 1000 > nowMs + skewMs)
    throw new CodedError('ticket_expired', 'The ticket is of a time to come: the clocks are too far apart.');
  if (claims.exp * 1000 + skewMs <= nowMs) throw new CodedError('ticket_expired', 'The ticket has expired.');
  if (claims.aud !== node) throw new CodedError('ticket_wrong_node', 'The ticket is for another node.');
  if (claims.sub !== client)
    throw new CodedError('ticket_wrong_node', 'The ticket was made for a caller of another name.');
}
