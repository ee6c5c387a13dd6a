/**
 * One configuration per process: a flat table of settings gives the flags, the environment variables, the keys of the
 * file, the types, the help, `--print-config` and docs/CONFIG.md. It is read once at the start, in the order flags over
 * environment over file over defaults, and frozen. Whatever is unknown or not allowed stops the process with a sentence
 * that names the key, where it came from and what would be allowed.
 */
import type { z } from 'zod';
import { CodedError } from '../errors.ts';
import { collectRaw, type RawValue } from './settings_sources.ts';
import { describeAllowed, takesBareFlag } from './settings_schema.ts';
import { helpText, printConfigText } from './settings_text.ts';

/** One row of a process's table. */
export interface Setting<Schema extends z.ZodType> {
  /** One of lib/io/setting_types.ts, or any zod schema that takes strings too; give a plain schema a `.describe()`. */
  readonly schema: Schema;
  /** Used when no source names the key; a setting without a default must be given. `undefined` is a default too. */
  readonly default?: z.output<Schema> | undefined;
  /** What it decides, one sentence. */
  readonly doc: string;
  /** Shown as `***` everywhere, and never in a refusal. */
  readonly secret?: true;
  /** Has neither flag nor variable: for values with structure. */
  readonly fileOnly?: true;
}

export type DeepReadonly<T> = T extends (...args: never[]) => unknown
  ? T
  : T extends object
    ? { readonly [K in keyof T]: DeepReadonly<T[K]> }
    : T;

export type ConfigOf<Table extends Record<string, z.ZodType>> = {
  readonly [K in keyof Table]: DeepReadonly<z.output<Table[K]>>;
};

/** A setting with its names, as the sources, the texts and the generator of docs/CONFIG.md need it. */
export interface SettingRow {
  readonly key: string;
  /** `--http-port`; absent for a setting of the file only. */
  readonly flag: string | undefined;
  /** `SOPHIA_AGENT_HTTP_PORT`; absent for a setting of the file only. */
  readonly variable: string | undefined;
  readonly schema: z.ZodType;
  /** What is allowed, in words. */
  readonly allowed: string;
  readonly required: boolean;
  readonly default: unknown;
  readonly doc: string;
  readonly secret: boolean;
  /** `--name` alone means true. */
  readonly bare: boolean;
}

export interface SettingsDefinition<Table extends Record<string, z.ZodType> = Record<string, z.ZodType>> {
  readonly processName: string;
  /** `SOPHIA_AGENT_`. */
  readonly variablePrefix: string;
  readonly rows: readonly SettingRow[];
  /** Only for inference: never there at run time. */
  readonly table?: Table;
}

/** Names that the loader itself takes. */
const RESERVED = new Set(['config', 'printConfig', 'help']);

const kebab = (key: string): string => key.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
const upperSnake = (key: string): string => kebab(key).replaceAll('-', '_').toUpperCase();

/** Declares the settings of a process; `ConfigOf` of the result's table is the type of its configuration. */
export function defineSettings<Table extends Record<string, z.ZodType>>(
  processName: string,
  table: { readonly [K in keyof Table]: Setting<Table[K]> },
): SettingsDefinition<Table> {
  const variablePrefix = `SOPHIA_${upperSnake(processName)}_`;
  const rows = Object.entries<Setting<z.ZodType>>(table).map(([key, setting]): SettingRow => {
    if (!/^[a-z][A-Za-z0-9]*$/.test(key) || RESERVED.has(key)) throw new TypeError(`Setting ${key} has a bad name.`);
    const fileOnly = setting.fileOnly === true;
    return {
      key,
      flag: fileOnly ? undefined : `--${kebab(key)}`,
      variable: fileOnly ? undefined : variablePrefix + upperSnake(key),
      schema: setting.schema,
      allowed: describeAllowed(setting.schema),
      required: !('default' in setting),
      default: setting.default,
      doc: setting.doc,
      secret: setting.secret === true,
      bare: !fileOnly && takesBareFlag(setting.schema),
    };
  });
  return Object.freeze({ processName, variablePrefix, rows: Object.freeze(rows) });
}

