/**
 * The agent's hold on its sensor process: one question at a time, a deadline on each, and an end by SIGKILL of the whole
 * group. A process that hangs inside the driver cannot be ended even so; such a one is left to the kernel, counted, and
 * once there are too many no other is started. Nothing here ever waits for the driver.
 */
import { type ChildProcess, fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import type { Clock } from '../../../lib/clock.ts';
import {
  answerSchema,
  type SensorAnswer,
  type SensorQuestion,
  type SensorTelling,
  tellingSchema,
} from '../../sensor/messages.ts';

/** Sensors that were killed and have not ended; one more is never started. */
export const MOST_UNREAPED = 3;
/** For the start of the process itself, which on a host that loads models can take long. */
const START_TIMEOUT_MS = 20_000;
/** A stop does not wait longer than this for a sensor to end. */
const STOP_WAIT_MS = 1000;

const SENSOR_MAIN = fileURLToPath(new URL('../../sensor/main.js', import.meta.url));

/** The part of a child process that is used. */
export type SensorChild = Pick<ChildProcess, 'pid' | 'send' | 'on' | 'once' | 'unref' | 'channel' | 'connected'> & {
  disconnect(): void;
};

type Unnumbered<Numbered> = Numbered extends unknown ? Omit<Numbered, 'id'> : never;
export type Question = Unnumbered<SensorQuestion>;

export type Outcome =
  | { readonly kind: 'answer'; readonly answer: SensorAnswer }
  /** No answer in time; `place` is the call that hangs, where the sensor could still say so. The sensor is killed. */
  | { readonly kind: 'timeout'; readonly place?: { readonly call: string; readonly gpu: number } }
  /** The sensor ended before it answered. */
  | { readonly kind: 'gone' }
  /** Too many sensors hang and cannot be ended, so none was started. */
  | { readonly kind: 'stuck'; readonly unreaped: number };

export interface SensorProcessOptions {
  readonly clock: Clock;
  /** The whole environment of the sensor. */
  readonly environment: Readonly<Record<string, string>>;
  readonly onIncident: (incident: Extract<SensorTelling, { kind: 'incident' }>) => void;
  /** 20 s when absent. */
  readonly startTimeoutMs?: number;
  /** Starts the process; a test gives one that cannot be ended. */
  readonly spawn?: (environment: Readonly<Record<string, string>>) => SensorChild;
  /** Ends a process group; a test's process takes no notice. */
  readonly kill?: (pid: number) => void;
}

interface Pending {
  readonly id: number;
  readonly settle: (outcome: Outcome) => void;
  /** The deadline begins now: the sensor is up. */
  readonly begin: () => void;
  place?: { readonly call: string; readonly gpu: number };
}

function forkSensor(environment: Readonly<Record<string, string>>): SensorChild {
  return fork(SENSOR_MAIN, [], {
    // A group of its own, so that whatever it starts ends with it.
    detached: true,
    stdio: ['ignore', 'ignore', 'ignore', 'ipc'],
    execArgv: [],
    env: environment,
  });
}

function killGroup(pid: number): void {
  try {
    process.kill(-pid, 'SIGKILL');
  } catch (error) {
    // The group is gone already, which was the aim.
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}

export class SensorProcess {
  readonly #options: SensorProcessOptions;
  #child: SensorChild | undefined;
  #pending: Pending | undefined;
  #asked = 0;
  #started = false;
  readonly #unreaped = new Map<SensorChild, Promise<void>>();

  constructor(options: SensorProcessOptions) {
    this.#options = options;
  }

  get unreaped(): number {
    return this.#unreaped.size;
  }

  /** Asks, after the earlier question has been answered; starts the sensor where there is none. Never rejects. */
  ask(question: Question, deadlineMs: number): Promise<Outcome> {
    if (this.#child === undefined) {
      // A reading needs the life that was opened; a new process knows nothing of it.
      if (question.ask === 'read') return Promise.resolve({ kind: 'gone' });
      if (this.#unreaped.size >= MOST_UNREAPED)
        return Promise.resolve({ kind: 'stuck', unreaped: this.#unreaped.size });
      this.#child = this.#spawn();
      this.#started = false;
    }
    const child = this.#child;
    this.#asked += 1;
    const id = this.#asked;
    return new Promise((resolve) => {
      let cancel = (): void => undefined;
      const limit = (ms: number): void => {
        cancel();
        cancel = this.#options.clock.after(ms, () => {
          const place = this.#pending?.place;
          this.#settle({ kind: 'timeout', ...(place === undefined ? {} : { place }) });
          this.kill();
        });
      };
      limit(this.#started ? deadlineMs : deadlineMs + (this.#options.startTimeoutMs ?? START_TIMEOUT_MS));
      this.#pending = {
        id,
        begin: () => limit(deadlineMs),
        settle: (outcome) => {
          cancel();
          resolve(outcome);
        },
      };
      // A failure to send shows as the end of the process.
      child.send({ ...question, id }, () => undefined);
    });
  }

  /** Sends SIGKILL and lets go; whether the process ends is for the kernel to say. */
  kill(): void {
    const child = this.#child;
    this.#child = undefined;
    this.#settle({ kind: 'gone' });
    if (child?.pid === undefined) return;
    const ended = new Promise<void>((resolve) => child.once('exit', () => resolve())).then(() => {
      this.#unreaped.delete(child);
    });
    this.#unreaped.set(child, ended);
    (this.#options.kill ?? killGroup)(child.pid);
    // Neither the process nor its channel may hold the agent's own end back.
    child.unref();
    child.channel?.unref();
  }

  /** Kills and waits, but not for ever: a sensor that hangs in the driver does not hold up the agent. */
  async stop(): Promise<void> {
    this.kill();
    let cancel = (): void => undefined;
    const late = new Promise<void>((resolve) => {
      cancel = this.#options.clock.after(STOP_WAIT_MS, resolve);
    });
    await Promise.race([Promise.all(this.#unreaped.values()), late]);
    cancel();
    for (const child of this.#unreaped.keys()) if (child.connected) child.disconnect();
  }

  #spawn(): SensorChild {
    const child = (this.#options.spawn ?? forkSensor)(this.#options.environment);
    child.on('message', (message) => this.#onMessage(child, message));
    child.on('error', () => this.#onGone(child));
    child.once('exit', () => this.#onGone(child));
    return child;
  }

  #onMessage(child: SensorChild, message: unknown): void {
    if (child !== this.#child) return;
    const telling = tellingSchema.safeParse(message);
    if (telling.success) {
      if (telling.data.kind === 'incident') this.#options.onIncident(telling.data);
      else if (telling.data.kind === 'started') this.#onStarted();
      else if (this.#pending?.id === telling.data.id) this.#pending.place = telling.data.place;
      return;
    }
    const answer = answerSchema.safeParse(message);
    if (answer.success && answer.data.id === this.#pending?.id) this.#settle({ kind: 'answer', answer: answer.data });
  }

  #onStarted(): void {
    this.#started = true;
    this.#pending?.begin();
  }

  #onGone(child: SensorChild): void {
    if (child !== this.#child) return;
    this.#child = undefined;
    this.#settle({ kind: 'gone' });
  }

  #settle(outcome: Outcome): void {
    const pending = this.#pending;
    this.#pending = undefined;
    pending?.settle(outcome);
  }
}
