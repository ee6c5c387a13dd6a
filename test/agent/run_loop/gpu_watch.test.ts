/** The watch of the GPUs: quarantine outlives the agent, a corrupt or unwritable file is a named mode, release ends it. */
import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import t, { type Test } from 'tap';
import { createGpuHealthStore, readBootId } from '../../../agent/adapters/gpu/health_store.ts';
import type { GpuOrder } from '../../../agent/core/gpu_health_state.ts';
import type { GpuIncident, GpuSample } from '../../../agent/ports.ts';
import { GpuWatch } from '../../../agent/run_loop/gpu_watch.ts';
import type { GpuEvent } from '../../../proto/gen/fleet/v1/GpuEvent.ts';

/** A watch on a reader that the test speaks for, and a clock that the test turns. */
function watchOn(folder: string, expectGpus = false) {
  const told: { incident?: (incident: GpuIncident) => void; sample?: (sample: GpuSample) => void } = {};
  let nowMs = 1_000_000;
  let timers: (() => void)[] = [];
  let latest: GpuSample = { source: 'nvml', atMs: nowMs, gpus: [] };
  const events: GpuEvent[] = [];
  const orders: GpuOrder[] = [];
  const log: string[] = [];
  const write = (fields: object, message: string): void => void log.push(`${message} ${JSON.stringify(fields)}`);
  const watch = new GpuWatch({
    reader: {
      latest: () => latest,
      readProcessesSoon: () => undefined,
      onIncident: (listener) => (told.incident = listener),
      onSample: (listener) => (told.sample = listener),
      start: () => Promise.resolve(),
      stop: () => Promise.resolve(),
    },
    store: createGpuHealthStore(folder),
    clock: {
      wallMs: () => nowMs,
      monotonicMs: () => nowMs,
      after: (_delayMs, task) => {
        timers.push(task);
        return () => (timers = timers.filter((one) => one !== task));
      },
    },
    bootId: 'boot-1',
    policy: { quarantineShare: 1, blindAfterMs: 60_000, expectGpus },
    log: { info: write, warn: write },
    onEvent: (event) => events.push(event),
    onOrder: (order) => orders.push(order),
  });
  return {
    watch,
    events,
    orders,
    log,
    sample(...indexes: readonly number[]) {
      latest = { source: 'nvml', atMs: nowMs, gpus: indexes.map((index) => ({ index, uuid: `GPU-${index}` })) };
      told.sample?.(latest);
    },
    xid: (xid: number, index = 0) => told.incident?.({ index, uuid: `GPU-${index}`, kind: 'xid', xid, atMs: nowMs }),
    tick(ms: number) {
      nowMs += ms;
      for (const task of timers.splice(0)) task();
    },
    timers: () => timers.length,
  };
}

const dataFolder = (t: Test): string => path.join(t.testdir(), 'data');

t.test('a quarantine outlives the agent, and only a release ends it', async (t) => {
  const folder = dataFolder(t);
  const first = watchOn(folder);
  first.watch.start();
  first.sample(0, 1);
  first.xid(119, 1);
  t.match(first.orders, [{ kind: 'quarantine', gpu: 1, reason: 'xid' }]);
  t.match(first.log.join('\n'), /GPU 1: Xid 119/);
  first.watch.stop();
  t.equal(first.timers(), 0);
  first.xid(79, 0);
  t.equal(first.events.length, 1, 'a stopped watch takes nothing');
  const second = watchOn(folder);
  second.watch.start();
  t.match(second.orders, [{ kind: 'quarantine', gpu: 1 }], 'the engines are told again');
  t.match(second.watch.current(), [{ index: 1, xid: 119, action: 'GPU_ACTION_RESET', quarantined: true }]);
  t.equal(second.watch.healthOf(1), 'quarantined');
  t.equal(second.watch.healthOf(0), 'ok');
  t.equal(second.watch.release(9, 'ann', 'x'), 'unknown_gpu');
  t.equal(second.watch.release(0, 'ann', 'x'), 'not_quarantined');
  t.equal(second.watch.release(1, 'ann', 'reset by hand'), 'released');
  t.match(second.orders.at(-1), { kind: 'release', gpu: 1, message: 'Released by ann: reset by hand' });
  t.match(second.events.at(-1), { quarantined: false });
  const third = watchOn(folder);
  third.watch.start();
  t.same(third.orders, []);
  t.same(readdirSync(folder), ['gpu_health.json'], 'no half file is left');
});

