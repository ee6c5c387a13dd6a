/**
 * Where the files of a model may come from, read from what an order says. The address is the whole truth: which protocol,
 * which host, which files. Nothing here touches the network; what cannot be is refused with the field that is wrong.
 */
import { hashText, isConfined } from '../spec_text.ts';

/** A source as orders and reports name it. */
export interface ModelSource {
  readonly url: string;
  /** A hub's branch, tag or commit; empty: its main branch. */
  readonly revision: string;
  /** SHA-256 by file name. */
  readonly sha256: Readonly<Record<string, string>>;
}

export type Place =
  | { readonly kind: 'file'; readonly path: string }
  /** `within` is a folder or one file of the repository; empty: all of it. */
  | { readonly kind: 'hub'; readonly repository: string; readonly within: string; readonly revision: string }
  | { readonly kind: 's3'; readonly bucket: string; readonly prefix: string }
  /** A folder when it ends in a slash, else one file. */
  | { readonly kind: 'https'; readonly url: string };

export type ParsedSource =
  | { readonly kind: 'source'; readonly place: Place }
  | { readonly kind: 'bad'; readonly param: string; readonly message: string };

const MAX_URL_CHARS = 2048;
const MAX_SUMS = 4096;
const HEX_64 = /^[0-9a-f]{64}$/i;
/** Names of the hub: owner and repository; git refuses these in a revision, and `..` would climb in an address. */
const REPOSITORY = /^[A-Za-z0-9][A-Za-z0-9._-]{0,95}\/[A-Za-z0-9][A-Za-z0-9._-]{0,95}$/;
const REVISION = /^[A-Za-z0-9][A-Za-z0-9._/-]{0,254}$/;
/** The naming rules of S3 for buckets, less the historic ones. */
const BUCKET = /^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$/;
const LOOPBACK = /^(?:127\.(?:\d{1,3}\.){2}\d{1,3}|\[::1\]|localhost)$/;
// oxlint-disable-next-line no-control-regex -- control characters are exactly what is refused.
const CONTROL = /[\u0000-\u001f\u007f]/;
const MAX_PATH_CHARS = 1024;
const MAX_PATH_STEPS = 16;

/** True for a relative path that stays below its folder and meets nothing of the agent's own (`.sophia-...`). */
export function isSafePath(path: string): boolean {
  if (path === '' || path.length > MAX_PATH_CHARS || path.includes('\\') || CONTROL.test(path)) return false;
  const steps = path.split('/');
  if (steps.length > MAX_PATH_STEPS || steps[0]?.startsWith('.sophia-') === true) return false;
  return steps.every((step) => step !== '' && step !== '.' && step !== '..' && step.length <= 255);
}

/** Whether an address is one to which plain HTTP may be spoken: this machine itself. */
export const isLoopbackHost = (host: string): boolean => LOOPBACK.test(host);

const bad = (param: string, message: string): ParsedSource => ({ kind: 'bad', param, message });
const source = (place: Place): ParsedSource => ({ kind: 'source', place });

function parseHub(rest: string, revision: string): ParsedSource {
  const steps = rest.replace(/\/+$/, '').split('/');
  const repository = steps.slice(0, 2).join('/');
  const within = steps.slice(2).join('/');
  if (!REPOSITORY.test(repository) || repository.includes('..'))
    return bad('model_source.url', 'A hub source is hf://owner/name, with a folder or a file behind it where wanted.');
  if (within !== '' && !isSafePath(within))
    return bad('model_source.url', 'The path behind the repository is no path.');
  const wanted = revision === '' ? 'main' : revision;
  if (!REVISION.test(wanted) || wanted.includes('..'))
    return bad('model_source.revision', 'revision is not a branch, a tag or a commit.');
  return source({ kind: 'hub', repository, within, revision: wanted });
}

