/**
 * Asks a source which files it has: the hub's API (huggingface.co/docs/hub/api: the commit of a revision, the tree of a
 * commit with sizes, LFS SHA-256 and git names), S3's ListObjectsV2, or a list of checksums over HTTPS.
 */
import { AwsV4Signer } from 'aws4fetch';
import { z } from 'zod';
import {
  chooseFiles,
  complainOfListing,
  type FileEntry,
  type Listing,
  parseSums,
  SUMS_FILE,
} from '../../core/model_files/listing.ts';
import { parseS3Page } from '../../core/model_files/s3_listing.ts';
import type { ModelSource, Place } from '../../core/model_files/source.ts';
import type { Credentials, S3Access } from './credentials.ts';
import { FetchFailure, fetchFailure } from './fetch_failure.ts';
import { type Authorize, get, getText, type HttpClient, refused, shown } from './http_get.ts';

export interface Lister {
  list(signal: AbortSignal): Promise<Listing>;
  readonly authorize: Authorize;
}

export interface ListerParts {
  readonly client: HttpClient;
  readonly credentials: Credentials;
  readonly hubUrl: string;
}

const MAX_PAGES = 200;
const encodePath = (path: string): string => path.split('/').map(encodeURIComponent).join('/');

const Revision = z.object({ sha: z.string().regex(/^[0-9a-f]{40}$/) });
const Tree = z.array(
  z.object({
    type: z.string(),
    path: z.string(),
    oid: z.string().optional(),
    size: z.number().int().nonnegative(),
    lfs: z.object({ oid: z.string().regex(/^[0-9a-f]{64}$/), size: z.number().int().nonnegative() }).nullish(),
  }),
);

function parseJson<Schema extends z.ZodType>(schema: Schema, text: string, url: URL): z.infer<Schema> {
  try {
    return schema.parse(JSON.parse(text));
  } catch (cause) {
    throw new FetchFailure({ kind: 'bad_listing', message: `${shown(url)} is not what the hub answers.` }, cause);
  }
}

/** The next page of an API that says so in its Link header (RFC 8288); only on the same host. */
function nextPage(link: string | string[] | undefined, url: URL): URL | undefined {
  const target = /<([^>]+)>\s*;\s*rel="?next"?/.exec(String(link ?? ''))?.[1];
  if (target === undefined || !URL.canParse(target, url.href)) return undefined;
  const next = new URL(target, url);
  return next.origin === url.origin ? next : undefined;
}

function hubEntry(base: string, found: z.infer<typeof Tree>[number]): FileEntry {
  const { path, size, oid, lfs } = found;
  const url = `${base}/${encodePath(path)}`;
  if (lfs != null) return { path, bytes: lfs.size, check: { kind: 'sha256', hex: lfs.oid }, url };
  const isGit = oid !== undefined && /^[0-9a-f]{40}$/.test(oid);
  return { path, bytes: size, url, ...(isGit ? { check: { kind: 'git', hex: oid } as const } : {}) };
}

function hubLister(place: Extract<Place, { kind: 'hub' }>, { client, credentials, hubUrl }: ListerParts): Lister {
  const root = hubUrl.replace(/\/+$/, '');
  const authorize: Authorize = (url) => credentials.bearerFor(url);
  return {
    authorize,
    async list(signal) {
      const api = `${root}/api/models/${place.repository}`;
      const about = new URL(`${api}/revision/${encodeURIComponent(place.revision)}`);
      const { sha } = parseJson(Revision, (await getText(client, about, authorize, signal)).text, about);
      const found: z.infer<typeof Tree> = [];
      let url: URL | undefined = new URL(`${api}/tree/${sha}?recursive=true`);
      for (let page = 0; url !== undefined && page < MAX_PAGES; page++) {
        const { text, headers } = await getText(client, url, authorize, signal);
        found.push(...parseJson(Tree, text, url));
        url = nextPage(headers.link, url);
      }
      if (url !== undefined) throw fetchFailure('bad_listing', 'The repository lists files without an end.');
      const entries = found
        .filter(({ type }) => type === 'file')
        .map((one) => hubEntry(`${root}/${place.repository}/resolve/${sha}`, one));
      return { resolved: sha, files: chooseFiles(entries, place.within) };
    },
  };
}

