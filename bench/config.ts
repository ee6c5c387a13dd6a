/**
 * The only file of bench/ that reads the environment: what the started processes inherit, and where this user's cache is.
 */
import { homedir } from 'node:os';
import path from 'node:path';

export function benchEnvironment(): NodeJS.ProcessEnv {
  return process.env;
}

/** Where `sophia up` keeps the weights of the embedded model once it has fetched them. */
export function weightsFolder(): string {
  return path.join(process.env['XDG_CACHE_HOME'] ?? path.join(homedir(), '.cache'), 'sophia-fleet', 'weights');
}

/** PostgreSQL's programs and pgbouncer, where somebody names them as the lane `store` does. */
export function storeParts(): { readonly bin: string | undefined; readonly pgbouncer: string | undefined } {
  return { bin: process.env['SOPHIA_STORE_BIN'], pgbouncer: process.env['SOPHIA_STORE_PGBOUNCER'] };
}
