/**
 * Starts the parts of a process in order and stops them in reverse, once, whatever asks for it: a signal, a failed
 * start, the parent going away, or the process itself. Mains are built on it, so that none of them forgets a part, stops
 * one twice or hangs on one that does not answer.
 */
import { CodedError, type ErrorCode } from '../errors.ts';
import type { Logger } from './logger.ts';

export interface PartOptions {
  /** How long its stop may take before the next part is stopped, in milliseconds; the lifecycle's grace when absent. */
  readonly stopTimeoutMs?: number;
}

/** The part of `process` that is used; a test passes its own. */
export interface ProcessPort {
  readonly on: (event: 'SIGTERM' | 'SIGINT' | 'disconnect', listener: () => void) => unknown;
  readonly exit: (code: number) => void;
  /** For the one sentence about a configuration error. */
  readonly complain: (sentence: string) => void;
}

export interface LifecycleOptions {
  readonly logger: Logger;
  /** Most time for all stops together, in milliseconds; then the process exits with code 1. */
  readonly graceMs: number;
  /** Called right before an exit that leaves parts unstopped: at a second signal, or when the grace is over. */
  readonly onForced?: () => void;
  readonly process?: ProcessPort;
}

export interface Lifecycle {
  /** Adds a part; parts start in the order in which they were added. Adding after `start` is a programming error. */
  add(
    name: string,
    start: () => void | Promise<void>,
    stop: () => void | Promise<void>,
    options?: PartOptions,
  ): Lifecycle;
  /** Handles SIGTERM and SIGINT: the first stops in order, a second one exits at once with 143 or 130. */
  listen(): Lifecycle;
  /** Stops when the IPC channel to the parent closes, so that no child outlives `sophia up`. */
  stopWithParent(): Lifecycle;
  /** Starts every part. When one fails, those that had started are stopped in reverse and the failure is thrown. */
  start(): Promise<void>;
  /** Stops every started part in reverse order; further calls give the same promise. Never rejects. */
  stop(reason: string): Promise<void>;
  /** Starts; a failure is reported in the way of its kind and ends the process. The usual way to end a main. */
  run(): Promise<void>;
}

/** Errors that an operator corrects: one sentence, no stack, exit code 2. */
const OPERATOR_ERRORS: ReadonlySet<ErrorCode> = new Set(['invalid_config', 'address_in_use', 'missing_model']);

export const EXIT_OK = 0;
export const EXIT_FAILURE = 1;
export const EXIT_CONFIG = 2;

const nodeProcess: ProcessPort = {
  on: (event, listener) => process.on(event, listener),
  exit: (code) => process.exit(code),
  complain: (sentence) => process.stderr.write(`${sentence}\n`),
};

interface Part {
  readonly name: string;
  readonly start: () => void | Promise<void>;
  readonly stop: () => void | Promise<void>;
  readonly stopTimeoutMs: number;
}

/** Resolves to true when `work` ended within `timeoutMs`; rejects as `work` does. */
async function endsWithin(work: Promise<void>, timeoutMs: number): Promise<boolean> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<false>((resolve) => {
    timer = setTimeout(() => resolve(false), timeoutMs);
  });
  try {
    return await Promise.race([work.then(() => true), late]);
  } finally {
    clearTimeout(timer);
  }
}

/** What a listener's error means for whoever chose the address. */
const LISTEN_ERRORS: Readonly<Record<string, readonly [code: ErrorCode, why: string]>> = {
  EADDRINUSE: ['address_in_use', 'the address is in use'],
  EADDRNOTAVAIL: ['invalid_config', 'this machine has no such address'],
  EACCES: ['invalid_config', 'this user may not bind it'],
  ENOTFOUND: ['invalid_config', 'there is no such host'],
};

/** A listener's error as a CodedError that an operator can act on; anything else unchanged. */
export function unwrapStartError(thrown: unknown): unknown {
  const error = thrown as NodeJS.ErrnoException & { address?: string; hostname?: string; port?: number };
  const known = LISTEN_ERRORS[error?.code ?? ''];
  const isListen =
    error?.code === 'EADDRINUSE' ||
    error?.syscall === 'listen' ||
    error?.syscall === 'bind' ||
    error?.syscall === 'getaddrinfo';
  if (known === undefined || thrown instanceof CodedError || !isListen) return thrown;
  const [code, why] = known;
  const host = error.address ?? error.hostname ?? 'an address';
  const place = error.port === undefined ? host : `${error.address ?? ''}:${error.port}`;
  return new CodedError(code, `Cannot listen on ${place}: ${why}.`, { cause: thrown });
}

/**
 * Says why a process cannot go on and returns its exit code: 2 with one sentence (and what to do) for errors that an
 * operator corrects, 1 with the stack in the log for all others. For mains, also before there is a lifecycle.
 */
