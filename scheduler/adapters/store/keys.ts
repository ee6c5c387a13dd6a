/**
 * The keys of the log. Two files, private to the user: the secret of the MAC, which whoever writes events needs, and the
 * Ed25519 key that signs anchors. Whoever only verifies needs the first and the public half of the second, which lies
 * beside it.
 */
import {
  createHmac,
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  type KeyObject,
  randomBytes,
  sign,
  verify,
} from 'node:crypto';
import { readFile, rename, writeFile } from 'node:fs/promises';
import { CodedError } from '../../../lib/errors.ts';
import type { Sign, VerifySignature } from '../../core/events/anchors.ts';
import type { Mac } from '../../core/events/chain.ts';

const SECRET = /^[0-9a-f]{64}$/;

async function readIfThere(file: string): Promise<string | undefined> {
  try {
    return await readFile(file, 'utf8');
  } catch (thrown) {
    if ((thrown as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw new CodedError('invalid_config', `The key file ${file} cannot be read.`, { cause: thrown });
  }
}

/** Writes a file that was not there, whole or not at all; when another was faster, its content counts. */
async function createOnce(file: string, content: string): Promise<string> {
  try {
    await writeFile(file, content, { flag: 'wx', mode: 0o600, flush: true });
    return content;
  } catch (thrown) {
    if ((thrown as NodeJS.ErrnoException).code !== 'EEXIST')
      throw new CodedError('invalid_config', `The key file ${file} cannot be written.`, { cause: thrown });
    return (await readIfThere(file)) ?? content;
  }
}

/** HMAC-SHA-256 (RFC 2104) under a secret of 32 bytes, given as hex. */
export function hmacOf(secretHex: string): Mac {
  const secret = Buffer.from(secretHex, 'hex');
  return (text) => createHmac('sha256', secret).update(text).digest('hex');
}

function secretIn(file: string, content: string): string {
  const secret = content.trim();
  if (SECRET.test(secret)) return secret;
  throw new CodedError('invalid_config', `The key file ${file} does not hold 64 hex digits.`);
}

/** Reads the log's secret. @throws CodedError invalid_config */
export async function readMac(file: string): Promise<Mac> {
  const content = await readIfThere(file);
  if (content === undefined) throw new CodedError('invalid_config', `There is no key file ${file}.`);
  return hmacOf(secretIn(file, content));
}

/** Reads the log's secret, or makes one at the first start. @throws CodedError invalid_config */
export async function readOrMakeMac(file: string): Promise<Mac> {
  const content = (await readIfThere(file)) ?? (await createOnce(file, `${randomBytes(32).toString('hex')}\n`));
  return hmacOf(secretIn(file, content));
}

export interface AnchorKeys {
  readonly sign: Sign;
  readonly verify: VerifySignature;
}

const verifier =
  (key: KeyObject): VerifySignature =>
  (text, signature) =>
    verify(null, Buffer.from(text), key, Buffer.from(signature, 'base64url'));

function keyIn(file: string, read: () => KeyObject): KeyObject {
  try {
    const key = read();
    if (key.asymmetricKeyType === 'ed25519') return key;
  } catch (thrown) {
    throw new CodedError('invalid_config', `The key file ${file} holds no key.`, { cause: thrown });
  }
  throw new CodedError('invalid_config', `The key in ${file} is not an Ed25519 key.`);
}

/** Where the public half of an anchor key lies. */
export const publicKeyFile = (file: string): string => `${file}.pub`;

/** Reads the key that signs anchors, or makes one with its public half beside it. @throws CodedError invalid_config */
export async function readOrMakeAnchorKeys(file: string): Promise<AnchorKeys> {
  const found = await readIfThere(file);
  const made = (): string =>
    generateKeyPairSync('ed25519').privateKey.export({ type: 'pkcs8', format: 'pem' }).toString();
  const pem = found ?? (await createOnce(file, made()));
  const key = keyIn(file, () => createPrivateKey(pem));
  const open = createPublicKey(pem);
  const temporary = `${publicKeyFile(file)}.${randomBytes(4).toString('hex')}`;
  await writeFile(temporary, open.export({ type: 'spki', format: 'pem' }), { mode: 0o644 });
  await rename(temporary, publicKeyFile(file));
  return { sign: (text) => sign(null, Buffer.from(text), key).toString('base64url'), verify: verifier(open) };
}

/** Reads the public half. @throws CodedError invalid_config */
export async function readAnchorVerifier(file: string): Promise<VerifySignature> {
  const pem = await readIfThere(file);
  if (pem === undefined) throw new CodedError('invalid_config', `There is no public key ${file}.`);
  return verifier(keyIn(file, () => createPublicKey(pem)));
}
