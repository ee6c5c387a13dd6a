/**
 * Writes docs/CONFIG.md from the tables of settings that each process declares, so that every key is there with its
 * flag, its variable, what is allowed and its default.
 */
import type { SettingRow, SettingsDefinition } from '../../lib/io/settings.ts';
import { defaultText } from '../../lib/io/settings_text.ts';

/** `agent.nodeName` to words such as `the host name`. */
export type DefaultWords = Readonly<Record<string, string>>;

function cell(text: string): string {
  return text.replaceAll('|', '\\|');
}

function defaultCell(row: SettingRow, words: string | undefined): string {
  if (words !== undefined) return cell(words);
  const text = cell(defaultText(row));
  return row.required || row.default === undefined ? text : `\`${text}\``;
}

function settingRow(row: SettingRow, words: string | undefined): string {
  const names = row.flag === undefined ? 'file only' : `\`${row.flag}\`<br>\`${row.variable}\``;
  const doc = row.secret
    ? `${row.doc} Secret: give it by the environment or the file, as flags are seen in \`ps\`.`
    : row.doc;
  return `| \`${row.key}\` | ${names} | ${cell(row.allowed)} | ${defaultCell(row, words)} | ${cell(doc)} |\n`;
}

function section(definition: SettingsDefinition, words: DefaultWords): string {
  return [
    `\n## ${definition.processName}\n\n`,
    `The file is named by \`--config FILE\` or \`${definition.variablePrefix}CONFIG\`.\n\n`,
    '| key | flag and variable | allowed | default | what it decides |\n',
    '|---|---|---|---|---|\n',
    ...definition.rows.map((row) => settingRow(row, words[`${definition.processName}.${row.key}`])),
  ].join('');
}

/** The whole page, one section per process. `words` stands for defaults that differ from machine to machine. */
export function configPage(definitions: readonly SettingsDefinition[], words: DefaultWords = {}): string {
  return [
    '# Configuration\n\n',
    'Generated from the `config.ts` of each process by `npm run generate`; do not edit.\n\n',
    'A value is taken from the first of these places that names it: flag, environment variable, file (YAML or JSON, keys\n',
    'in camelCase), default. An unknown name or a value that is not allowed stops the process with exit code 2 and one\n',
    'sentence that says where it came from and what is allowed. `--print-config` shows each value with its source, secrets\n',
    'masked; `--help` lists the flags. Booleans are `true` or `false`, as a flag also `--name` and `--no-name`; lists are\n',
    'separated by commas; durations are milliseconds or `250ms`, `5s`, `2m`, `1h`, `7d`; sizes are bytes or `512KiB`,\n',
    '`8MiB`, `1GiB`.\n',
    ...definitions.map((definition) => section(definition, words)),
  ].join('');
}
