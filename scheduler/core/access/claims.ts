/**
 * Makes an identity of the claims of a verified token, and of a gateway's word about whom it acts for. A token without
 * roles has none: what is not said is not allowed.
 */
import { CodedError } from '../../../lib/errors.ts';
import type { TenantId } from '../../../lib/ids.ts';
import type { Identity, Role } from '../../ports.ts';

export const ROLES: readonly Role[] = ['user', 'operator', 'admin', 'gateway'];

/** Names of the claims that carry what the fleet needs. */
export interface ClaimNames {
  readonly tenant: string;
  readonly roles: string;
  readonly weight: string;
}

export const DEFAULT_CLAIM_NAMES: ClaimNames = { tenant: 'tenant', roles: 'roles', weight: 'weight' };

/** 1-128 characters that are safe in logs, metrics of operators and file names. */
export const TENANT_PATTERN = /^[A-Za-z0-9][A-Za-z0-9._:@-]{0,127}$/;
const MAX_SUBJECT_CHARACTERS = 256;
const MAX_WEIGHT = 1000;

function isRole(value: unknown): value is Role {
  return ROLES.some((role) => role === value);
}

function refuse(what: string): CodedError {
  return new CodedError('unauthenticated', `The token ${what}.`);
}

/** Roles as a list or as one text with spaces between (OAuth's `scope`); words that are no role of ours are passed over. */
function readRoles(claim: unknown): ReadonlySet<Role> {
  const words: readonly unknown[] = typeof claim === 'string' ? claim.split(' ') : Array.isArray(claim) ? claim : [];
  return new Set(words.filter(isRole));
}

/**
 * @param claims payload of a token whose signature, issuer, audience and times are verified already
 * @throws CodedError unauthenticated when tenant, subject or weight are absent or unsound
 */
export function identityFromClaims(claims: Readonly<Record<string, unknown>>, names: ClaimNames): Identity {
  const tenant = Object.hasOwn(claims, names.tenant) ? claims[names.tenant] : undefined;
  if (typeof tenant !== 'string' || !TENANT_PATTERN.test(tenant)) throw refuse(`has no sound claim "${names.tenant}"`);
  const subject = claims['sub'];
  if (typeof subject !== 'string' || subject.length === 0 || subject.length > MAX_SUBJECT_CHARACTERS) {
    throw refuse('has no sound claim "sub"');
  }
  const weight = Object.hasOwn(claims, names.weight) ? claims[names.weight] : 1;
  if (typeof weight !== 'number' || !(weight > 0) || weight > MAX_WEIGHT) {
    throw refuse(`has a claim "${names.weight}" that is not a number above 0 and at most ${MAX_WEIGHT}`);
  }
  const roles = readRoles(Object.hasOwn(claims, names.roles) ? claims[names.roles] : undefined);
  return { tenant: tenant as TenantId, subject, roles, weight };
}

/** On whose behalf a request runs and how urgent it is. */
export interface Standing {
  readonly tenant: TenantId;
  /** Smaller first. */
  readonly priority: number;
}

/**
 * What a caller asks about tenant and priority counts only from a gateway; from anybody else it is passed over, because
 * a client library may fill the fields without meaning them.
 * @throws CodedError invalid_value when a gateway names a tenant that cannot be one
 */
export function standingOf(
  identity: Identity,
  asked: { readonly tenant?: string; readonly priority?: number },
): Standing {
  if (!identity.roles.has('gateway')) return { tenant: identity.tenant, priority: 0 };
  const tenant = asked.tenant ?? identity.tenant;
  if (!TENANT_PATTERN.test(tenant)) {
    throw new CodedError('invalid_value', 'tenant must be 1 to 128 of [A-Za-z0-9._:@-].', { param: 'tenant' });
  }
  return { tenant: tenant as TenantId, priority: asked.priority ?? 0 };
}
