/**
 * Reads a certificate, its key and the authority's certificates, and refuses what no peer could accept: a wrong file
 * would otherwise show as handshakes that fail again and again, far from their cause. The same checks guard the start
 * of a process and each reload while it runs.
 */
import { createPrivateKey, X509Certificate } from 'node:crypto';
import { createSecureContext } from 'node:tls';
import { CodedError } from '../errors.ts';

/** A file and the setting that names it, for the sentence about what is wrong in it. */
export interface TlsFile {
  readonly setting: string;
  readonly file: string;
}

export interface TlsFiles {
  /** Absent where no peer has to show a certificate. */
  readonly ca?: TlsFile;
  readonly cert: TlsFile;
  readonly key: TlsFile;
}

/** PEM text; `caPem` is empty without a file of an authority. */
export interface TlsMaterial {
  readonly caPem: string;
  readonly certPem: string;
  readonly keyPem: string;
}

/** A set that has passed, and what a later one is compared with. */
export interface TlsSet extends TlsMaterial {
  /** In wall-clock milliseconds. */
  readonly expiresAtMs: number;
  /** The common name, as the other end of a handshake reads it. */
  readonly name: unknown;
  readonly signer: Signer;
}

/** Whether the authority's file holds the signer of the certificate. */
export type Signer = 'known' | 'unknown' | 'wrong';

const TRUST: Readonly<Record<Signer, number>> = { wrong: 0, unknown: 1, known: 2 };

const BLOCK = /-----BEGIN (?:TRUSTED |X509 )?CERTIFICATE-----[^-]*-----END (?:TRUSTED |X509 )?CERTIFICATE-----/g;
const BEGIN = /-----BEGIN (?:TRUSTED |X509 )?CERTIFICATE-----/g;

function refusal({ setting }: TlsFile, why: string, cause?: unknown): CodedError {
  return new CodedError('invalid_config', `Setting ${setting}: ${why}`, { param: setting, cause });
}

/** The error of a file that cannot be read. */
export function unreadable(file: TlsFile, cause: unknown): CodedError {
  const why = (cause as NodeJS.ErrnoException).code ?? 'unknown reason';
  return refusal(file, `the file ${file.file} cannot be read (${why}).`, cause);
}

/** Every certificate of a file. A block that was begun and not ended is a file that is still being written. */
function certificatesOf(file: TlsFile, pem: string): readonly X509Certificate[] {
  const blocks = pem.match(BLOCK) ?? [];
  if (blocks.length === 0) throw refusal(file, 'the file holds no certificate in PEM form.');
  if (blocks.length !== pem.match(BEGIN)?.length) throw refusal(file, 'the file ends within a certificate.');
  try {
    return blocks.map((block) => new X509Certificate(block));
  } catch (cause) {
    throw refusal(file, 'the file holds a certificate that cannot be read.', cause);
  }
}

/**
 * Whether one of `authorities` signed the last certificate of the chain that begins with the first of `chain`. An
 * authority of another name says nothing: a site may have one authority for agents and one for schedulers.
 */
export function signerOf(chain: readonly X509Certificate[], authorities: readonly X509Certificate[]): Signer {
  let top = chain[0] as X509Certificate;
  for (const next of chain.slice(1)) {
    if (!top.checkIssued(next) || !top.verify(next.publicKey)) break;
    top = next;
  }
  const named = authorities.filter((each) => each.subject === top.issuer);
  if (named.length === 0) return 'unknown';
  return named.some((each) => top.checkIssued(each) && top.verify(each.publicKey)) ? 'known' : 'wrong';
}

function checkTimes(file: TlsFile, certificate: X509Certificate, nowMs: number): void {
  if (Date.parse(certificate.validTo) < nowMs)
    throw refusal(file, `the certificate expired on ${certificate.validTo}.`);
  if (Date.parse(certificate.validFrom) > nowMs)
    throw refusal(file, `the certificate is not valid before ${certificate.validFrom}.`);
}

/** Of a bundle one good certificate is enough: an old authority may stay in it past its end. */
function checkAuthorities(file: TlsFile, authorities: readonly X509Certificate[], nowMs: number): void {
  if (authorities.some((each) => Date.parse(each.validTo) >= nowMs)) return;
  throw refusal(file, `the certificate expired on ${authorities[0]?.validTo}.`);
}

function checkPair(files: TlsFiles, leaf: X509Certificate, keyPem: string): void {
  let key: ReturnType<typeof createPrivateKey>;
  try {
    key = createPrivateKey(keyPem);
  } catch (cause) {
    throw refusal(files.key, 'the file holds no unencrypted private key in PEM form.', cause);
  }
  if (!leaf.checkPrivateKey(key)) throw refusal(files.key, `the key does not belong to ${files.cert.setting}.`);
}

/**
 * Checks a set of files that belong together.
 * @throws CodedError invalid_config, with the setting in `param`
 */
export function checkTls(files: TlsFiles, material: TlsMaterial, nowMs: number): TlsSet {
  const { keyPem } = material;
  const authorities = files.ca === undefined ? [] : certificatesOf(files.ca, material.caPem);
  const chain = certificatesOf(files.cert, material.certPem);
  // Written anew: files that were joined without a line end between them are no PEM to the TLS library.
  const [caPem, certPem] = [authorities.join(''), chain.join('')];
  const leaf = chain[0] as X509Certificate;
  if (files.ca !== undefined) checkAuthorities(files.ca, authorities, nowMs);
  checkTimes(files.cert, leaf, nowMs);
  checkPair(files, leaf, keyPem);
  try {
    // What the TLS library itself refuses, such as a key that is too small, must not first show in a handshake.
    createSecureContext({ cert: certPem, key: keyPem, ...(caPem === '' ? {} : { ca: caPem }) });
  } catch (cause) {
    throw refusal(files.cert, 'the TLS library does not accept the certificate and its key.', cause);
  }
  const { CN: name } = leaf.toLegacyObject().subject as { CN?: unknown };
  return { caPem, certPem, keyPem, expiresAtMs: Date.parse(leaf.validTo), name, signer: signerOf(chain, authorities) };
}

/**
 * Refuses a set that would make matters worse for a client that shows its certificate to servers of the same authority.
 * It is not asked of a first set: who is refused by every server from the start is told so by the servers.
 * @param commonName the name that servers expect
 * @throws CodedError invalid_config, with the setting in `param`
 */
export function checkSuccessor(files: TlsFiles, before: TlsSet, next: TlsSet, commonName: string): void {
  if (next.name !== commonName && next.name !== before.name)
    throw refusal(files.cert, `the certificate names ${String(next.name)}, not ${commonName}.`);
  if (TRUST[next.signer] < TRUST[before.signer])
    throw refusal(files.cert, `no authority of ${files.ca?.setting} has signed the certificate.`);
}