export function reportFatal(thrown: unknown, logger: Logger | undefined, complain = nodeProcess.complain): number {
  const error = unwrapStartError(thrown);
  if (error instanceof CodedError && OPERATOR_ERRORS.has(error.code)) {
    complain(`${error.message} ${error.spec.next}`);
    return EXIT_CONFIG;
  }
  if (logger === undefined) complain(error instanceof Error ? (error.stack ?? error.message) : String(error));
  else logger.fatal({ err: error }, 'the process cannot go on');
  return EXIT_FAILURE;
}

/** Calls `stop` at the first signal and exits at once, with the code of a killed process, at the second. */
function handleSignals(host: ProcessPort, stop: (reason: string) => void, onForced: () => void): void {
  let signals = 0;
  const onSignal = (signal: 'SIGTERM' | 'SIGINT', exitCode: number): void => {
    signals += 1;
    if (signals === 1) {
      stop(signal);
      return;
    }
    onForced();
    host.exit(exitCode);
  };
  host.on('SIGTERM', () => onSignal('SIGTERM', 143));
  host.on('SIGINT', () => onSignal('SIGINT', 130));
}

async function stopPart(part: Part, logger: Logger): Promise<void> {
  logger.debug({ part: part.name }, 'stopping part');
  try {
    const inTime = await endsWithin(Promise.resolve().then(part.stop), part.stopTimeoutMs);
    if (!inTime) logger.warn({ part: part.name, stopTimeoutMs: part.stopTimeoutMs }, 'part did not stop in time');
  } catch (thrown) {
    logger.error({ part: part.name, err: thrown }, 'part failed to stop');
  }
}

/** The parts that run, in the order in which they started. */
interface RunningParts {
  /** Starts one more part; gives what it threw, wrapped, or undefined. */
  start(part: Part): Promise<{ readonly thrown: unknown } | undefined>;
  /** Stops all in reverse, the one that is just starting included; false when the grace was not enough. */
  stopAll(graceMs: number): Promise<boolean>;
}

function createRunningParts(logger: Logger): RunningParts {
  const started: Part[] = [];
  /** A stop waits for the start that is under way, so that what it opens is closed again. */
  let underWay: Promise<unknown> = Promise.resolve();
  const stopStarted = async (): Promise<void> => {
    await underWay;
    for (let part = started.pop(); part !== undefined; part = started.pop()) await stopPart(part, logger);
  };
  return {
    start(part) {
      logger.debug({ part: part.name }, 'starting part');
      const outcome = Promise.resolve()
        .then(part.start)
        .then(
          () => {
            started.push(part);
            return undefined;
          },
          (thrown: unknown) => ({ thrown }),
        );
      underWay = outcome;
      return outcome;
    },
    stopAll: (graceMs) => endsWithin(stopStarted(), graceMs),
  };
}

/** Creates the lifecycle of a process, with nothing in it. */
export function createLifecycle(options: LifecycleOptions): Lifecycle {
  const { logger, graceMs, onForced = () => undefined } = options;
  const host = options.process ?? nodeProcess;
  const parts: Part[] = [];
  const running = createRunningParts(logger);
  let hasBegun = false;
  let inGrace = true;
  let stopping: Promise<void> | undefined;

  const stop = (reason: string): Promise<void> => {
    stopping ??= (async () => {
      logger.info({ reason }, 'stopping');
      inGrace = await running.stopAll(graceMs);
      if (inGrace) logger.info({ reason }, 'stopped');
      else logger.error({ reason, graceMs }, 'the stop took longer than the grace');
    })();
    return stopping;
  };
  const stopAndExit = (reason: string): void => {
    void stop(reason).then(() => {
      if (!inGrace) onForced();
      host.exit(inGrace ? EXIT_OK : EXIT_FAILURE);
    });
  };
  const start = async (): Promise<void> => {
    if (hasBegun) throw new Error('A lifecycle starts once.');
    hasBegun = true;
    for (const part of parts) {
      if (stopping !== undefined) return stopping;
      const failure = await running.start(part);
      if (failure === undefined) continue;
      await stop(`part ${part.name} failed to start`);
      throw unwrapStartError(failure.thrown);
    }
  };

  const lifecycle: Lifecycle = {
    add(name, startPart, stopPartOf, partOptions = {}) {
      if (hasBegun) throw new Error(`Part ${name} was added after the start.`);
      parts.push({ name, start: startPart, stop: stopPartOf, stopTimeoutMs: partOptions.stopTimeoutMs ?? graceMs });
      return lifecycle;
    },
    listen() {
      handleSignals(host, stopAndExit, onForced);
      return lifecycle;
    },
    stopWithParent() {
      host.on('disconnect', () => stopAndExit('the parent process went away'));
      return lifecycle;
    },
    start,
    stop,
    async run() {
      try {
        await start();
      } catch (thrown) {
        host.exit(reportFatal(thrown, logger, host.complain));
      }
    },
  };
  return lifecycle;
}
