/**
 * Brings the log up to what the key file says: when the store has been read for the first time, after each change that
 * was made here, and again after a failure. Keys work without it: no store is asked whether somebody may come in.
 */
import { backoffDelayMs, type BackoffPolicy } from '../../../lib/backoff.ts';
import type { Clock } from '../../../lib/clock.ts';
import { toCodedError } from '../../../lib/errors.ts';
import type { Logger } from '../../../lib/io/logger.ts';
import type { RandomSource } from '../../../lib/rng.ts';
import { type AccessNote, type ChangedBy, keyChanges } from '../../core/access/key_events.ts';
import type { AppendItem } from '../../core/events/store_port.ts';
import type { ControlPlane } from '../../core/resources/control_port.ts';
import type { KeyStore } from '../../ports.ts';
import type { AccessNotes } from './access_notes.ts';
import { sha256 } from './sha256.ts';

export interface AccessLogOptions {
  readonly control: Pick<
    ControlPlane,
    'projection' | 'isRead' | 'onRead' | 'onEvents' | 'catchUp' | 'store' | 'health'
  >;
  readonly keys: KeyStore;
  readonly notes: AccessNotes;
  readonly scheduler: string;
  readonly clock: Clock;
  readonly random: RandomSource;
  readonly newId: () => string;
  readonly logger: Logger;
}

export interface AccessLog {
  /** The same keys, whose changes are noted and logged. */
  readonly keys: KeyStore;
  /** From now on the store may be opened for a change. */
  start(): void;
  stop(): Promise<void>;
}

/** Events of one append. */
const MAX_ITEMS = 500;
const MAX_ROUNDS = 1000;
const RETRY: BackoffPolicy = { baseMs: 2_000, capMs: 300_000, minMs: 1_000 };
const AT_HAND: ReadonlySet<string> = new Set(['up', 'slow', 'closed']);
const UNKNOWN: ChangedBy = { actor: 'scheduler', reason: '', correlationId: '' };
/** How long whoever changes a key waits for the log to have it. */
const PATIENCE_MS = 5_000;

const CHANGE_OF: Readonly<Record<string, string>> = { 'access.granted': 'created', 'access.revoked': 'revoked' };

const isOf =
  ({ keyId, change }: AccessNote) =>
  ({ kind, resource }: AppendItem): boolean =>
    CHANGE_OF[kind] === change && resource.name.endsWith(`/${keyId}`);

/** The same changes have the same name: after a crash before a note was forgotten they are not appended again. */
const nameOf = (items: readonly AppendItem[]): string =>
  `access-${Buffer.from(sha256(Buffer.from(JSON.stringify(items)))).toString('hex')}`;

/** Appends what is missing, in pieces. @throws CodedError store_… */
async function bringUp({ control, keys, notes, scheduler, newId, logger }: AccessLogOptions): Promise<void> {
  for (let round = 0; round < MAX_ROUNDS; round++) {
    await control.catchUp();
    const known = notes.list();
    const items = keyChanges({
      folder: notes.folder,
      scheduler,
      keys: keys.list(),
      entries: control.projection().list('access'),
      notes: known,
      correlationId: newId(),
    });
    if (items.length === 0) {
      if (known.length > 0) await notes.remove(known);
      return;
    }
    const piece = items.slice(0, MAX_ITEMS);
    const outcome = await control.store.append({ idempotencyId: nameOf(piece), items: piece });
    if (outcome.kind === 'appended') await notes.remove(known.filter((note) => piece.some(isOf(note))));
    if (outcome.kind === 'appended' || outcome.kind === 'conflict') continue;
    logger.warn({ outcome }, 'changes of keys are not taken by the log');
    return;
  }
}

class KeyLog implements AccessLog {
  readonly keys: KeyStore;
  readonly #options: AccessLogOptions;
  readonly #forget: () => void;
  #running: Promise<void> | undefined;
  #again = false;
  #started = false;
  #stopped = false;
  #failures = 0;
  #stopTimer: (() => void) | undefined;

  constructor(options: AccessLogOptions) {
    this.#options = options;
    const { keys } = options;
    this.keys = {
      find: keys.find,
      list: keys.list,
      add: async (record, by = UNKNOWN) => {
        await keys.add(record);
        await this.#changed({ ...by, keyId: record.id, change: 'created' });
      },
      revoke: async (id, atMs, by = UNKNOWN) => {
        const wasRevoked = keys.find(id)?.revokedAtMs !== undefined;
        const record = await keys.revoke(id, atMs);
        if (!wasRevoked) await this.#changed({ ...by, keyId: id, change: 'revoked' });
        return record;
      },
    };
    options.control.onRead(() => this.#kick());
    // No events: a person took another log as it is, and it may know other keys.
    this.#forget = options.control.onEvents((events) => {
      if (events.length === 0) this.#kick();
    });
  }

  start(): void {
    this.#started = true;
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    this.#forget();
    this.#stopTimer?.();
    await this.#running;
  }

  /** The change is in force already: nothing that goes wrong here may look as if it were not. */
  async #changed(note: Parameters<AccessNotes['add']>[0]): Promise<void> {
    const { notes, logger, clock, control } = this.#options;
    await notes
      .add(note)
      .catch((err: unknown) => logger.warn({ err, keyId: note.keyId }, 'a change of a key could not be noted'));
    if (!this.#started && !control.isRead()) return;
    this.#kick();
    // With the store away a key is revoked at once, and the log learns of it later.
    if (!AT_HAND.has(control.health().state)) return;
    let cancel = (): void => undefined;
    const late = new Promise<void>((resolve) => {
      cancel = clock.after(PATIENCE_MS, resolve);
    });
    await Promise.race([this.#running, late]);
    cancel();
  }

  #kick(): void {
    if (this.#stopped) return;
    this.#again = true;
    this.#running ??= this.#run().finally(() => {
      this.#running = undefined;
    });
  }

  async #run(): Promise<void> {
    const { logger, clock, random } = this.#options;
    this.#stopTimer?.();
    try {
      while (this.#again && !this.#stopped) {
        this.#again = false;
        await bringUp(this.#options);
      }
      this.#failures = 0;
    } catch (thrown) {
      const error = toCodedError(thrown);
      if (this.#failures === 0) logger.warn({ code: error.code, err: error }, 'changes of keys wait for the store');
      this.#stopTimer = clock.after(backoffDelayMs(this.#failures++, RETRY, random), () => this.#kick());
    }
  }
}

/** One per process. */
export function createAccessLog(options: AccessLogOptions): AccessLog {
  return new KeyLog(options);
}
