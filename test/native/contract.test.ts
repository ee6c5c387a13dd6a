/** The seam to native code: the addon is there, absent or broken; what it refuses is a coded error; sd_notify arrives. */
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import t from 'tap';
import { CodedError } from '../../lib/errors.ts';
import { packageRoot } from '../../lib/io/package_root.ts';
import { addonPath, loadNative, type Native, NVML_CALLS, NvmlError } from '../../native/contract.ts';
import { compile, createFakeNvml, ensureAddon, gh200 } from '../../bench/gpu/fake_nvml.ts';
import { removeFolder, until } from '../support/fake_scheduler.ts';

function native(): Native {
  const load = loadNative(ensureAddon());
  if (load.kind !== 'loaded') throw new Error('The addon was just built.');
  return load.native;
}

t.test('a package without the addon is a value, a broken addon an error', async (t) => {
  const folder = t.testdir({ 'sophia.node': 'this is no library' });
  t.match(addonPath(), /native\/out\/\w+-\w+\/sophia\.node$/);
  const absent = path.join(folder, 'absent.node');
  t.same(loadNative(absent), { kind: 'absent', path: absent });
  t.throws(() => loadNative(path.join(folder, 'sophia.node')), { code: 'native_unusable' });
});

t.test('a library that is missing or no NVML is told with the loader`s words', async (t) => {
  const addon = native();
  const folder = t.testdir();
  const missing: unknown = await addon.open(path.join(folder, 'none.so')).catch((error: unknown) => error);
  t.ok(missing instanceof NvmlError);
  t.match(missing, { code: 'gpu_unreadable', failure: 'library_missing', message: /none\.so/ });
  writeFileSync(path.join(folder, 'text.so'), 'text');
  await t.rejects(addon.open(path.join(folder, 'text.so')), { code: 'gpu_unreadable', message: /text\.so/ });
  await t.rejects(addon.open(''), { code: 'native_unusable', message: /path of the library/ });
  t.equal(addon.where(), undefined, 'nothing is being asked');
});

t.test('wrong arguments are refused and crash nothing', async (t) => {
  const addon = native();
  const wrong = addon as unknown as Record<'open' | 'processes' | 'watch', (value: unknown) => Promise<unknown>>;
  await t.rejects(wrong.open(7), { code: 'native_unusable' });
  await t.rejects(wrong.open('x'.repeat(5000)), { code: 'native_unusable' });
  await t.rejects(wrong.processes('one'), { code: 'native_unusable' });
  await t.rejects(wrong.watch('no function'), { code: 'native_unusable' });
  const many = Array.from({ length: 65 }, () => ({ id: 1, scope: 0 }));
  await t.rejects(addon.read(0, [], many), { code: 'native_unusable', message: /read takes/ });
  t.throws(() => addon.notify('relative', 'READY=1'), CodedError);
});

t.test('a GPU is read, one that does not exist is refused, each call with its status', async (t) => {
  const addon = native();
  const folder = mkdtempSync(path.join(tmpdir(), 'fleet-nvml-'));
  // The thread that watches writes there until the process ends.
  t.teardown(() => rmSync(folder, { recursive: true, force: true, maxRetries: 10 }));
  const nvml = createFakeNvml(folder);
  nvml.play(gh200(0), `process gpu=0 pid=${process.pid} memory=-1`, 'field gpu=0 id=186 value=5');
  const { gpus, driverVersion } = await addon.open(nvml.library);
  t.match(gpus, [{ index: 0, status: 0, uuid: 'GPU-0' }]);
  t.equal(driverVersion, '580.95.05');
  const reading = await addon.read(0, NVML_CALLS, [
    { id: 186, scope: 0 },
    { id: 1, scope: 0 },
  ]);
  t.equal(reading.calls.length, NVML_CALLS.length);
  t.same(reading.calls[NVML_CALLS.indexOf('temperature')], { status: 0, values: [31, 0, 0, 0] });
  t.equal(reading.calls[NVML_CALLS.indexOf('numaNode')]?.status, 3, 'not supported');
  t.same(reading.fields, [
    { status: 0, values: [5] },
    { status: 3, values: [0] },
  ]);
  t.same(await addon.processes(0), [{ pid: process.pid }], 'memory that the driver does not tell is unknown');
  await t.rejects(addon.processes(7), NvmlError);
  const none = await addon.read(7, ['memory'], [{ id: 1, scope: 0 }]);
  t.not(none.calls[0]?.status, 0);
  t.not(none.fields[0]?.status, 0);
  const events: number[][] = [];
  await addon.watch((...event) => events.push(event));
  await t.rejects(
    addon.watch(() => undefined),
    { code: 'native_unusable' },
    'once per process',
  );
  nvml.play(gh200(0), 'event seq=1 gpu=0 data=79');
  await until(() => events.length > 0, 'the event');
  t.same(events, [[0, 8, 79]]);
});

t.test('sd_notify reaches a socket by path and by abstract name', async (t) => {
  const addon = native();
  const folder = t.testdir();
  const receiver = path.join(folder, 'receiver');
  compile(receiver, [path.join(packageRoot(), 'test/native/notify_receiver.c')]);
  const listen = async (name: string) => {
    const child = spawn(receiver, [name], { stdio: ['ignore', 'pipe', 'inherit'] });
    t.teardown(() => void child.kill('SIGKILL'));
    let heard = '';
    child.stdout.on('data', (data) => (heard += String(data)));
    await until(() => heard.startsWith('bound\n'), 'the socket');
    return { heard: () => heard.slice('bound\n'.length) };
  };
  const short = mkdtempSync(path.join(tmpdir(), 'n-'));
  t.teardown(() => removeFolder(short));
  for (const name of [path.join(short, 's'), `@sophia-test-${process.pid}`]) {
    const socket = await listen(name);
    addon.notify(name, 'READY=1\nSTATUS=two engines');
    await until(() => socket.heard() !== '', 'the datagram');
    t.equal(socket.heard(), 'READY=1\nSTATUS=two engines', name);
  }
  for (const [name, why] of [
    ['/no-such-folder/socket', /No such file/],
    ['@', /Invalid argument/],
    [`/${'x'.repeat(200)}`, /too long/],
  ] as const)
    t.throws(() => addon.notify(name, 'READY=1'), { code: 'native_unusable', message: why });
});
