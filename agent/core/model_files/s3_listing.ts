/**
 * Reads the answer of S3's ListObjectsV2 (Amazon S3 API Reference, ListObjectsV2): keys, sizes, ETags and the token of the
 * next page. The schema is fixed and flat, so a scan for its elements is enough; whatever else is in the text is passed over.
 */

export interface S3Object {
  readonly key: string;
  readonly bytes: number;
  readonly etag: string;
}

export interface S3Page {
  readonly objects: readonly S3Object[];
  /** Absent: this was the last page. */
  readonly next?: string;
}

const ENTITIES: Readonly<Record<string, string>> = { lt: '<', gt: '>', amp: '&', quot: '"', apos: "'" };

function unescapeXml(text: string): string {
  return text.replace(/&(?:#x([0-9a-f]{1,6})|#(\d{1,7})|(\w+));/gi, (whole, hex, dec, name) => {
    const point = hex === undefined ? Number(dec ?? Number.NaN) : Number.parseInt(String(hex), 16);
    if (Number.isInteger(point) && point <= 0x10ffff) return String.fromCodePoint(point);
    return ENTITIES[String(name)] ?? whole;
  });
}

function element(text: string, name: string): string | undefined {
  const match = new RegExp(`<${name}>([^<]*)</${name}>`).exec(text);
  return match === null ? undefined : unescapeXml(match[1] as string);
}

/** Undefined when the text is no such answer. */
export function parseS3Page(text: string): S3Page | undefined {
  if (!text.includes('<ListBucketResult')) return undefined;
  const objects: S3Object[] = [];
  for (const [, inner = ''] of text.matchAll(/<Contents>([\s\S]*?)<\/Contents>/g)) {
    const key = element(inner, 'Key');
    const bytes = Number(element(inner, 'Size') ?? Number.NaN);
    if (key === undefined || !Number.isInteger(bytes)) return undefined;
    objects.push({ key, bytes, etag: element(inner, 'ETag') ?? '' });
  }
  const next = element(text, 'IsTruncated') === 'true' ? element(text, 'NextContinuationToken') : undefined;
  return next === undefined ? { objects } : { objects, next };
}

/** The code of an error of S3, which is a word such as AccessDenied; undefined when the text is none. */
export function parseS3Error(text: string): string | undefined {
  const code = element(text, 'Code');
  return code !== undefined && /^[A-Za-z0-9]{1,64}$/.test(code) ? code : undefined;
}
