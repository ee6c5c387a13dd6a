/** The client commands without a fleet: grammar, contexts, completion, doctor, and what is said when nothing answers. */
import { spawnSync } from 'node:child_process';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { readFileSync, statSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import t from 'tap';
import { makeHome, sophia } from './sophia.ts';

t.test('--help lists every noun and verb of the grammar', async (t) => {
  const { code, stdout } = await sophia(t, makeHome(t), ['--help']);
  t.equal(code, 0);
  for (const word of ['up', 'scheduler', 'agent', 'doctor', 'chat', 'node', 'engine', 'model', 'key', 'explain']) {
    t.match(stdout, new RegExp(`^  ${word}\\b`, 'm'));
  }
});

t.test('an unknown command or a bad option ends with exit code 2 and a sentence', async (t) => {
  const home = makeHome(t);
  for (const args of [['frobnicate'], ['engine', 'show'], ['key', 'create', '--name', 'x', '--roles', 'king']]) {
    const { code, stderr } = await sophia(t, home, args);
    t.equal(code, 2, args.join(' '));
    t.match(stderr, /error: /);
  }
});

t.test('when no scheduler answers, a command says where it looked and what to do, and exits with 1', async (t) => {
  const home = makeHome(t);
  const { code, stderr } = await sophia(t, home, ['--endpoint', '127.0.0.1:1', 'engine', 'list']);
  t.equal(code, 1);
  t.match(stderr, /127\.0\.0\.1:1 cannot be reached/);
  t.match(stderr, /sophia up/);
  const json = await sophia(t, home, ['--endpoint', '127.0.0.1:1', '--json', 'engine', 'list']);
  t.match(JSON.parse(json.stdout.trim().split('\n').at(-1) as string), { error: { code: 'unreachable' } });
});

t.test('a context is kept, used, listed and forgotten, and holds no secret', async (t) => {
  const home = makeHome(t);
  const keyFile = path.join(home.root, 'a.key');
  writeFileSync(keyFile, 'sk-secret-canary\n');
  const set = [
    'context',
    'set',
    'lab',
    '--endpoint',
    '127.0.0.1:1',
    '--http',
    'http://127.0.0.1:2',
    '--key-file',
    keyFile,
  ];
  t.equal((await sophia(t, home, set)).code, 0);
  const listed = await sophia(t, home, ['context', 'list', '--json']);
  t.match(JSON.parse(listed.stdout), { current: 'lab', contexts: { lab: { grpc: '127.0.0.1:1', keyFile } } });
  const file = path.join(home.env['XDG_CONFIG_HOME'] as string, 'sophia-fleet', 'contexts.json');
  t.notMatch(readFileSync(file, 'utf8'), /canary/);
  t.equal(statSync(file).mode & 0o077, 0, 'only the user may read it');
  t.match((await sophia(t, home, ['node', 'list'])).stderr, /127\.0\.0\.1:1/, 'the current context is used');
  t.equal((await sophia(t, home, ['context', 'use', 'nowhere'])).code, 1);
  t.equal((await sophia(t, home, ['--context', 'nowhere', 'node', 'list'])).code, 1);
  t.equal((await sophia(t, home, ['context', 'remove', 'lab'])).code, 0);
  t.same(JSON.parse((await sophia(t, home, ['--json', 'context', 'list'])).stdout), { contexts: {} });
  writeFileSync(file, '{');
  const damaged = await sophia(t, home, ['context', 'list']);
  t.equal(damaged.code, 2);
  t.match(damaged.stderr, /damaged/);
});

t.test('the completion scripts know the verbs, and bash completes with them', async (t) => {
  const home = makeHome(t);
  const { stdout } = await sophia(t, home, ['completion', 'bash']);
  const script = `${stdout}\nCOMP_WORDS=(sophia engine ""); COMP_CWORD=2; _sophia; echo "\${COMPREPLY[@]}"`;
  const bash = spawnSync('bash', ['-c', script], { encoding: 'utf8' });
  t.match(bash.stdout, /list show/);
  for (const shell of ['zsh', 'fish']) t.match((await sophia(t, home, ['completion', shell])).stdout, /revoke/);
  t.equal((await sophia(t, home, ['completion', 'tcsh'])).code, 2);
});

t.test('doctor finds a taken port, a missing model and a driver that hangs, and says what to do', async (t) => {
  const home = makeHome(t);
  const taken = createServer().listen(0, '127.0.0.1');
  t.teardown(() => taken.close());
  await new Promise((resolve) => taken.once('listening', resolve));
  const { port } = taken.address() as AddressInfo;
  const bin = path.join(home.root, 'nvidia-smi');
  writeFileSync(bin, '#!/bin/sh\nexec sleep 60\n', { mode: 0o755 });
  const args = ['doctor', '--json', '--ports', String(port), '--model', path.join(home.root, 'no-model')];
  const { code, stdout } = await sophia(t, home, args, { PATH: `${home.root}:${process.env['PATH']}` });
  t.equal(code, 1);
  const { ok, checks } = JSON.parse(stdout) as {
    ok: boolean;
    checks: { name: string; status: string; next?: string }[];
  };
  t.equal(ok, false);
  const found = Object.fromEntries(checks.map((check) => [check.name, check]));
  t.match(found['node'], { status: 'ok' });
  t.match(found[`port ${port}`], { status: 'warn', next: /--http-port/ });
  t.match(found['model'], { status: 'fail', next: /GGUF/ });
  t.match(found['gpu'], { status: 'fail', next: /reboot/ });
  for (const name of ['vllm', 'disk', 'clock', 'open files']) t.ok(found[name], name);
  const human = await sophia(t, home, ['doctor', '--ports', String(port)]);
  t.match(human.stdout, /What to do:/);
});
