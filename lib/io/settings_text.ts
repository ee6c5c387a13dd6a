/**
 * The two texts about settings that a person reads at a terminal: `--help` and `--print-config`.
 */
import type { ExplainedSetting, SettingsDefinition } from './settings.ts';

/** Each value with the place it came from, one line per setting, aligned. */
export function printConfigText(rows: readonly ExplainedSetting[]): string {
  const keyWidth = Math.max(...rows.map((row) => row.key.length), 0);
  const valueWidth = Math.min(40, Math.max(...rows.map((row) => row.value.length), 0));
  return rows.map((row) => `${row.key.padEnd(keyWidth)}  ${row.value.padEnd(valueWidth)}  # ${row.source}\n`).join('');
}

/** A default as help and docs/CONFIG.md show it. */
export function defaultText(row: SettingsDefinition['rows'][number]): string {
  if (row.required) return 'required';
  if (row.default === undefined) return 'unset';
  return row.secret ? '***' : JSON.stringify(row.default);
}

/** Every flag with what it does, what is allowed and its default, and how else a value can be given. */
export function helpText(definition: SettingsDefinition): string {
  const parts = definition.rows.map((row) => {
    const name = row.flag === undefined ? `${row.key} (in the file only)` : `${row.flag}${row.bare ? '' : ' VALUE'}`;
    return `  ${name}\n      ${row.doc}\n      Allowed: ${row.allowed}. Default: ${defaultText(row)}.\n`;
  });
  const { variablePrefix } = definition;
  return [
    `Settings of the ${definition.processName}: flags over environment over file over defaults.\n\n`,
    ...parts,
    `  --config FILE\n      YAML or JSON with the keys in camelCase; also ${variablePrefix}CONFIG.\n`,
    '  --print-config\n      Shows each value and where it came from, and exits.\n',
    `\nEach flag is also an environment variable: --name-of-flag is ${variablePrefix}NAME_OF_FLAG.\n`,
  ].join('');
}