t.test('a corrupt file is set aside and named; the agent goes on', async (t) => {
  for (const content of [
    '',
    '{',
    '[]',
    '{"version":2,"gpus":{},"blind":false}',
    '{"version":1,"gpus":{"a":{"index":-1}},"blind":false}',
  ]) {
    const folder = path.join(t.testdir({ data: { 'gpu_health.json': content } }), 'data');
    const made = watchOn(folder);
    made.watch.start();
    t.match(made.watch.degraded, /^gpu_quarantine_unknown: the file is corrupt; it is kept as/, content);
    t.equal(readFileSync(path.join(folder, 'gpu_health.json.corrupt'), 'utf8'), content);
    t.match(made.log[0], /health of the GPUs is not kept/);
    made.sample(0);
    made.xid(119);
    t.equal(made.watch.degraded, undefined, 'a new file has been written');
    t.ok(existsSync(path.join(folder, 'gpu_health.json')));
  }
});

t.test('a folder that cannot be written is named, and written to as soon as it can be', async (t) => {
  const folder = path.join(t.testdir({ data: 'a file where the folder should be' }), 'data');
  const made = watchOn(folder);
  made.watch.start();
  t.match(made.watch.degraded, /^gpu_quarantine_unknown: the file cannot be read \(ENOTDIR\)/);
  made.sample(0);
  made.xid(119);
  t.match(made.watch.degraded, /^gpu_quarantine_unsaved: the file cannot be written \(EEXIST\)/);
  t.equal(made.watch.healthOf(0), 'quarantined', 'it holds all the same');
  made.tick(5000);
  t.equal(made.log.filter((line) => line.includes('gpu_quarantine_unsaved')).length, 1, 'said once');
  rmSync(folder);
  made.tick(5000);
  t.equal(made.watch.degraded, undefined);
  t.match(readFileSync(path.join(folder, 'gpu_health.json'), 'utf8'), /GPU-0/);
});

t.test('a corrupt file in a folder that cannot be changed stays, and is named', async (t) => {
  const folder = path.join(t.testdir({ data: { 'gpu_health.json': '{' } }), 'data');
  mkdirSync(path.join(folder, 'gpu_health.json.corrupt'));
  writeFileSync(path.join(folder, 'gpu_health.json.corrupt', 'x'), '');
  chmodSync(folder, 0o700);
  const made = watchOn(folder);
  made.watch.start();
  t.match(
    made.watch.degraded,
    /corrupt; it could not be set aside \(EISDIR|corrupt; it could not be set aside \(ENOTEMPTY/,
  );
});

t.test('a host that once had GPUs and sees none is blind', async (t) => {
  const folder = dataFolder(t);
  const made = watchOn(folder);
  made.watch.start();
  made.sample(0);
  made.tick(61_000);
  t.match(made.events, [{ kind: 'blind', index: 0 }]);
  t.equal(made.watch.blind, true);
  const later = watchOn(folder);
  later.watch.start();
  t.equal(later.watch.blind, true, 'known from before');
  const declared = watchOn(dataFolder(t), true);
  declared.watch.start();
  declared.tick(61_000);
  t.match(declared.events, [{ kind: 'blind', index: 0 }]);
});

t.test('the boot has a name where the kernel tells one', async (t) => {
  const folder = t.testdir({ boot_id: 'a-b-c\n' });
  t.equal(readBootId(path.join(folder, 'boot_id')), 'a-b-c');
  t.equal(readBootId(path.join(folder, 'none')), '');
});
