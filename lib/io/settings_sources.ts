/**
 * Collects the raw values of settings from the three places they may come from, and refuses whatever no setting has
 * asked for. Nothing is interpreted here; lib/io/settings.ts checks the values against their schemas.
 */
import { parse as parseYaml } from 'yaml';
import { CodedError } from '../errors.ts';
import { nearest } from '../nearest.ts';
import type { SettingRow, SettingsDefinition, SettingsInput } from './settings.ts';

export interface RawValue {
  readonly value: unknown;
  readonly source: string;
}

export interface RawSettings {
  /** By key, the value of the strongest source that names it. */
  readonly values: ReadonlyMap<string, RawValue>;
  readonly printConfig: boolean;
  readonly help: boolean;
}

interface ParsedFlags {
  readonly values: Map<string, RawValue>;
  configPath: string | undefined;
  printConfig: boolean;
}

const OWN_FLAGS = ['--config', '--print-config', '--help'];
/** Far more than any configuration needs. */
const LARGEST_FILE_CHARS = 1_000_000;

function refuse(message: string, param?: string): CodedError {
  return new CodedError('invalid_config', message, param === undefined ? {} : { param });
}

/** An unknown name gets the nearest known one, or else all of them while they are few. */
function refuseUnknown(name: string, source: string, known: readonly string[], prefix: string): CodedError {
  // What all names share says nothing about which of them was meant.
  const bare = known.map((word) => word.slice(prefix.length));
  const match = nearest(name.slice(prefix.length), bare);
  const close = match === undefined ? undefined : prefix + match;
  const hint = close === undefined ? `known are ${known.join(', ')}` : `did you mean ${close}?`;
  return refuse(`Unknown setting from ${source}: ${hint}${close === undefined ? '.' : ''}`, name);
}

interface FlagMeaning {
  readonly row: SettingRow;
  /** What the flag stands for without a value. */
  readonly bare: 'true' | 'false' | undefined;
}

function flagMeanings(rows: readonly SettingRow[]): Map<string, FlagMeaning> {
  const meanings = new Map<string, FlagMeaning>();
  for (const row of rows) {
    if (row.flag === undefined) continue;
    meanings.set(row.flag, { row, bare: row.bare ? 'true' : undefined });
    if (row.bare) meanings.set(row.flag.replace(/^--/, '--no-'), { row, bare: 'false' });
  }
  return meanings;
}

/** The value of a flag and how many arguments it took: from `--name=value`, from the next argument, or none. */
function flagValue(
  argument: string,
  next: string | undefined,
  name: string,
  bare: string | undefined,
): { value: string; taken: number } {
  const equals = argument.indexOf('=');
  if (bare === 'false' && equals !== -1) throw refuse(`Flag ${name} takes no value.`, name);
  if (equals !== -1) return { value: argument.slice(equals + 1), taken: 1 };
  if (bare !== undefined) return { value: bare, taken: 1 };
  if (next === undefined || next.startsWith('--')) throw refuse(`Flag ${name} needs a value: ${name}=VALUE.`, name);
  return { value: next, taken: 2 };
}

function readFlags(rows: readonly SettingRow[], argv: readonly string[]): ParsedFlags {
  const meanings = flagMeanings(rows);
  const parsed: ParsedFlags = { values: new Map(), configPath: undefined, printConfig: false };
  for (let i = 0; i < argv.length; ) {
    const argument = argv[i] as string;
    const name = argument.split('=', 1)[0] as string;
    if (argument === '--print-config') {
      parsed.printConfig = true;
      i += 1;
    } else if (name === '--config') {
      const { value, taken } = flagValue(argument, argv[i + 1], name, undefined);
      if (parsed.configPath !== undefined) throw refuse('Flag --config is given twice.', name);
      parsed.configPath = value;
      i += taken;
    } else {
      const meaning = meanings.get(name);
      if (meaning === undefined) {
        // The argument itself is not shown: after a mistyped flag it may be a secret.
        if (!name.startsWith('-')) throw refuse(`Argument ${i + 1} is not a flag; only flags are taken, see --help.`);
        throw refuseUnknown(name, `flag ${name}`, [...meanings.keys(), ...OWN_FLAGS], '--');
      }
      const { value, taken } = flagValue(argument, argv[i + 1], name, meaning.bare);
      if (parsed.values.has(meaning.row.key)) throw refuse(`Flag ${name} is given twice.`, meaning.row.key);
      parsed.values.set(meaning.row.key, { value, source: `flag ${name}` });
      i += taken;
    }
  }
  return parsed;
}

