/**
 * API keys as the log has them. The key file of a scheduler is the truth of who may come in; the log follows it, so that
 * it can be asked afterwards who could come in when, and by whose word. Each data folder has entries of its own, named
 * `FOLDER/KEY`: schedulers have a key file each, and none may take back what another has granted. Neither a key nor its
 * hash is ever in an event.
 */
import type { Entry } from '../events/projection.ts';
import { canonicalText, type JsonObject } from '../events/json.ts';
import type { AppendItem } from '../events/store_port.ts';
import type { ApiKeyRecord } from '../../ports.ts';

/** Who changed a key, and why. */
export interface ChangedBy {
  readonly actor: string;
  readonly reason: string;
  readonly correlationId: string;
}

/** A change that was made here and is not in the log yet. */
export interface AccessNote extends ChangedBy {
  readonly keyId: string;
  readonly change: 'created' | 'revoked';
}

export const ACCESS_KIND = 'Key';

export interface KeyChangesInput {
  /** Names the data folder. */
  readonly folder: string;
  /** Name of the scheduler, for people. */
  readonly scheduler: string;
  /** What the key file says now. */
  readonly keys: readonly ApiKeyRecord[];
  /** Entries of the area `access`; those of other folders are passed over. */
  readonly entries: readonly Entry[];
  readonly notes: readonly AccessNote[];
  /** For what was changed by an unknown hand: somebody who wrote the file. */
  readonly correlationId: string;
}

const BY_FILE = 'file';
// A name that came from a file may hold what JSON cannot spell.
const UNPAIRED = /\p{Surrogate}/gu;

export const accessName = (folder: string, keyId: string): string => `${folder}/${keyId}`;

function valueOf({ id, name, tenant, roles, weight, createdAtMs, expiresAtMs }: ApiKeyRecord, scheduler: string) {
  const value: JsonObject = {
    id,
    name: name.replaceAll(UNPAIRED, '\ufffd'),
    tenant,
    roles: [...roles],
    weight,
    createdAtMs,
    scheduler,
    ...(expiresAtMs === undefined ? {} : { expiresAtMs }),
  };
  return value;
}

/** What has to be appended so that the log says what the key file says; empty when it does. */
export function keyChanges(input: KeyChangesInput): AppendItem[] {
  const { folder, scheduler, keys, notes, correlationId } = input;
  const prefix = accessName(folder, '');
  const known = new Map(
    input.entries
      .filter(({ area, kind, name }) => area === 'access' && kind === ACCESS_KIND && name.startsWith(prefix))
      .map((entry) => [entry.name.slice(prefix.length), entry]),
  );
  const by = (keyId: string, change: AccessNote['change'], otherwise: string): ChangedBy => {
    const note = notes.find((each) => each.keyId === keyId && each.change === change);
    if (note === undefined) return { actor: BY_FILE, reason: otherwise, correlationId };
    return { actor: note.actor, reason: note.reason, correlationId: note.correlationId };
  };
  const resource = (keyId: string) => ({ kind: ACCESS_KIND, name: accessName(folder, keyId) });
  const granted = (key: ApiKeyRecord): AppendItem => ({
    kind: 'access.granted',
    resource: resource(key.id),
    ...by(key.id, 'created', 'found in the key file'),
    after: valueOf(key, scheduler),
    expected: 'absent',
  });
  const revoked = (keyId: string, expected: AppendItem['expected'], otherwise: string): AppendItem => ({
    kind: 'access.revoked',
    resource: resource(keyId),
    ...by(keyId, 'revoked', otherwise),
    after: null,
    expected: expected ?? 'present',
  });
  const items: AppendItem[] = [];
  for (const key of keys) {
    const entry = known.get(key.id);
    known.delete(key.id);
    const isRevoked = key.revokedAtMs !== undefined;
    const wasMadeHere = notes.some(({ keyId, change }) => keyId === key.id && change === 'created');
    if (entry === undefined) {
      // A key that was revoked before the log ever heard of it is no news, unless both were done here just now.
      if (!isRevoked || wasMadeHere) items.push(granted(key));
      if (isRevoked && wasMadeHere) items.push(revoked(key.id, 'present', 'revoked in the key file'));
    } else if (isRevoked) {
      items.push(revoked(key.id, entry.version, 'revoked in the key file'));
    } else if (canonicalText(entry.value) !== canonicalText(valueOf(key, scheduler))) {
      const change = { actor: BY_FILE, reason: 'changed in the key file', correlationId };
      const after = valueOf(key, scheduler);
      items.push({ kind: 'access.changed', resource: resource(key.id), ...change, after, expected: entry.version });
    }
  }
  for (const [keyId, { version }] of known) items.push(revoked(keyId, version, 'no longer in the key file'));
  return items;
}