const s3Base = ({ region, endpoint }: S3Access, bucket: string): string => {
  if (endpoint !== undefined) return `${endpoint.replace(/\/+$/, '')}/${bucket}`;
  // A bucket with a dot in its name does not fit the certificate of its own host name.
  return bucket.includes('.')
    ? `https://s3.${region}.amazonaws.com/${bucket}`
    : `https://${bucket}.s3.${region}.amazonaws.com`;
};

function s3Authorize(access: () => Promise<S3Access>, bucket: string): Authorize {
  return async (url, headers) => {
    const found = await access();
    // A signature is for the host of the bucket; whoever that redirects to gets none.
    if (found.keys === undefined || url.host !== new URL(s3Base(found, bucket)).host) return {};
    const signer = new AwsV4Signer({
      method: 'GET',
      url: url.href,
      headers,
      service: 's3',
      region: found.region,
      ...found.keys,
    });
    const signed = await signer.sign();
    return Object.fromEntries(signed.headers.entries());
  };
}

function s3Lister(place: Extract<Place, { kind: 's3' }>, { client, credentials }: ListerParts): Lister {
  const { bucket, prefix } = place;
  const authorize = s3Authorize(() => credentials.s3For(bucket), bucket);
  return {
    authorize,
    async list(signal) {
      const base = s3Base(await credentials.s3For(bucket), bucket);
      const files: FileEntry[] = [];
      let token: string | undefined = '';
      for (let page = 0; token !== undefined && page < MAX_PAGES; page++) {
        const url = new URL(base);
        url.searchParams.set('list-type', '2');
        // Without a slash at its end a prefix also names what only begins like it.
        if (prefix !== '') url.searchParams.set('prefix', `${prefix}/`);
        if (token !== '') url.searchParams.set('continuation-token', token);
        const found = parseS3Page((await getText(client, url, authorize, signal)).text);
        if (found === undefined) throw fetchFailure('bad_listing', `${shown(url)} is not what S3 answers.`);
        for (const { key, bytes, etag } of found.objects) {
          const path = prefix === '' ? key : key.slice(prefix.length + 1);
          if (path === '' || (path.endsWith('/') && bytes === 0)) continue;
          files.push({ path, bytes, url: `${base}/${encodePath(key)}`, ...(etag === '' ? {} : { etag }) });
        }
        token = found.next;
      }
      if (token !== undefined) throw fetchFailure('bad_listing', 'The bucket lists files without an end.');
      return { resolved: '', files };
    },
  };
}

const isFolder = (url: string): boolean => new URL(url).pathname.endsWith('/');

function httpsLister(place: Extract<Place, { kind: 'https' }>, source: ModelSource, parts: ListerParts): Lister {
  const authorize: Authorize = (url) => parts.credentials.bearerFor(url);
  const folder = isFolder(place.url) ? place.url : new URL('.', place.url).href;
  const own = decodeURIComponent(new URL(place.url).pathname.split('/').at(-1) as string);
  return {
    authorize,
    list(signal) {
      void signal;
      const query = isFolder(place.url) ? '' : new URL(place.url).search;
      const names = isFolder(place.url) ? Object.keys(source.sha256) : [own];
      const files = names.map(
        (path): FileEntry => ({ path, url: `${new URL(encodePath(path), folder).href}${query}` }),
      );
      // A folder without sums in the order carries them itself; its file of sums is read by withSums.
      return Promise.resolve({
        resolved: '',
        files: files.length > 0 ? files : [{ path: SUMS_FILE, url: folder + SUMS_FILE }],
      });
    },
  };
}

