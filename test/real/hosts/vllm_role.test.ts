/**
 * The role vllm on this machine, below a folder of the test's own, with a package of that name that only tells its
 * version: an environment per version, a link to the one that is meant, nothing changed by a second run.
 */
import { readlinkSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import t from 'tap';
import { COLLECTION, partsOf, type Ran, run } from './world.ts';

t.setTimeout(600_000);

const { venv } = partsOf(process.env);
const root = t.testdir({ wheels: {} });
const prefix = path.join(root, 'prefix');
const python = path.join(venv, 'bin', 'python3');

/** A wheel is a zip with three notes in it (PEP 427); pip needs no more to install a program. */
const MAKE_WHEEL = `
import sys, zipfile
folder, version = sys.argv[1:]
info = f"vllm-{version}.dist-info"
with zipfile.ZipFile(f"{folder}/vllm-{version}-py3-none-any.whl", "w") as wheel:
    wheel.writestr("vllm_told.py", f"def main():\\n    print('{version}')\\n")
    wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\\nName: vllm\\nVersion: {version}\\n")
    wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
    wheel.writestr(f"{info}/entry_points.txt", "[console_scripts]\\nvllm = vllm_told:main\\n")
    wheel.writestr(f"{info}/RECORD", "")
`;

const playbook = path.join(root, 'play.yml');
writeFileSync(playbook, '- hosts: localhost\n  roles: [vllm]\n');

function apply(vars: object): Promise<Ran> {
  const all = {
    ansible_python_interpreter: python,
    vllm_prefix: prefix,
    vllm_python: python,
    vllm_system_packages: [],
    vllm_pip_arguments: `--no-index --find-links ${path.join(root, 'wheels')}`,
    ...vars,
  };
  const args = ['--inventory', 'localhost,', '--connection', 'local', '--extra-vars', JSON.stringify(all), playbook];
  return run(path.join(venv, 'bin', 'ansible-playbook'), args, {
    cwd: COLLECTION,
    env: { HOME: root, ANSIBLE_CONFIG: path.join(COLLECTION, 'ansible.cfg'), ANSIBLE_NOCOLOR: '1' },
  });
}

for (const version of ['1.0.0', '1.1.0']) {
  const made = await run(python, ['-c', MAKE_WHEEL, path.join(root, 'wheels'), version]);
  if (made.code !== 0) throw new Error(made.stderr);
}
const told = async (): Promise<string> =>
  (await run(path.join(prefix, 'current', 'bin', 'vllm'), ['--version'])).stdout.trim();

t.test('a version is installed in an environment of its own, once', async (t) => {
  const first = await apply({ vllm_version: '1.0.0' });
  if (!t.equal(first.code, 0, 'the role ran')) t.comment(first.stdout + first.stderr);
  t.equal(await told(), '1.0.0');
  t.match((await apply({ vllm_version: '1.0.0' })).stdout, /changed=0 /);
});

t.test('another version, by a requirements file, leaves the first one for a way back', async (t) => {
  const requirements = path.join(root, 'requirements.txt');
  writeFileSync(requirements, 'vllm==1.1.0\n');
  const vars = { vllm_version: '1.1.0', vllm_requirements: requirements };
  const ran = await apply(vars);
  if (!t.equal(ran.code, 0, 'the role ran')) t.comment(ran.stdout + ran.stderr);
  t.equal(await told(), '1.1.0');
  t.match((await apply(vars)).stdout, /changed=0 /);
  t.equal((await apply({ vllm_version: '1.0.0' })).code, 0);
  t.equal(readlinkSync(path.join(prefix, 'current')), path.join(prefix, '1.0.0'));
});

t.test('a version that is not exact is refused, and a host may do without', async (t) => {
  const vague = await apply({ vllm_version: 'latest' });
  t.not(vague.code, 0);
  t.match(vague.stdout + vague.stderr, /no exact version/);
  const without = await apply({ vllm_enabled: false, vllm_version: '9.9.9' });
  t.match(without.stdout, /changed=0 /);
  t.equal(without.code, 0);
});
