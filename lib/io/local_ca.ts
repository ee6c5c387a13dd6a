/**
 * A small certificate authority of the fleet's own, so that agents and schedulers prove themselves by mTLS from the
 * first start. `sophia up` makes one in its data folder; a larger site brings its own certificates and never runs this.
 */
import type * as X509Module from '@peculiar/x509';
import { webcrypto } from 'node:crypto';
import { mkdir, readFile, rename, writeFile } from 'node:fs/promises';
import path from 'node:path';

type X509 = typeof X509Module;

/** Loaded when a certificate is made: it is half of the start-up time of each command that makes none. */
async function loadX509(): Promise<X509> {
  // The library looks for decorator metadata at import; this gives it.
  await import('reflect-metadata');
  return await import('@peculiar/x509');
}

const ALGORITHM = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' } as const;
const DAY_MS = 86_400_000;
const CA_DAYS = 3650;
const LEAF_DAYS = 825;
const BACKDATE_MS = 5 * 60_000;

export interface PemPair {
  readonly certPem: string;
  readonly keyPem: string;
}

async function newKeys(): Promise<CryptoKeyPair> {
  return await webcrypto.subtle.generateKey(ALGORITHM, true, ['sign', 'verify']);
}

type CryptoKeyPair = { publicKey: webcrypto.CryptoKey; privateKey: webcrypto.CryptoKey };

async function keyToPem(x509: X509, key: webcrypto.CryptoKey): Promise<string> {
  return x509.PemConverter.encode(await webcrypto.subtle.exportKey('pkcs8', key), 'PRIVATE KEY');
}

const serial = (): string =>
  Buffer.from(webcrypto.getRandomValues(new Uint8Array(16)))
    .toString('hex')
    .replace(/^./, '4');

/** A new self-signed authority, valid for ten years. */
export async function createCa(commonName: string, nowMs: number): Promise<PemPair> {
  const x509 = await loadX509();
  const keys = await newKeys();
  const certificate = await x509.X509CertificateGenerator.createSelfSigned(
    {
      serialNumber: serial(),
      name: `CN=${commonName}`,
      notBefore: new Date(nowMs - BACKDATE_MS),
      notAfter: new Date(nowMs + CA_DAYS * DAY_MS),
      signingAlgorithm: ALGORITHM,
      keys,
      extensions: [
        new x509.BasicConstraintsExtension(true, 0, true),
        new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign, true),
        await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
      ],
    },
    webcrypto,
  );
  return { certPem: certificate.toString('pem'), keyPem: await keyToPem(x509, keys.privateKey) };
}

export interface LeafOptions {
  /** For an agent: its node name, which the scheduler compares with the name that the agent claims. */
  readonly commonName: string;
  /** DNS names and IP addresses under which a server is dialled; empty for a client. */
  readonly hosts: readonly string[];
  readonly nowMs: number;
}

/** A certificate for both directions of TLS, signed by the authority. */
export async function issueCertificate(ca: PemPair, options: LeafOptions): Promise<PemPair> {
  const x509 = await loadX509();
  const keys = await newKeys();
  const issuer = new x509.X509Certificate(ca.certPem);
  const signingKey = await webcrypto.subtle.importKey(
    'pkcs8',
    x509.PemConverter.decodeFirst(ca.keyPem),
    ALGORITHM,
    false,
    ['sign'],
  );
  // Names the key of the authority: of two authorities of one name in a bundle, as a rotation has them, the TLS library
  // would else try the first only.
  const { keyId } = issuer.getExtension(x509.SubjectKeyIdentifierExtension) ?? {};
  const names = options.hosts.map((host) => ({
    type: /^[\d.]+$|:/.test(host) ? ('ip' as const) : ('dns' as const),
    value: host,
  }));
  const certificate = await x509.X509CertificateGenerator.create(
    {
      serialNumber: serial(),
      subject: `CN=${options.commonName}`,
      issuer: issuer.subject,
      notBefore: new Date(options.nowMs - BACKDATE_MS),
      notAfter: new Date(options.nowMs + LEAF_DAYS * DAY_MS),
      signingAlgorithm: ALGORITHM,
      publicKey: keys.publicKey,
      signingKey,
      extensions: [
        new x509.BasicConstraintsExtension(false, undefined, true),
        new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
        new x509.ExtendedKeyUsageExtension([x509.ExtendedKeyUsage.serverAuth, x509.ExtendedKeyUsage.clientAuth]),
        ...(keyId === undefined ? [] : [new x509.AuthorityKeyIdentifierExtension(keyId)]),
        ...(names.length > 0 ? [new x509.SubjectAlternativeNameExtension(names)] : []),
      ],
    },
    webcrypto,
  );
  return { certPem: certificate.toString('pem'), keyPem: await keyToPem(x509, keys.privateKey) };
}

async function writePrivate(file: string, text: string): Promise<void> {
  const temporary = `${file}.${process.pid}.tmp`;
  await writeFile(temporary, text, { mode: 0o600 });
  await rename(temporary, file);
}

/** Writes NAME.crt and NAME.key (0600) into a folder and gives their paths. */
export async function writePair(
  folder: string,
  name: string,
  pair: PemPair,
): Promise<{ certFile: string; keyFile: string }> {
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const certFile = path.join(folder, `${name}.crt`);
  const keyFile = path.join(folder, `${name}.key`);
  await writePrivate(keyFile, pair.keyPem);
  await writePrivate(certFile, pair.certPem);
  return { certFile, keyFile };
}

/** Reads a pair that writePair wrote, or undefined when either file is absent. */
export async function readPair(folder: string, name: string): Promise<PemPair | undefined> {
  try {
    const [certPem, keyPem] = await Promise.all([
      readFile(path.join(folder, `${name}.crt`), 'utf8'),
      readFile(path.join(folder, `${name}.key`), 'utf8'),
    ]);
    return { certPem, keyPem };
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}