/** The sums that the source itself carries, where the order names none. */
async function ownSums(lister: Lister, files: readonly FileEntry[], client: HttpClient, signal: AbortSignal) {
  const carried = files.find(({ path }) => path === SUMS_FILE);
  if (carried === undefined) return undefined;
  const sums = parseSums((await getText(client, new URL(carried.url), lister.authorize, signal)).text);
  if (sums === undefined) throw fetchFailure('bad_listing', `${SUMS_FILE} has not the form of sha256sum.`);
  return sums;
}

/** The size of a file that no listing told, by asking for its first byte. */
async function measured(entry: FileEntry, lister: Lister, client: HttpClient, signal: AbortSignal): Promise<FileEntry> {
  if (entry.bytes !== undefined) return entry;
  const url = new URL(entry.url);
  const answer = await get(client, url, { range: 'bytes=0-0' }, lister.authorize, signal);
  if (answer.status !== 206 && answer.status !== 200 && answer.status !== 416) throw refused(url, answer);
  const { headers, status } = answer;
  const total = status === 200 ? headers['content-length'] : /\/(\d+)$/.exec(headers['content-range'] ?? '')?.[1];
  // Of a source without ranges the whole file would follow.
  if (status === 200) answer.body.destroy();
  else answer.body.resume();
  if (total === undefined || !/^\d+$/.test(total))
    throw fetchFailure('bad_listing', `${shown(url)} does not say its size.`);
  return { ...entry, bytes: Number(total), ...(headers.etag === undefined ? {} : { etag: headers.etag }) };
}

export type MeasuredEntry = FileEntry & { readonly bytes: number };

export interface CheckedListing extends Listing {
  readonly files: readonly MeasuredEntry[];
}

/**
 * The files with their sizes and with what they are checked by: the order's own sums, else the source's.
 * @throws FetchFailure
 */
export async function listModel(
  lister: Lister,
  source: ModelSource,
  place: Place,
  client: HttpClient,
  signal: AbortSignal,
): Promise<CheckedListing> {
  const { resolved, files } = await lister.list(signal);
  const given = Object.keys(source.sha256).length > 0;
  const sums = given ? source.sha256 : place.kind === 'hub' ? undefined : await ownSums(lister, files, client, signal);
  let named = files.filter(({ path }) => path !== SUMS_FILE || given);
  if (place.kind === 'https' && sums !== undefined && isFolder(place.url))
    named = Object.keys(sums).map((path) => ({ path, url: new URL(encodePath(path), place.url).href }));
  // Sums that are carried or ordered say which files there are; one that is missing would be a model with a hole.
  const missing = Object.keys(sums ?? {}).find((path) => !named.some((entry) => entry.path === path));
  if (missing !== undefined) throw fetchFailure('missing', `${missing} has a checksum and is not in the source.`);
  const checked = named.map((entry): FileEntry => {
    const hex = sums?.[entry.path]?.toLowerCase();
    return hex === undefined ? entry : { ...entry, check: { kind: 'sha256', hex } };
  });
  const complaint = complainOfListing(checked);
  if (complaint !== undefined) throw fetchFailure('bad_listing', complaint);
  if (place.kind === 'https' && checked.some(({ check }) => check === undefined))
    throw fetchFailure(
      'unusable',
      `A file over https needs a checksum: in the order (sha256), or in ${SUMS_FILE} beside it.`,
    );
  const whole: FileEntry[] = [];
  for (const entry of checked) whole.push(await measured(entry, lister, client, signal));
  return { resolved, files: whole as MeasuredEntry[] };
}

export function createLister(place: Exclude<Place, { kind: 'file' }>, source: ModelSource, parts: ListerParts): Lister {
  switch (place.kind) {
    case 'hub':
      return hubLister(place, parts);
    case 's3':
      return s3Lister(place, parts);
    case 'https':
      return httpsLister(place, source, parts);
  }
}
