/**
 * Endpoint contexts: named schedulers that the client commands can speak to, kept in the user's configuration folder.
 * A context names the file that holds the key, so that copying the list of contexts copies no secret.
 */
import { mkdir, readFile, rename, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { z } from 'zod';
import { CodedError } from '../lib/errors.ts';
import { clientDefaults, userFolders } from './config.ts';

const contextSchema = z.object({
  /** gRPC door, host:port. */
  grpc: z.string().regex(/^.+:\d+$/),
  /** Base URL of the HTTP door, without /v1. */
  http: z.string().url(),
  keyFile: z.string().optional(),
  /** CA that signed the gRPC door's certificate; absent: plaintext, which only loopback should use. */
  caFile: z.string().optional(),
});
const fileSchema = z.object({ current: z.string().optional(), contexts: z.record(z.string(), contextSchema) });

export type Context = z.infer<typeof contextSchema>;
export type ContextFile = z.infer<typeof fileSchema>;

export const CONTEXT_FILE = path.join(userFolders.config, 'contexts.json');

export const LOCAL_CONTEXT: Context = { grpc: '127.0.0.1:8081', http: 'http://127.0.0.1:8080' };

/** Reads the list; an absent file is an empty list. @throws CodedError invalid_config when the file is damaged */
export async function readContexts(file = CONTEXT_FILE): Promise<ContextFile> {
  let text: string;
  try {
    text = await readFile(file, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return { contexts: {} };
    throw error;
  }
  try {
    return fileSchema.parse(JSON.parse(text));
  } catch (cause) {
    throw new CodedError('invalid_config', `The contexts in ${file} are damaged; repair or delete the file.`, {
      cause,
    });
  }
}

export async function writeContexts(contexts: ContextFile, file = CONTEXT_FILE): Promise<void> {
  await mkdir(path.dirname(file), { recursive: true, mode: 0o700 });
  const temporary = `${file}.${process.pid}.tmp`;
  await writeFile(temporary, `${JSON.stringify(contexts, null, 2)}\n`, { mode: 0o600 });
  await rename(temporary, file);
}

export interface Target extends Context {
  readonly name: string;
  readonly key: string | undefined;
}

export interface TargetFlags {
  readonly context?: string;
  readonly endpoint?: string;
  readonly http?: string;
  readonly keyFile?: string;
}

/**
 * Which scheduler a command speaks to, and with which key: flags over environment over the current context.
 * @throws CodedError not_found for an unknown context, invalid_config for a key file that cannot be read
 */
export async function resolveTarget(flags: TargetFlags): Promise<Target> {
  const file = await readContexts();
  const wanted = flags.context ?? clientDefaults.context ?? file.current;
  const base = wanted === undefined ? LOCAL_CONTEXT : file.contexts[wanted];
  if (base === undefined) {
    const known = Object.keys(file.contexts).join(', ') || 'none';
    throw new CodedError('not_found', `There is no context "${wanted}" (known: ${known}).`, { param: 'context' });
  }
  const keyFile = flags.keyFile ?? base.keyFile;
  const key =
    flags.keyFile === undefined && clientDefaults.key !== undefined ? clientDefaults.key : await readKey(keyFile);
  return {
    ...base,
    grpc: flags.endpoint ?? clientDefaults.endpoint ?? base.grpc,
    http: flags.http ?? base.http,
    name: wanted ?? 'default',
    key,
  };
}

async function readKey(file: string | undefined): Promise<string | undefined> {
  if (file === undefined) return undefined;
  try {
    return (await readFile(file, 'utf8')).trim();
  } catch (cause) {
    throw new CodedError('invalid_config', `The key file ${file} cannot be read.`, { param: 'keyFile', cause });
  }
}
