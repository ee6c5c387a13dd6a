/**
 * Bearer tokens of identity providers, verified by jose. Issuer and audience are always checked, only asymmetric
 * algorithms count, and nothing is cached by token: a signature is judged each time.
 */
import { decodeJwt, errors, jwtVerify, type JWTVerifyGetKey } from 'jose';
import type { Clock } from '../../../lib/clock.ts';
import { CodedError } from '../../../lib/errors.ts';
import { DEFAULT_CLAIM_NAMES, identityFromClaims, type ClaimNames } from '../../core/access/claims.ts';
import type { Identity } from '../../ports.ts';
import { openJwks } from './jwks.ts';

/** One identity provider that is believed. */
export interface JwtIssuerOptions {
  readonly issuer: string;
  /** At least one; a token must name one of them. */
  readonly audiences: readonly string[];
  /** Path or address of the issuer's JWKS. */
  readonly jwks: string;
  readonly claims?: Partial<ClaimNames>;
  /** Roles that this issuer may give; a role beyond them is passed over. All but gateway and admin when absent. */
  readonly grantableRoles?: readonly string[];
  /** Difference of clocks that is borne, in seconds, at most 300; 30 when absent. */
  readonly clockToleranceS?: number;
  readonly jwksCooldownMs?: number;
}

export interface JwtVerifier {
  /** @throws CodedError unauthenticated */
  verify(token: string): Promise<Identity>;
}

/** Asymmetric only: with a shared secret, whoever can verify can also sign, and a public key could be taken for one. */
const ALGORITHMS = [
  'RS256',
  'RS384',
  'RS512',
  'PS256',
  'PS384',
  'PS512',
  'ES256',
  'ES384',
  'ES512',
  'EdDSA',
  'Ed25519',
];
const MAX_TOKEN_CHARACTERS = 16 * 1024;
const DEFAULT_TOLERANCE_S = 30;
const MAX_TOLERANCE_S = 300;
const DEFAULT_GRANTABLE: readonly string[] = ['user', 'operator'];

interface Issuer {
  readonly options: JwtIssuerOptions;
  readonly keys: JWTVerifyGetKey;
  readonly claims: ClaimNames;
  readonly grantable: ReadonlySet<string>;
}

function refuse(why: string, cause?: unknown): CodedError {
  return new CodedError('unauthenticated', `The token ${why}.`, cause === undefined ? {} : { cause });
}

function explain(thrown: unknown): CodedError {
  if (thrown instanceof CodedError) return thrown;
  if (thrown instanceof errors.JWTExpired) return refuse('has expired', thrown);
  if (thrown instanceof errors.JWTClaimValidationFailed)
    return refuse(`has an unacceptable claim "${thrown.claim}"`, thrown);
  return refuse('is not valid', thrown);
}

function checkOptions(options: JwtIssuerOptions): void {
  const { issuer, audiences, clockToleranceS = DEFAULT_TOLERANCE_S } = options;
  if (issuer === '') throw new CodedError('invalid_config', 'A JWT issuer must have a name.', { param: 'jwt.issuer' });
  if (audiences.length === 0 || audiences.includes('')) {
    const message =
      'A JWT issuer needs at least one audience: without it, tokens made for other services would open this one.';
    throw new CodedError('invalid_config', message, { param: 'jwt.audiences' });
  }
  if (!(clockToleranceS >= 0 && clockToleranceS <= MAX_TOLERANCE_S)) {
    const message = `The clock tolerance must be 0 to ${MAX_TOLERANCE_S} seconds.`;
    throw new CodedError('invalid_config', message, { param: 'jwt.clockToleranceS' });
  }
}

async function openIssuer(options: JwtIssuerOptions, clock: Clock): Promise<Issuer> {
  checkOptions(options);
  const cooldown = options.jwksCooldownMs === undefined ? {} : { cooldownMs: options.jwksCooldownMs };
  return {
    options,
    keys: await openJwks({ source: options.jwks, clock, ...cooldown }),
    claims: { ...DEFAULT_CLAIM_NAMES, ...options.claims },
    grantable: new Set(options.grantableRoles ?? DEFAULT_GRANTABLE),
  };
}

/** The issuer that the token claims to be of: not believed, only used to choose whose keys must prove it. */
function claimedIssuer(token: string): string | undefined {
  try {
    return decodeJwt(token).iss;
  } catch (cause) {
    throw refuse('is not valid', cause);
  }
}

/**
 * Opens the issuers; each has keys of its own, so that one cannot sign for another.
 * @throws CodedError invalid_config
 */
export async function openJwtVerifier(issuers: readonly JwtIssuerOptions[], clock: Clock): Promise<JwtVerifier> {
  const known = new Map<string, Issuer>();
  for (const options of issuers) {
    if (known.has(options.issuer)) {
      throw new CodedError('invalid_config', 'The same JWT issuer is configured twice.', { param: 'jwt.issuer' });
    }
    known.set(options.issuer, await openIssuer(options, clock));
  }
  return {
    async verify(token) {
      if (token.length > MAX_TOKEN_CHARACTERS) throw refuse('is too long');
      const issuer = known.get(claimedIssuer(token) ?? '');
      if (issuer === undefined) throw refuse('is of an issuer that is not believed here');
      try {
        const { payload } = await jwtVerify(token, issuer.keys, {
          algorithms: ALGORITHMS,
          issuer: issuer.options.issuer,
          audience: [...issuer.options.audiences],
          requiredClaims: ['exp', 'iss', 'aud', 'sub'],
          clockTolerance: issuer.options.clockToleranceS ?? DEFAULT_TOLERANCE_S,
          currentDate: new Date(clock.wallMs()),
        });
        const identity = identityFromClaims(payload, issuer.claims);
        return { ...identity, roles: new Set([...identity.roles].filter((role) => issuer.grantable.has(role))) };
      } catch (thrown) {
        throw explain(thrown);
      }
    },
  };
}
