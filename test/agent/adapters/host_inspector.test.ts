/** The look at a real host, and the dump of a process that stands still. */
import { spawn } from 'node:child_process';
import { mkdtempSync } from 'node:fs';
import { chmod, mkdir, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import http from 'node:http';
import net from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import t from 'tap';
import { createEngineDumper } from '../../../agent/adapters/engine_dump.ts';
import { createHostInspector } from '../../../agent/adapters/preflight_facts.ts';
import type { PreflightQuestion } from '../../../agent/ports.ts';
import type { Logger } from '../../../lib/io/logger.ts';

const folder = mkdtempSync(path.join(tmpdir(), 'fleet-host-'));
t.teardown(() => rm(folder, { recursive: true, force: true }));
const inspector = createHostInspector(`${folder}/bin:/usr/bin:/bin`);

const QUESTION: PreflightQuestion = {
  address: { kind: 'unix', path: path.join(folder, 'none.sock') },
  program: 'sh',
  model: path.join(folder, 'models', 'good'),
  mayBeHub: true,
  modelRoots: [],
  cacheFolder: folder,
};

async function look(change: Partial<PreflightQuestion> = {}) {
  return inspector.preflight({ ...QUESTION, ...change });
}

t.before(async () => {
  await mkdir(path.join(folder, 'models', 'good'), { recursive: true });
  await mkdir(path.join(folder, 'models', 'empty'));
  await mkdir(path.join(folder, 'elsewhere'));
  await writeFile(path.join(folder, 'models', 'good', 'config.json'), '{}');
  await writeFile(path.join(folder, 'models', 'good', 'model.safetensors'), '12345');
  await writeFile(path.join(folder, 'models', 'w.gguf'), 'GGUF....');
  await writeFile(path.join(folder, 'models', 'text'), 'no');
  await writeFile(path.join(folder, 'elsewhere', 'w.gguf'), 'GGUF....');
  await symlink(path.join(folder, 'elsewhere', 'w.gguf'), path.join(folder, 'models', 'way-out.gguf'));
  await symlink('self', path.join(folder, 'models', 'self'));
});

t.test('memory, disk and programs of this host', async (t) => {
  const facts = await look();
  t.match(facts, { address: 'free', program: 'found', model: { kind: 'folder', bytes: 5 } });
  t.ok((facts.hostMemoryAvailableBytes as number) > 0);
  t.ok((facts.cacheDiskFreeBytes as number) > 0);
  t.match(await look({ program: 'no-such-program' }), { program: 'missing' });
  t.match(await look({ program: '/bin/sh' }), { program: 'found' });
  t.equal((await look({ cacheFolder: '/nonexistent' })).cacheDiskFreeBytes, undefined);
  t.match(await createHostInspector(undefined).preflight(QUESTION), { program: 'missing' });
  t.type(await inspector.oomKills(), 'number');
});

t.test('a model is a folder with a description, or a GGUF file, within the roots also behind links', async (t) => {
  const kind = async (model: string, modelRoots: readonly string[] = [], mayBeHub = true) =>
    (await look({ model, modelRoots, mayBeHub })).model?.kind;
  const roots = [path.join(folder, 'models')];
  t.equal(await kind('org/model'), 'hub');
  t.equal(await kind('relative.gguf', [], false), 'missing');
  t.equal(await kind(`${folder}/models/w.gguf`, roots), 'gguf');
  t.equal(await kind(`${folder}/models/good`, roots), 'folder');
  t.equal(await kind(`${folder}/models/good`, ['/nonexistent']), 'outside');
  t.equal(await kind(`${folder}/models/way-out.gguf`, roots), 'outside');
  t.equal(await kind(`${folder}/models/way-out.gguf`), 'gguf');
  t.equal(await kind(`${folder}/models/text`), 'not_a_model');
  t.equal(await kind(`${folder}/models/empty`), 'not_a_model');
  t.equal(await kind(`${folder}/models/none`), 'missing');
  t.equal(await kind(`${folder}/models/text/x`), 'missing');
  t.match((await look({ model: `${folder}/models/self` })).model, { kind: 'unreadable', why: 'ELOOP' });
  t.equal(await inspector.confinedPath(`${folder}/models/way-out.gguf`, roots), undefined);
  t.equal(await inspector.confinedPath(`${folder}/none`, roots), undefined);
  t.match(await inspector.confinedPath(`${folder}/models/w.gguf`, roots), /models\/w\.gguf$/);
});

t.test('an address is taken when somebody listens there, a stale socket file is free', async (t) => {
  const socket = path.join(folder, 'x.sock');
  const server = net.createServer();
  await new Promise<void>((resolve) => server.listen(socket, resolve));
  t.match(await look({ address: { kind: 'unix', path: socket } }), { address: 'taken' });
  await new Promise((resolve) => server.close(resolve));
  await writeFile(socket, '');
  t.match(await look({ address: { kind: 'unix', path: socket } }), { address: 'free' });
  const tcp = net.createServer();
  await new Promise<void>((resolve) => tcp.listen(0, '127.0.0.1', resolve));
  const { port } = tcp.address() as net.AddressInfo;
  t.match(await look({ address: { kind: 'tcp', host: '127.0.0.1', port } }), { address: 'taken' });
  await new Promise((resolve) => tcp.close(resolve));
  t.match(await look({ address: { kind: 'tcp', host: '127.0.0.1', port } }), { address: 'free' });
});

const silent = { warn: () => undefined } as unknown as Logger;

t.test('a process that stands still is written down with its place in the kernel', async (t) => {
  const child = spawn('sleep', ['1000'], { stdio: 'ignore' });
  t.teardown(() => child.kill('SIGKILL'));
  const pid = child.pid as number;
  process.kill(pid, 'SIGSTOP');
  const server = http.createServer((_request, response) => response.end('vllm:num_requests_running 3\n'));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.teardown(() => server.close());
  const { port } = server.address() as net.AddressInfo;
  // A py-spy of our own: what it prints must be in the file.
  await mkdir(path.join(folder, 'bin'));
  await writeFile(path.join(folder, 'bin', 'py-spy'), '#!/bin/sh\necho "stacks of $*"\n');
  await chmod(path.join(folder, 'bin', 'py-spy'), 0o755);
  const request = {
    engine: 'e1',
    incarnation: 3,
    folder: path.join(folder, 'e1'),
    pids: [pid, 99_999_999],
    address: { kind: 'tcp', host: '127.0.0.1', port } as const,
    why: 'No progress.',
    lastLines: 'the last words',
  };
  const dumper = createEngineDumper(`${folder}/bin:/bin:/usr/bin`, silent);
  const file = await dumper.dump(request);
  const text = await readFile(file as string, 'utf8');
  for (const part of [
    'No progress.',
    'the last words',
    'vllm:num_requests_running 3',
    `== process ${pid}: sleep 1000`,
    'State:\tT (stopped)',
    `stacks of dump --nonblocking --pid ${pid}`,
    'ENOENT',
  ])
    t.ok(text.includes(part), part);
  for (let incarnation = 4; incarnation < 10; incarnation++) await dumper.dump({ ...request, incarnation, pids: [] });
  t.same(await readdir(path.join(folder, 'e1', 'dumps')), [
    '00000006.txt',
    '00000007.txt',
    '00000008.txt',
    '00000009.txt',
  ]);
});

t.test('a dump without py-spy, metrics or a folder says so or gives none', async (t) => {
  const request = {
    engine: 'e1',
    incarnation: 1,
    folder: path.join(folder, 'e2'),
    pids: [process.pid],
    address: { kind: 'unix', path: path.join(folder, 'none.sock') } as const,
    why: 'w',
    lastLines: '',
  };
  const file = await createEngineDumper('/nonexistent', silent).dump(request);
  const text = await readFile(file as string, 'utf8');
  t.match(text, /py-spy is not installed/);
  t.match(text, /metrics\nnone/);
  const nowhere = path.join(folder, 'models', 'text');
  t.equal(await createEngineDumper(undefined, silent).dump({ ...request, folder: nowhere }), undefined);
});