function readVariables(definition: SettingsDefinition, env: SettingsInput['env']): Map<string, RawValue> {
  const byVariable = new Map(
    definition.rows.flatMap((row) => (row.variable === undefined ? [] : [[row.variable, row]])),
  );
  const configVariable = `${definition.variablePrefix}CONFIG`;
  const values = new Map<string, RawValue>();
  for (const [name, value] of Object.entries(env)) {
    if (!name.startsWith(definition.variablePrefix) || name === configVariable || value === undefined) continue;
    const row = byVariable.get(name);
    const source = `environment variable ${name}`;
    if (row === undefined)
      throw refuseUnknown(name, source, [...byVariable.keys(), configVariable], definition.variablePrefix);
    values.set(row.key, { value, source });
  }
  return values;
}

/** One line of what went wrong, without the excerpt of the file that YAML's messages carry. */
function firstLine(thrown: unknown): string {
  return (thrown instanceof Error ? thrown.message : String(thrown)).split('\n', 1)[0]?.replace(/:$/, '') ?? '';
}

function parseFile(path: string, namedBy: string, readFile: SettingsInput['readFile']): Record<string, unknown> {
  let content: string;
  try {
    content = readFile(path);
  } catch (thrown) {
    throw new CodedError(
      'invalid_config',
      `The configuration file ${path} (${namedBy}) cannot be read: ${firstLine(thrown)}.`,
      {
        param: 'config',
        cause: thrown,
      },
    );
  }
  if (content.length > LARGEST_FILE_CHARS)
    throw refuse(`The configuration file ${path} is over 1,000,000 characters.`, 'config');
  let document: unknown;
  try {
    document = parseYaml(content, { maxAliasCount: 0, logLevel: 'error' });
  } catch (thrown) {
    throw new CodedError(
      'invalid_config',
      `The configuration file ${path} is not valid YAML or JSON: ${firstLine(thrown)}.`,
      {
        param: 'config',
      },
    );
  }
  if (document === null || document === undefined) return {};
  if (typeof document !== 'object' || Array.isArray(document)) {
    throw refuse(`The configuration file ${path} must hold keys and values at its top.`, 'config');
  }
  return document as Record<string, unknown>;
}

function readFileValues(
  definition: SettingsDefinition,
  input: SettingsInput,
  flagPath: string | undefined,
): Map<string, RawValue> {
  const variable = `${definition.variablePrefix}CONFIG`;
  const path = flagPath ?? input.env[variable];
  if (path === undefined) return new Map();
  const content = parseFile(
    path,
    flagPath === undefined ? `environment variable ${variable}` : 'flag --config',
    input.readFile,
  );
  const byKey = new Map(definition.rows.map((row) => [row.key, row]));
  const values = new Map<string, RawValue>();
  for (const [key, value] of Object.entries(content)) {
    if (!byKey.has(key)) throw refuseUnknown(key, `key ${key} of file ${path}`, [...byKey.keys()], '');
    values.set(key, { value, source: `file ${path}` });
  }
  return values;
}

/** Reads flags, then environment, then file; with `--help` among the flags nothing else is looked at. */
export function collectRaw(definition: SettingsDefinition, input: SettingsInput): RawSettings {
  if (input.argv.includes('--help') || input.argv.includes('-h')) {
    return { values: new Map(), printConfig: false, help: true };
  }
  const flags = readFlags(definition.rows, input.argv);
  const variables = readVariables(definition, input.env);
  const file = readFileValues(definition, input, flags.configPath);
  return { values: new Map([...file, ...variables, ...flags.values]), printConfig: flags.printConfig, help: false };
}