function parseS3(rest: string): ParsedSource {
  const [bucket = '', ...steps] = rest.split('/');
  const prefix = steps.join('/').replace(/\/+$/, '');
  if (!BUCKET.test(bucket) || bucket.includes('..')) return bad('model_source.url', 'The bucket is not a name of S3.');
  if (prefix !== '' && !isSafePath(prefix)) return bad('model_source.url', 'The prefix is no path.');
  return source({ kind: 's3', bucket, prefix });
}

function parseHttps(url: string): ParsedSource {
  if (!URL.canParse(url)) return bad('model_source.url', 'The address cannot be read.');
  const parsed = new URL(url);
  if (parsed.username !== '' || parsed.password !== '')
    return bad('model_source.url', 'An address carries no secret; give it in the credentials file of the agent.');
  if (parsed.protocol === 'http:' && !isLoopbackHost(parsed.hostname))
    return bad('model_source.url', 'Files of models are fetched over https; plain http is for this machine only.');
  parsed.hash = '';
  return source({ kind: 'https', url: parsed.href });
}

function parsePlace(url: string, revision: string, roots: readonly string[]): ParsedSource {
  const scheme = url.slice(0, url.indexOf('://'));
  const rest = url.slice(scheme.length + 3);
  switch (scheme) {
    case 'file':
      if (!rest.startsWith('/') || !isConfined(rest, roots))
        return bad('model_source.url', 'A file source is an absolute path inside the folders of modelRoots.');
      return source({ kind: 'file', path: rest.length > 1 ? rest.replace(/\/+$/, '') : rest });
    case 'hf':
      return parseHub(rest, revision);
    case 's3':
      return parseS3(rest);
    case 'https':
    case 'http':
      return parseHttps(url);
    default:
      return bad(
        'model_source.url',
        'A source is file:///path, hf://owner/name, s3://bucket/prefix or https://host/path.',
      );
  }
}

function checkSums(sums: Readonly<Record<string, string>>): ParsedSource | undefined {
  const entries = Object.entries(sums);
  if (entries.length > MAX_SUMS) return bad('model_source.sha256', `There are more than ${MAX_SUMS} checksums.`);
  for (const [name, sum] of entries) {
    if (!isSafePath(name)) return bad('model_source.sha256', 'A name among the checksums is no relative path.');
    if (!HEX_64.test(sum)) return bad('model_source.sha256', 'A checksum is not 64 hexadecimal digits.');
  }
  return undefined;
}

/** @param roots folders in which a path must lie; empty: anywhere */
export function parseSource(wanted: ModelSource, roots: readonly string[]): ParsedSource {
  const { url, revision, sha256 } = wanted;
  if (url.length > MAX_URL_CHARS || CONTROL.test(url))
    return bad('model_source.url', 'The address is too long or odd.');
  const parsed = parsePlace(url, revision, roots);
  if (parsed.kind === 'bad') return parsed;
  if (revision !== '' && parsed.place.kind !== 'hub') return bad('model_source.revision', 'Only a hub has revisions.');
  return checkSums(sha256) ?? parsed;
}

/** Two sources with one key are the same files. The key is a file name. */
export function sourceKey(wanted: ModelSource): string {
  const sums = Object.entries(wanted.sha256).toSorted(([a], [b]) => (a < b ? -1 : 1));
  return hashText(JSON.stringify([wanted.url, wanted.revision, sums]));
}

/** A folder's name that tells people what is in it. */
export function plainName(place: Place): string {
  const text = {
    file: () => (place as { path: string }).path,
    hub: () => (place as { repository: string }).repository.replace('/', '--'),
    s3: () => `${(place as { bucket: string }).bucket}--${(place as { prefix: string }).prefix}`,
    https: () => new URL((place as { url: string }).url).hostname,
  }[place.kind]();
  return (
    text
      .replace(/[^A-Za-z0-9._-]+/g, '-')
      .replace(/^[.-]+|-+$/g, '')
      .slice(0, 96) || 'model'
  );
}
