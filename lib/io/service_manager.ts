/**
 * Speaks to systemd in the way of sd_notify(3): READY=1 when the process serves, STATUS= for `systemctl status`,
 * WATCHDOG=1 while it lives, STOPPING=1 when it goes. A process that was not started by systemd has no socket to speak
 * to; then all of this does nothing.
 */
import { execFile } from 'node:child_process';
import type { Clock } from '../clock.ts';
import type { Vitals } from '../vitals.ts';

/** What systemd puts into the environment of a unit; each config.ts reads it with `serviceManagerFacts`. */
export interface ServiceManagerFacts {
  /** NOTIFY_SOCKET: a path, or @NAME for an abstract socket. */
  readonly socketPath: string | undefined;
  /** WATCHDOG_USEC in milliseconds, when it is meant for this process. */
  readonly watchdogMs: number | undefined;
}

/** Sends one datagram; resolves when systemd has it. */
export type NotifySender = (message: string) => Promise<void>;

/** The addon's call, where there is one: Node has no datagrams on Unix sockets. @throws Error when it cannot be sent */
export type NativeNotify = (socketPath: string, message: string) => void;

export interface ServiceManagerOptions {
  readonly facts: ServiceManagerFacts;
  readonly clock: Clock;
  readonly vitals: Vitals;
  readonly send: NotifySender;
  /** One line for `systemctl status`; asked for at each beat. */
  readonly status: () => string;
  readonly log: { warn(fields: object, message: string): void; error(fields: object, message: string): void };
}

export interface ServiceManager {
  /** Says READY=1 and begins to feed the watchdog. @throws Error when systemd cannot be told: the unit would time out */
  start(): Promise<void>;
  /** Says STOPPING=1; never rejects, because a stop goes on without it. */
  stop(): Promise<void>;
}

/** A third of the watchdog's time: two beats may be lost before systemd acts. */
const BEATS_PER_WATCHDOG = 3;
const STATUS_PERIOD_MS = 10_000;
const SEND_TIMEOUT_MS = 5000;
const MAX_STATUS_LENGTH = 512;

/**
 * Reads NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID. A watchdog that names another process is not ours
 * (sd_watchdog_enabled(3)), and a value that is no number is treated as absent.
 */
export function serviceManagerFacts(
  env: Readonly<Record<string, string | undefined>>,
  pid: number,
): ServiceManagerFacts {
  const usec = Number(env['WATCHDOG_USEC']);
  const isOurs = env['WATCHDOG_PID'] === undefined || Number(env['WATCHDOG_PID']) === pid;
  return {
    socketPath: env['NOTIFY_SOCKET'] === '' ? undefined : env['NOTIFY_SOCKET'],
    watchdogMs: isOurs && Number.isSafeInteger(usec) && usec > 0 ? usec / 1000 : undefined,
  };
}

/** By the program systemd-notify, which needs `NotifyAccess=all`: the datagram comes from a child of the main process. */
function sendByProgram(socketPath: string, message: string, path: string | undefined): Promise<void> {
  return new Promise((resolve, reject) => {
    const env = { NOTIFY_SOCKET: socketPath, ...(path === undefined ? {} : { PATH: path }) };
    execFile('systemd-notify', message.split('\n'), { env, timeout: SEND_TIMEOUT_MS }, (error) => {
      if (error === null) resolve();
      else reject(new Error(`systemd-notify could not tell systemd: ${error.message}`, { cause: error }));
    });
  });
}

/**
 * By the addon where there is one that can, else by the program systemd-notify, looked up in `path`; without a socket,
 * nothing is sent.
 */
export function createNotifySender(
  facts: ServiceManagerFacts,
  native: NativeNotify | undefined,
  path: string | undefined,
): NotifySender {
  const { socketPath } = facts;
  if (socketPath === undefined) return () => Promise.resolve();
  if (native === undefined) return (message) => sendByProgram(socketPath, message, path);
  return async (message) => {
    try {
      native(socketPath, message);
    } catch {
      // The program's own failure then says what is wrong.
      await sendByProgram(socketPath, message, path);
    }
  };
}

/** A line break would begin another assignment, so none may come from what a status quotes. */
function statusLine(text: string): string {
  return `STATUS=${text.replace(/\s+/g, ' ').slice(0, MAX_STATUS_LENGTH)}`;
}

class Notifier implements ServiceManager {
  readonly #options: ServiceManagerOptions;
  readonly #periodMs: number;
  #cancel: (() => void) | undefined;
  #said = '';
  #wasStale = false;
  #stopped = false;

  constructor(options: ServiceManagerOptions) {
    this.#options = options;
    const { watchdogMs } = options.facts;
    this.#periodMs = watchdogMs === undefined ? STATUS_PERIOD_MS : watchdogMs / BEATS_PER_WATCHDOG;
  }

  async start(): Promise<void> {
    this.#said = statusLine(this.#options.status());
    await this.#options.send(`READY=1\n${this.#said}`);
    this.#later();
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    this.#cancel?.();
    await this.#tell('STOPPING=1\nSTATUS=Stopping.');
  }

  #later(): void {
    if (this.#stopped) return;
    this.#cancel = this.#options.clock.after(this.#periodMs, () => {
      // The next beat waits for this one, so that a systemd that does not answer is never flooded.
      void this.#beat().finally(() => this.#later());
    });
  }

  /** What is to be said now: nothing for the watchdog while a part is stale, which is how systemd learns of it. */
  #beat(): Promise<void> {
    const { vitals, clock, facts, log, status } = this.#options;
    const stale = vitals.stale(clock.monotonicMs());
    const first = stale[0];
    if (first !== undefined && !this.#wasStale) log.error({ stale }, 'the watchdog is not fed: a part does not turn');
    this.#wasStale = first !== undefined;
    const words =
      first === undefined ? status() : `Not alive: ${first.part} was silent for ${Math.round(first.silentMs)} ms.`;
    const said = statusLine(words);
    const lines = [
      ...(first === undefined && facts.watchdogMs !== undefined ? ['WATCHDOG=1'] : []),
      ...(said === this.#said ? [] : [said]),
    ];
    this.#said = said;
    return lines.length === 0 ? Promise.resolve() : this.#tell(lines.join('\n'));
  }

  async #tell(message: string): Promise<void> {
    try {
      await this.#options.send(message);
    } catch (error) {
      this.#options.log.warn({ err: error }, 'systemd could not be told');
    }
  }
}

const SILENT: ServiceManager = { start: () => Promise.resolve(), stop: () => Promise.resolve() };

/** The voice of a process towards systemd; silent where there is no systemd. */
export function createServiceManager(options: ServiceManagerOptions): ServiceManager {
  return options.facts.socketPath === undefined ? SILENT : new Notifier(options);
}
