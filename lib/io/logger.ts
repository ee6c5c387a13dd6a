/**
 * The process's log: one JSON object per line on standard error, by pino, with credentials taken out. Standard output
 * stays free for what a command prints. Child loggers carry the ids that tie lines together (requestId, node, engine).
 */
import pino from 'pino';
import { redactFields, scrub } from './redact.ts';

export type LogLevel = 'trace' | 'debug' | 'info' | 'warn' | 'error' | 'fatal' | 'silent';
export const LOG_LEVELS = ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'] as const;

/** pino's logger; libraries such as fastify take it as their own. */
export type Logger = pino.Logger;

/** `json` for collectors, `journald` puts syslog's `<N>` before each line, `pretty` is for a person. */
export type LogFormat = 'json' | 'journald' | 'pretty';
export const LOG_FORMATS = ['json', 'journald', 'pretty'] as const;

export interface LoggerOptions {
  /** The process's name, in each line. */
  readonly name: string;
  readonly level: LogLevel;
  /** `json` when absent. */
  readonly format?: LogFormat;
  /** Same as `format: 'pretty'`. */
  readonly pretty?: boolean;
  /** Standard error when absent; a test passes its own. */
  readonly destination?: { write(line: string): void };
}

/** Lines wait in memory while standard error is blocked; past this many bytes new ones are dropped. */
const MOST_BUFFERED_BYTES = 8 * 1024 * 1024;

/** sd-daemon(3): the priority that journald reads from the start of a line. */
const SYSLOG_PRIORITY: Readonly<Record<string, number>> = { trace: 7, debug: 7, info: 6, warn: 4, error: 3, fatal: 2 };

/**
 * Errors have become plain fields before they come here; pino's own serializer would add what was left out on purpose.
 * Of a request and its answer only what names them is taken: no header, no body, and no query, where keys get lost.
 */
const SERIALIZERS = {
  err: (value: unknown) => value,
  req: ({ method, url }: { method?: unknown; url?: unknown }) => ({
    method,
    path: typeof url === 'string' ? url.split('?', 1)[0] : undefined,
  }),
  res: ({ statusCode }: { statusCode?: unknown }) => ({ statusCode }),
};

const LEVEL_OF_LINE = /^\{"level":"([a-z]+)"/;

function withPriority(line: string): string {
  return `<${SYSLOG_PRIORITY[LEVEL_OF_LINE.exec(line)?.[1] ?? ''] ?? 6}>${line}`;
}

function prettyLine(line: string): string {
  const { level, time, name, msg, err, ...rest } = JSON.parse(line) as Record<string, unknown>;
  const clock = typeof time === 'string' ? time.slice(11, 23) : '';
  const fields = Object.entries(rest)
    .map(([key, value]) => ` ${key}=${typeof value === 'string' ? value : JSON.stringify(value)}`)
    .join('');
  const stack = typeof err === 'object' && err !== null ? (err as { stack?: unknown }).stack : undefined;
  const error = err === undefined ? '' : `\n  ${typeof stack === 'string' ? stack : JSON.stringify(err)}`;
  return `${clock} ${String(level).toUpperCase().padEnd(5)} ${String(name)}: ${typeof msg === 'string' ? msg : ''}${fields}${error}\n`;
}

function lineWriter(format: LogFormat): (line: string) => string {
  switch (format) {
    case 'json':
      return scrub;
    case 'journald':
      return (line) => withPriority(scrub(line));
    case 'pretty':
      return (line) => prettyLine(scrub(line));
  }
}

/**
 * Creates the logger of a process. Fields named like credentials (authorization, cookie, apiKey, token, password, ...)
 * are replaced at any of the first 4 levels, and anything shaped like a key or a JWT is replaced everywhere. Timestamps
 * are ISO 8601 in UTC. Writing never blocks the process.
 */
export function createLogger(options: LoggerOptions): Logger {
  const format = options.format ?? (options.pretty === true ? 'pretty' : 'json');
  const destination =
    options.destination ?? pino.destination({ dest: 2, sync: false, minLength: 0, maxLength: MOST_BUFFERED_BYTES });
  const logger = pino(
    {
      level: options.level,
      base: { name: options.name },
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: {
        level: (label) => ({ level: label }),
        log: (fields) => redactFields(fields),
      },
      serializers: SERIALIZERS,
      hooks: { streamWrite: lineWriter(format) },
    },
    destination,
  );
  // pino formats the bindings of the root only; children inherit this method, so that theirs lose their secrets too.
  type MakeChild = (this: unknown, bindings: pino.Bindings, options?: pino.ChildLoggerOptions) => Logger;
  const children = logger as unknown as { child: MakeChild };
  const makeChild = children.child;
  children.child = function makeRedactedChild(bindings, childOptions) {
    return makeChild.call(this, redactFields(bindings), childOptions);
  };
  return logger;
}
