/**
 * The keys that sign tickets. The newest signs; one that was replaced stays known to agents until the last of its tickets
 * has expired. The file is looked at again and again, as certificates are, so that a key is changed by putting another
 * file in its place. Without a file a key lives in memory: then tickets end with the scheduler that made them.
 */
import { createPrivateKey, createPublicKey, generateKeyPairSync, type KeyObject } from 'node:crypto';
import { open } from 'node:fs/promises';
import type { CryptoKey } from 'jose';
import { importPKCS8 } from 'jose';
import type { Clock } from '../../lib/clock.ts';
import { CodedError, toCodedError } from '../../lib/errors.ts';
import type { Logger } from '../../lib/io/logger.ts';
import type { ModelTicketClaims } from '../../lib/model_ticket.ts';
import type { TicketClaims } from '../../lib/ticket.ts';
import { type PublicTicketKey, signModelTicket, signTicket, ticketKeyId } from '../../proto/ticket_jws.ts';
import type { TicketSigner } from '../ports.ts';

export interface TicketKeysOptions {
  /** An Ed25519 key as PKCS #8 PEM that only its owner can read; absent: a key that ends with this process. */
  readonly file: string | undefined;
  readonly reloadMs: number;
  /** How long a replaced key is still told to agents: longer than any ticket that it has signed is good. */
  readonly retireMs: number;
  readonly clock: Clock;
  readonly logger: Logger;
}

export interface TicketKeys extends TicketSigner {
  /** Newest first. */
  keys(): readonly PublicTicketKey[];
  /** Rejects when the key has been retired meanwhile. */
  signModel(keyId: string, claims: ModelTicketClaims): Promise<string>;
  /** @param onChange the keys are others now */
  start(onChange: () => void): void;
  stop(): Promise<void>;
}

/** Keys that are told to agents at a time; who changes the file more often loses tickets of the oldest. */
const MAX_KEYS = 8;
const OTHERS = 0o077;
const MAX_FILE_BYTES = 16_384;
/** The public key stands at the end of its SPKI form (RFC 8410). */
const PUBLIC_KEY_BYTES = 32;

interface Key extends PublicTicketKey {
  readonly privateKey: CryptoKey;
  /** Wall-clock milliseconds; absent while it is the newest. */
  retireAtMs?: number;
}

const refusal = (why: string, cause?: unknown): CodedError =>
  new CodedError('invalid_config', `Setting ticketKeyFile: ${why}`, { param: 'ticketKeyFile', cause });

async function readKeyFile(file: string): Promise<string> {
  let handle: Awaited<ReturnType<typeof open>>;
  try {
    handle = await open(file, 'r');
  } catch (cause) {
    const why = (cause as NodeJS.ErrnoException).code ?? 'unknown reason';
    throw refusal(`the file ${file} cannot be read (${why}).`, cause);
  }
  try {
    const stat = await handle.stat();
    const { mode, size } = stat;
    if (!stat.isFile()) throw refusal('it names no file.');
    if ((mode & OTHERS) !== 0) throw refusal('others may read the file: set its mode to 0600.');
    if (size > MAX_FILE_BYTES) throw refusal('the file is too large for a key.');
    return await handle.readFile('utf8');
  } finally {
    await handle.close();
  }
}

function ed25519Of(pem: string): KeyObject {
  let key: KeyObject;
  try {
    key = createPrivateKey(pem);
  } catch {
    // The library's own error may quote what it read.
    throw refusal('the file holds no unencrypted private key in PEM form.');
  }
  if (key.asymmetricKeyType !== 'ed25519') throw refusal(`the key is ${key.asymmetricKeyType}, not ed25519.`);
  return key;
}

async function toKey(secret: KeyObject): Promise<Key> {
  const spki = createPublicKey(secret).export({ type: 'spki', format: 'der' });
  const publicKey = new Uint8Array(spki.subarray(-PUBLIC_KEY_BYTES));
  const pem = secret.export({ type: 'pkcs8', format: 'pem' }) as string;
  return { keyId: await ticketKeyId(publicKey), publicKey, privateKey: await importPKCS8(pem, 'EdDSA') };
}

class KeyRing implements TicketKeys {
  readonly #options: TicketKeysOptions;
  #keys: readonly Key[];
  #onChange: () => void = () => undefined;
  #refused: string | undefined;
  #stopTimer: () => void = () => undefined;
  #round: Promise<void> = Promise.resolve();
  #stopped = false;

  constructor(options: TicketKeysOptions, first: Key) {
    this.#options = options;
    this.#keys = [first];
  }

  /** Only what is public: this goes out. */
  keys(): readonly PublicTicketKey[] {
    return this.#keys.map(({ keyId, publicKey }) => ({ keyId, publicKey }));
  }

  sign(keyId: string, claims: TicketClaims): Promise<string> {
    const key = this.#keys.find((each) => each.keyId === keyId);
    if (key === undefined) return Promise.reject(new Error('the key has been retired'));
    return signTicket(key.privateKey, keyId, claims);
  }

  signModel(keyId: string, claims: ModelTicketClaims): Promise<string> {
    const key = this.#keys.find((each) => each.keyId === keyId);
    if (key === undefined) return Promise.reject(new Error('the key has been retired'));
    return signModelTicket(key.privateKey, keyId, claims);
  }

  start(onChange: () => void): void {
    this.#onChange = onChange;
    if (this.#options.file !== undefined) this.#wait(this.#options.file);
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    this.#stopTimer();
    await this.#round;
  }

  #wait(file: string): void {
    const { clock, reloadMs } = this.#options;
    this.#stopTimer = clock.after(reloadMs, () => {
      this.#round = this.#look(file);
    });
  }

  async #look(file: string): Promise<void> {
    const { clock, logger } = this.#options;
    try {
      const next = await toKey(ed25519Of(await readKeyFile(file)));
      this.#take(next, clock.wallMs());
      this.#refused = undefined;
    } catch (thrown) {
      const { message, code } = toCodedError(thrown);
      if (message !== this.#refused) logger.warn({ code }, `the key for tickets stays as it was: ${message}`);
      this.#refused = message;
    }
    if (!this.#stopped) this.#wait(file);
  }

  #take(next: Key, nowMs: number): void {
    const [newest] = this.#keys;
    const isNew = newest?.keyId !== next.keyId;
    const older = this.#keys
      .filter((key) => key.keyId !== next.keyId)
      .map((key) => ({ ...key, retireAtMs: key.retireAtMs ?? nowMs + this.#options.retireMs }));
    const kept = [next, ...older.filter((key) => key.retireAtMs > nowMs)].slice(0, MAX_KEYS);
    const isChanged = isNew || kept.length !== this.#keys.length;
    this.#keys = kept;
    if (!isChanged || this.#stopped) return;
    if (isNew) this.#options.logger.info({ keyId: next.keyId }, 'a new key signs tickets');
    this.#onChange();
  }
}

/**
 * Reads the key, or makes one that ends with this process.
 * @throws CodedError invalid_config
 */
export async function openTicketKeys(options: TicketKeysOptions): Promise<TicketKeys> {
  const { file, logger } = options;
  if (file !== undefined) return new KeyRing(options, await toKey(ed25519Of(await readKeyFile(file))));
  const first = await toKey(generateKeyPairSync('ed25519').privateKey);
  logger.info({ keyId: first.keyId }, 'tickets are signed by a key that ends with this process: set ticketKeyFile');
  return new KeyRing(options, first);
}