/** What the loader reads from; a test passes its own. */
export interface SettingsInput {
  /** Arguments after the program and, for the command line, after its verb. */
  readonly argv: readonly string[];
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Reads a whole text file; throws when it cannot. */
  readonly readFile: (path: string) => string;
}

export interface ExplainedSetting {
  readonly key: string;
  /** As JSON; `***` for a secret that is set, `(unset)` for `undefined`. */
  readonly value: string;
  /** `flag --http-port`, `environment variable SOPHIA_AGENT_HTTP_PORT`, `file /etc/sophia/agent.yaml` or `default`. */
  readonly source: string;
  readonly doc: string;
}

export interface LoadedSettings<Table extends Record<string, z.ZodType>> {
  /** Deep-frozen. When `help` is true nothing was read and it holds the defaults only. */
  readonly config: ConfigOf<Table>;
  /** Where each value came from, in the words of `ExplainedSetting.source`. */
  readonly sources: { readonly [K in keyof Table]: string };
  explain(): ExplainedSetting[];
  /** `--print-config` was given: print `text()` and exit 0. */
  readonly printConfig: boolean;
  /** `--help` was given: print `text()` and exit 0. */
  readonly help: boolean;
  /** The help, or every value with its source. */
  text(): string;
}

function deepFreeze<T>(value: T): T {
  if (typeof value === 'object' && value !== null && !Object.isFrozen(value) && !ArrayBuffer.isView(value)) {
    Object.freeze(value);
    for (const inner of Object.values(value)) deepFreeze(inner);
  }
  return value;
}

/** What a refusal says about a value: nothing of a secret, and at most 60 characters of another. */
function quoteValue(row: SettingRow, value: unknown): string {
  if (row.secret) return 'the value (not shown)';
  const words = JSON.stringify(value) ?? String(value);
  return words.length > 60 ? `${words.slice(0, 57)}...` : words;
}

function parseValue(row: SettingRow, raw: RawValue): unknown {
  const result = row.schema.safeParse(raw.value);
  if (result.success) return result.data;
  const { path } = result.error.issues[0] ?? { path: [] };
  const where = path.length > 0 ? ` (at ${path.map(String).join('.')})` : '';
  throw new CodedError(
    'invalid_config',
    `Setting ${row.key} from ${raw.source}: ${quoteValue(row, raw.value)} is not allowed${where}; allowed is ${row.allowed}.`,
    { param: row.key },
  );
}

function missingValue(row: SettingRow): CodedError {
  const ways =
    row.flag === undefined
      ? `key ${row.key} of the file`
      : `${row.flag}, ${row.variable} or key ${row.key} of the file`;
  return new CodedError('invalid_config', `Setting ${row.key} is required: give ${ways}; allowed is ${row.allowed}.`, {
    param: row.key,
  });
}

/**
 * Reads, checks and freezes the configuration. Throws CodedError `invalid_config` (with the key in `param`) for a file
 * that cannot be read, an unknown flag, variable or key, a value that is not allowed, and a required one that is absent.
 */
export function loadSettings<Table extends Record<string, z.ZodType>>(
  definition: SettingsDefinition<Table>,
  input: SettingsInput,
): LoadedSettings<Table> {
  const raw = collectRaw(definition, input);
  const config: Record<string, unknown> = {};
  const sources: Record<string, string> = {};
  for (const row of definition.rows) {
    const given = raw.values.get(row.key);
    if (given === undefined && row.required && !raw.help) throw missingValue(row);
    config[row.key] = deepFreeze(given === undefined ? structuredClone(row.default) : parseValue(row, given));
    sources[row.key] = given?.source ?? 'default';
  }
  const explain = (): ExplainedSetting[] =>
    definition.rows.map((row) => {
      const value = config[row.key];
      const shown = row.secret ? '***' : JSON.stringify(value);
      return {
        key: row.key,
        value: value === undefined ? '(unset)' : shown,
        source: sources[row.key] as string,
        doc: row.doc,
      };
    });
  return {
    config: Object.freeze(config) as ConfigOf<Table>,
    sources: Object.freeze(sources) as { readonly [K in keyof Table]: string },
    explain,
    printConfig: raw.printConfig,
    help: raw.help,
    text: () => (raw.help ? helpText(definition) : printConfigText(explain())),
  };
}
