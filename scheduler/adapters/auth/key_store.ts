/**
 * API keys in one JSON file of the data folder. Reads come from memory; a write replaces the whole file (written beside
 * it, flushed, renamed, folder flushed), so that a crash leaves the old file or the new one. A file that cannot be
 * understood stops the start: going on without it would lock everybody out, or worse, forget a revocation.
 */
import { open, readFile, rename, stat, unlink } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { z } from 'zod';
import { CodedError } from '../../../lib/errors.ts';
import type { KeyId, TenantId } from '../../../lib/ids.ts';
import { createSerial } from '../../../lib/serial.ts';
import { ROLES, TENANT_PATTERN } from '../../core/access/claims.ts';
import type { ApiKeyRecord, KeyStore, Role } from '../../ports.ts';

const TIME_MS = z.number().int().nonnegative();

const RECORD = z.strictObject({
  id: z.string().regex(/^[a-z2-7]{12}$/),
  name: z.string().max(256),
  tenant: z.string().regex(TENANT_PATTERN),
  roles: z.array(z.enum(ROLES as [Role, ...Role[]])),
  weight: z.number().positive(),
  secretSha256: z.string().regex(/^[0-9a-f]{64}$/),
  createdAtMs: TIME_MS,
  expiresAtMs: TIME_MS.optional(),
  revokedAtMs: TIME_MS.optional(),
});

const FILE = z.strictObject({ version: z.literal(1), keys: z.array(RECORD) });

/** A hundred thousand keys is far more than people make by hand, and still a file of some 30 MB. */
const MAX_KEYS = 100_000;
const OWNER_ONLY = 0o600;

function unusable(file: string, why: string, cause?: unknown): CodedError {
  const message = `The key file ${basename(file)} cannot be used: ${why}. Restore it from a backup, or move it away to start without keys.`;
  return new CodedError('invalid_config', message, { param: 'dataDir', ...(cause === undefined ? {} : { cause }) });
}

async function readRecords(file: string): Promise<Map<KeyId, ApiKeyRecord>> {
  let text: string;
  try {
    const facts = await stat(file);
    if ((facts.mode & 0o077) !== 0) throw unusable(file, 'others than its owner may read or write it; run chmod 600');
    text = await readFile(file, 'utf8');
  } catch (thrown) {
    if ((thrown as NodeJS.ErrnoException).code === 'ENOENT') return new Map();
    if (thrown instanceof CodedError) throw thrown;
    throw unusable(file, 'it cannot be read', thrown);
  }
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch (cause) {
    throw unusable(file, 'it is not valid JSON', cause);
  }
  const result = FILE.safeParse(parsed);
  if (!result.success) {
    const [issue] = result.error.issues;
    throw unusable(file, `${issue?.path.join('.') ?? ''} is not as it should be`, result.error);
  }
  const records = new Map<KeyId, ApiKeyRecord>();
  for (const key of result.data.keys) records.set(key.id as KeyId, toRecord(key));
  if (records.size !== result.data.keys.length) throw unusable(file, 'it names the same key twice');
  return records;
}

function toRecord(key: z.infer<typeof RECORD>): ApiKeyRecord {
  const { id, tenant, expiresAtMs, revokedAtMs, ...rest } = key;
  return Object.freeze({
    ...rest,
    id: id as KeyId,
    tenant: tenant as TenantId,
    ...(expiresAtMs === undefined ? {} : { expiresAtMs }),
    ...(revokedAtMs === undefined ? {} : { revokedAtMs }),
  });
}

/** Replaces the file's content; durable when the promise resolves. */
export async function replaceFile(file: string, text: string): Promise<void> {
  const folder = dirname(file);
  const draft = join(folder, `.${basename(file)}.${process.pid}.new`);
  try {
    const handle = await open(draft, 'w', OWNER_ONLY);
    try {
      await handle.writeFile(text);
      await handle.sync();
    } finally {
      await handle.close();
    }
    await rename(draft, file);
  } catch (thrown) {
    await unlink(draft).catch(() => {
      // The draft was renamed or never made; the failure that is thrown says more.
    });
    throw thrown;
  }
  const folderHandle = await open(folder, 'r');
  try {
    await folderHandle.sync();
  } finally {
    await folderHandle.close();
  }
}

/**
 * Opens the key file, which need not exist yet. One process may hold it open at a time.
 * @throws CodedError invalid_config when it exists and cannot be used
 */
export async function openKeyStore(file: string): Promise<KeyStore> {
  let records = await readRecords(file);
  /** Writes wait for each other: two at once would lose one. */
  const serial = createSerial();

  const change = <Result>(edit: (draft: Map<KeyId, ApiKeyRecord>) => Result): Promise<Result> =>
    serial(async () => {
      const draft = new Map(records);
      const result = edit(draft);
      await replaceFile(file, `${JSON.stringify({ version: 1, keys: [...draft.values()] }, null, 1)}\n`);
      // Only what is on disk is in force: a key that was lost with the power must not have worked before.
      records = draft;
      return result;
    });

  return {
    find: (id) => records.get(id),
    list: () => [...records.values()],
    add: (record) =>
      change((draft) => {
        if (draft.has(record.id)) throw new CodedError('already_exists', 'A key with this id exists.', { param: 'id' });
        if (draft.size >= MAX_KEYS) throw new CodedError('overloaded', `The key file holds at most ${MAX_KEYS} keys.`);
        draft.set(record.id, Object.freeze({ ...record }));
      }),
    revoke: (id, atMs) =>
      change((draft) => {
        const record = draft.get(id);
        if (record === undefined) throw new CodedError('not_found', 'No key has this id.', { param: 'id' });
        // The first revocation stands: a second one must not move it.
        const revoked: ApiKeyRecord = Object.freeze({ ...record, revokedAtMs: record.revokedAtMs ?? atMs });
        draft.set(id, revoked);
        return revoked;
      }),
  };
}
