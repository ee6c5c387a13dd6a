/**
 * Secrets for sources of models, from one file that is read anew for each fetch, so that a token can be replaced while the
 * agent runs. A secret belongs to a host: whatever a redirect says, another host gets another secret or none.
 */
import { readFile, stat } from 'node:fs/promises';
import { parse } from 'yaml';
import { z } from 'zod';
import { isLoopbackHost } from '../../core/model_files/source.ts';
import { fetchFailure } from './fetch_failure.ts';

const Secret = z
  .strictObject({
    value: z.string().min(1).max(8192).optional(),
    file: z.string().optional(),
    env: z.string().optional(),
  })
  .refine((secret) => Object.values(secret).filter((one) => one !== undefined).length === 1);
const Bucket = z.strictObject({
  region: z.string().max(64).default('us-east-1'),
  endpoint: z.url({ protocol: /^https?$/ }).optional(),
  accessKeyId: Secret.optional(),
  secretAccessKey: Secret.optional(),
  sessionToken: Secret.optional(),
});
const File = z.strictObject({
  hosts: z.record(z.string(), z.strictObject({ token: Secret })).default({}),
  buckets: z.record(z.string(), Bucket).default({}),
});

export interface S3Access {
  readonly region: string;
  /** Absent: Amazon's own. */
  readonly endpoint?: string;
  /** Absent: the bucket is public. */
  readonly keys?: { readonly accessKeyId: string; readonly secretAccessKey: string; readonly sessionToken?: string };
}

export interface Credentials {
  /** The header for this address and no other host; empty: there is no secret for it. */
  bearerFor(url: URL): Promise<Readonly<Record<string, string>>>;
  s3For(bucket: string): Promise<S3Access>;
}

export interface CredentialsOptions {
  /** Absent: there are no secrets. */
  readonly file?: string;
  readonly environment: Readonly<Record<string, string | undefined>>;
  /** The file may be read by others: said once. */
  readonly onLoose: (file: string) => void;
}

const GROUP_OR_OTHERS = 0o077;

const unreadable = (what: string): never => {
  throw fetchFailure('denied', `The credentials cannot be read: ${what}.`);
};

async function secretOf(
  secret: z.infer<typeof Secret> | undefined,
  environment: CredentialsOptions['environment'],
): Promise<string | undefined> {
  if (secret === undefined) return undefined;
  if (secret.value !== undefined) return secret.value;
  if (secret.env !== undefined) return environment[secret.env] ?? unreadable(`${secret.env} is not in the environment`);
  const text = await readFile(secret.file as string, 'utf8').catch(() =>
    unreadable('the file of a token is not there'),
  );
  return text.trim();
}

/** Every read may throw a FetchFailure of kind `denied`; nothing of what the file holds is in its message. */
export function createCredentials({ file, environment, onLoose }: CredentialsOptions): Credentials {
  let told = false;
  const read = async (): Promise<z.infer<typeof File>> => {
    if (file === undefined) return { hosts: {}, buckets: {} };
    const text = await readFile(file, 'utf8').catch(() => unreadable('modelCredentialsFile is not readable'));
    const { mode } = await stat(file);
    if (!told && (mode & GROUP_OR_OTHERS) !== 0) {
      told = true;
      onLoose(file);
    }
    try {
      return File.parse(parse(text) ?? {});
    } catch (cause) {
      // Its own message may quote the text, so only the place is told.
      const place = cause instanceof z.ZodError ? (cause.issues[0]?.path.join('.') ?? '') : 'it is not YAML';
      return unreadable(`modelCredentialsFile is not as it should be (${place})`);
    }
  };
  return {
    async bearerFor(url) {
      // A token in the clear would be everybody's; on this machine nobody else listens.
      if (url.protocol !== 'https:' && !isLoopbackHost(url.hostname)) return {};
      const entry = (await read()).hosts[url.host];
      const token = await secretOf(entry?.token, environment);
      return token === undefined ? {} : { authorization: `Bearer ${token}` };
    },
    async s3For(bucket) {
      const { buckets } = await read();
      const found = buckets[bucket] ?? buckets['*'];
      if (found === undefined) return { region: 'us-east-1' };
      const [accessKeyId, secretAccessKey, sessionToken] = await Promise.all(
        [found.accessKeyId, found.secretAccessKey, found.sessionToken].map((one) => secretOf(one, environment)),
      );
      const place = { region: found.region, ...(found.endpoint === undefined ? {} : { endpoint: found.endpoint }) };
      if (accessKeyId === undefined || secretAccessKey === undefined) return place;
      const session = sessionToken === undefined ? {} : { sessionToken };
      return { ...place, keys: { accessKeyId, secretAccessKey, ...session } };
    },
  };
}
