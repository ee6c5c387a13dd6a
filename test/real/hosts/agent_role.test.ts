/**
 * What the role agent writes and refuses, on this machine and without changing it: its template below a folder of the
 * test's own, read by the agent's own reader of settings, and its preflight as a dry run.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import t from 'tap';
import { settings } from '../../../agent/config.ts';
import { loadSettings } from '../../../lib/io/settings.ts';
import { COLLECTION, partsOf, type Ran, run } from './world.ts';

t.setTimeout(300_000);

const { venv } = partsOf(process.env);
const root = t.testdir({});
const ROLE = path.join(COLLECTION, 'roles', 'agent');
const RENDERED = path.join(root, 'agent.yaml');

const render = path.join(root, 'render.yml');
writeFileSync(
  render,
  JSON.stringify([
    {
      hosts: 'localhost',
      gather_facts: false,
      vars_files: [path.join(ROLE, 'defaults', 'main.yml')],
      tasks: [{ 'ansible.builtin.template': { src: path.join(ROLE, 'templates', 'agent.yaml.j2'), dest: RENDERED } }],
    },
  ]),
);
const preflight = path.join(root, 'preflight.yml');
writeFileSync(preflight, '- hosts: localhost\n  gather_facts: false\n  roles: [agent]\n');

function play(playbook: string, vars: object, ...more: string[]): Promise<Ran> {
  const all = { ansible_python_interpreter: path.join(venv, 'bin', 'python3'), agent_schedulers: ['s:8443'], ...vars };
  const args = ['--inventory', 'localhost,', '--connection', 'local', '--extra-vars', JSON.stringify(all), ...more];
  return run(path.join(venv, 'bin', 'ansible-playbook'), [...args, playbook], {
    cwd: COLLECTION,
    env: { HOME: root, ANSIBLE_CONFIG: path.join(COLLECTION, 'ansible.cfg'), ANSIBLE_NOCOLOR: '1' },
  });
}

async function written(vars: object) {
  const ran = await play(render, vars);
  if (ran.code !== 0) throw new Error(ran.stdout + ran.stderr);
  const text = readFileSync(RENDERED, 'utf8');
  // The unit names the key, which comes by LoadCredential=.
  const argv = ['--config', RENDERED, '--key-file', 'host.key'];
  return { text, config: loadSettings(settings, { argv, env: {}, readFile: () => text }).config };
}

t.test('by itself a host gives no files of models, and nothing is said of it', async (t) => {
  const { text, config } = await written({});
  t.notMatch(text, /models(Serve|From)/);
  t.equal(config.modelsServePort, undefined);
  t.equal(config.modelsFromPeers, true);
});

t.test('a host that gives them says where, and bounds what it gives', async (t) => {
  t.match((await written({ agent_models_serve: true })).config, {
    modelsServePort: 8446,
    modelsServeHost: '0.0.0.0',
    modelsServeUrl: 'https://localhost:8446',
    modelsServeTransfers: 8,
    modelsServeBandwidth: 256 * 2 ** 20,
  });
  const own = {
    agent_models_serve: true,
    agent_models_serve_port: 9000,
    agent_models_serve_url: 'https://10.0.0.7:9000',
    agent_models_serve_bandwidth: '1GiB',
    agent_models_from_peers: false,
    agent_settings: { modelsServeTransfers: 2 },
  };
  t.match((await written(own)).config, {
    modelsServePort: 9000,
    modelsServeUrl: 'https://10.0.0.7:9000',
    modelsServeBandwidth: 2 ** 30,
    modelsServeTransfers: 2,
    modelsFromPeers: false,
  });
});

t.test('what could not work is refused before anything is done', async (t) => {
  const refused = async (vars: object): Promise<Ran> =>
    play(preflight, { agent_models_serve: true, ...vars }, '--check', '--tags', 'preflight');
  const sound = await refused({});
  t.equal(sound.code, 0, sound.code === 0 ? 'the sound one passes' : sound.stdout);
  for (const [vars, why] of [
    [{ agent_models_serve_port: 443 }, /from 1024 to 65535/],
    [{ agent_models_serve_url: 'http://h:8446' }, /without a path/],
    [{ agent_models_serve_url: 'https://h:8446/models' }, /without a path/],
    [{ agent_models_serve_port: 'many' }, /agent_models_serve_port/],
  ] as const) {
    const ran = await refused(vars);
    t.not(ran.code, 0, JSON.stringify(vars));
    t.match(ran.stdout, why);
  }
});
