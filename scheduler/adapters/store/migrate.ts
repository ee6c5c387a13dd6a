/**
 * Forward-only migrations. Each is one file, applied once, in one statement that holds a row lock, so that two schedulers
 * may start at once. What was applied is kept with its checksum: a file that was changed afterwards is refused, and so is
 * a newer schema, unless its migrations say that programs of our version may go on.
 */
import { createHash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { CodedError } from '../../../lib/errors.ts';
import { packageRoot } from '../../../lib/io/package_root.ts';
import type { SqlDriver } from './sql_driver.ts';

export interface Migration {
  readonly version: number;
  readonly name: string;
  readonly sql: string;
  /** SHA-256 of the file, hex. */
  readonly checksum: string;
  /** The oldest version of the schema whose programs may still run after it. */
  readonly compatible: number;
}

interface Applied {
  readonly version: number;
  readonly name: string;
  readonly checksum: string;
  readonly compatible: number;
}

const FILE = /^(\d{3})_([a-z0-9_]+)\.sql$/;
const COMPATIBLE = /^-- compatible: (\d+)$/m;
const MAX_TRIES = 10;
const MIGRATION_TIMEOUT_MS = 600_000;

/** The folder of the migrations in this package. */
export const migrationsFolder = (): string => path.join(packageRoot(), 'scheduler/adapters/store/migrations');

/** Reads the migrations of a folder in their order. */
export function readMigrations(folder: string): Migration[] {
  const migrations = readdirSync(folder)
    .toSorted()
    .flatMap((file): Migration[] => {
      const match = FILE.exec(file);
      if (match === null) return [];
      const sql = readFileSync(path.join(folder, file), 'utf8');
      const checksum = createHash('sha256').update(sql).digest('hex');
      const compatible = Number(COMPATIBLE.exec(sql)?.[1] ?? Number.NaN);
      return [{ version: Number(match[1]), name: match[2] as string, sql, checksum, compatible }];
    });
  const bad = migrations.find(({ version, compatible }, index) => version !== index + 1 || !(compatible <= version));
  if (bad !== undefined)
    throw new Error(`Migration ${bad.version} is out of line, or does not say what it is compatible with.`);
  return migrations;
}

function refuse(message: string): never {
  throw new CodedError('store_schema', message);
}

/** Holds what was applied against what we know. @throws CodedError store_schema */
export function checkApplied(applied: readonly Applied[], known: readonly Migration[]): void {
  for (const [index, row] of applied.entries()) {
    const own = known[row.version - 1];
    if (row.version !== index + 1)
      refuse(`The store lacks migration ${index + 1}, but has ${row.version}: restore it from a backup.`);
    if (own !== undefined && own.checksum !== row.checksum) {
      refuse(
        `Migration ${row.version} (${row.name}) differs from the one that was applied: run the version of the program that applied it, or put its file back; changes of the schema go into a new migration.`,
      );
    }
    if (own === undefined && row.compatible > known.length) {
      refuse(
        `The store has schema ${applied.length}, and this program knows ${known.length}: migration ${row.version} (${row.name}) needs a program that knows schema ${row.compatible} or later. Run the newer version.`,
      );
    }
  }
}

const ifMissing = (schema: string): string => `do $sophia$
begin
  if to_regclass('${schema}.migrations') is not null then return; end if;
  create schema if not exists ${schema};
  create table ${schema}.migrations (
    version int primary key, name text not null, checksum text not null, compatible int not null,
    applied_at timestamptz not null default clock_timestamp());
  create table ${schema}.migration_lock (id int primary key check (id = 1));
  insert into ${schema}.migration_lock values (1);
end $sophia$`;

function applying({ version, name, sql, checksum, compatible }: Migration, schema: string): string {
  if (sql.includes('$sophia$')) throw new Error(`Migration ${version} holds the quote that is put around it.`);
  return `do $sophia$
begin
  perform 1 from ${schema}.migration_lock where id = 1 for update;
  if exists (select 1 from ${schema}.migrations where version >= ${version}) then return; end if;
${sql.replaceAll(/\bSCHEMA\b/g, schema)}
  insert into ${schema}.migrations (version, name, checksum, compatible)
  values (${version}, '${name}', '${checksum}', ${compatible});
end $sophia$`;
}

/** Two that make the first tables at the same moment collide in the catalogue; the second then finds them there. */
async function bootstrap(driver: SqlDriver, schema: string): Promise<void> {
  for (let attempt = 1; ; attempt++) {
    try {
      await driver.query(ifMissing(schema), [], { repeatable: true });
      return;
    } catch (thrown) {
      const state = (thrown as { cause?: { code?: unknown } }).cause?.code;
      const collided = state === '23505' || state === '42P06' || state === '42P07';
      if (!collided || attempt >= MAX_TRIES) throw thrown;
    }
  }
}

async function readApplied(driver: SqlDriver, schema: string): Promise<Applied[]> {
  const sql = `select version, name, checksum, compatible from ${schema}.migrations order by version`;
  const rows = await driver.query(sql, [], { repeatable: true });
  return rows.map((row) => ({
    version: Number(row['version']),
    name: String(row['name']),
    checksum: String(row['checksum']),
    compatible: Number(row['compatible']),
  }));
}

/**
 * Brings the tables up to date.
 * @param schema name of the PostgreSQL schema that holds them
 * @returns the version that the store then has, which may be newer than ours
 * @throws CodedError store_schema
 */
export async function migrate(driver: SqlDriver, schema: string, migrations: readonly Migration[]): Promise<number> {
  await bootstrap(driver, schema);
  checkApplied(await readApplied(driver, schema), migrations);
  const applied = await readApplied(driver, schema);
  for (const migration of migrations.slice(applied.length)) {
    await driver.query(applying(migration, schema), [], { repeatable: true, timeoutMs: MIGRATION_TIMEOUT_MS });
  }
  const after = await readApplied(driver, schema);
  checkApplied(after, migrations);
  return after.length;
}
