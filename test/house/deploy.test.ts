/** The roles under deploy/: every variable is specified, and every setting that they write exists. */
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import t from 'tap';
import { parse } from 'yaml';
import { settings as agentSettings } from '../../agent/config.ts';
import { packageRoot } from '../../lib/io/package_root.ts';
import { PEER_MODEL_SETTINGS } from '../../lib/io/peer_model_settings.ts';
import { settings as schedulerSettings } from '../../scheduler/config.ts';

const ROLES = path.join(packageRoot(), 'deploy', 'ansible', 'roles');

const read = (...parts: string[]): string => readFileSync(path.join(ROLES, ...parts), 'utf8');

interface Specs {
  readonly argument_specs: { readonly main: { readonly options: Readonly<Record<string, { readonly type: string }>> } };
}

const optionsOf = (role: string) =>
  (parse(read(role, 'meta', 'argument_specs.yml')) as Specs).argument_specs.main.options;

t.test('every variable with a default is specified', async (t) => {
  const roles = readdirSync(ROLES);
  t.ok(roles.length >= 5);
  for (const role of roles) {
    const defaults = Object.keys(parse(read(role, 'defaults', 'main.yml')) as object);
    t.same(
      defaults.filter((name) => optionsOf(role)[name] === undefined),
      [],
      role,
    );
  }
});

const TEMPLATES = [
  ['agent', 'agent.yaml.j2', agentSettings],
  ['scheduler', 'scheduler.yaml.j2', schedulerSettings],
] as const;

const written = (role: string, template: string): string[] =>
  [...read(role, 'templates', template).matchAll(/'([A-Za-z]+)':/g)].map(([, name]) => name as string);

for (const [role, template, known] of TEMPLATES)
  t.test(`${template}: settings that exist, and variables that have a default`, async (t) => {
    const names = written(role, template);
    t.ok(names.length > 8);
    t.same(
      names.filter((name) => !known.rows.some(({ key }) => key === name)),
      [],
    );
    const used = [...read(role, 'templates', template).matchAll(new RegExp(`\\b${role}_[a-z_]+`, 'g'))].map(
      ([name]) => name,
    );
    const defaults = parse(read(role, 'defaults', 'main.yml')) as object;
    t.same(
      used.filter((name) => !Object.hasOwn(defaults, name)),
      [],
    );
  });

t.test(
  'agents give no files of models unless the inventory says so, and all that can be said of it has a variable',
  async (t) => {
    const defaults = parse(read('agent', 'defaults', 'main.yml')) as Readonly<Record<string, unknown>>;
    t.equal(defaults['agent_models_serve'], false);
    const names = written('agent', 'agent.yaml.j2');
    t.same(
      Object.keys(PEER_MODEL_SETTINGS).filter((name) => !names.includes(name)),
      [],
    );
    const options = optionsOf('agent');
    const types = Object.keys(options).flatMap((name) =>
      /^agent_models_(serve|from)/.test(name) ? [options[name]?.type] : [],
    );
    t.same(types, ['bool', 'int', 'str', 'str', 'int', 'str', 'bool']);
  },
);
