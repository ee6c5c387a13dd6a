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
