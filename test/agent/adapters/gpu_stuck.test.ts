/**
 * A sensor that hangs in the driver so that not even SIGKILL ends it: the agent starts and stops all the same, and such
 * processes do not pile up. The kernel's uninterruptible sleep is played by a process object that takes no notice.
 */
import { EventEmitter } from 'node:events';
import t from 'tap';
import { createGpuReader } from '../../../agent/adapters/gpu/gpu_sensor.ts';
import { MOST_UNREAPED, type SensorChild, SensorProcess } from '../../../agent/adapters/gpu/sensor_process.ts';
import { systemClock } from '../../../lib/io/system.ts';
import { until } from '../../support/fake_scheduler.ts';
import { OPTIONS } from '../../support/gpu_bench.ts';

class StuckChild extends EventEmitter {
  readonly pid = 1;
  readonly channel = undefined;
  connected = true;
  let = 0;
  send(): boolean {
    return true;
  }
  unref(): void {
    this.let += 1;
  }
  disconnect(): void {
    this.connected = false;
  }
}

const asChild = (child: StuckChild): SensorChild => child as unknown as SensorChild;

t.test('an agent starts and stops beside sensors that cannot be ended, and starts a few of them only', async (t) => {
  const children: StuckChild[] = [];
  const failures: string[] = [];
  const reader = createGpuReader({
    ...OPTIONS,
    reader: 'nvml',
    nvmlLibrary: 'any',
    nvmlTimeoutMs: 50,
    startTimeoutMs: 0,
    random: { next: () => 0, bytes: (count) => new Uint8Array(count) },
    environment: {},
    onFailure: (reason) => failures.push(reason),
    spawn: () => {
      const child = new StuckChild();
      children.push(child);
      return asChild(child);
    },
    kill: () => undefined,
  });
  await reader.start();
  t.match(reader.latest(), { gpus: [], reason: /did not answer within 50 ms/ });
  await until(() => failures.includes('stuck'), 'the bound');
  t.equal(children.length, MOST_UNREAPED);
  t.match(reader.latest().reason, /3 sensor processes hang in the driver and cannot be ended/);
  children[0]?.emit('exit', null, 'SIGKILL');
  await until(() => children.length === MOST_UNREAPED + 1, 'another one, now that one has ended');
  await reader.stop();
  t.ok(
    children.every((child) => child.let > 0),
    'none holds the agent`s own end back',
  );
  t.ok(children.slice(1).every((child) => !child.connected));
});

t.test('answers that are none are ignored, and a late one of an earlier sensor too', async (t) => {
  const children: StuckChild[] = [];
  const sensor = new SensorProcess({
    clock: systemClock,
    environment: {},
    startTimeoutMs: 0,
    onIncident: () => t.fail('nothing was told'),
    spawn: () => {
      const child = new StuckChild();
      children.push(child);
      return asChild(child);
    },
    kill: () => undefined,
  });
  t.same(await sensor.ask({ ask: 'read', groups: ['load'], skip: [] }, 1000), { kind: 'gone' }, 'nothing is open');
  const first = sensor.ask({ ask: 'nvidia-smi' }, 30);
  for (const message of [null, 7, { kind: 'smi' }, { kind: 'smi', id: 99, gpus: [] }, { kind: 'incident', index: -1 }])
    children[0]?.emit('message', message);
  t.same(await first, { kind: 'timeout' });
  t.equal(sensor.unreaped, 1);
  const second = sensor.ask({ ask: 'nvidia-smi' }, 60_000);
  children[0]?.emit('message', { kind: 'smi', id: 2, gpus: [{ index: 9 }] });
  children[0]?.emit('error', new Error('late'));
  children[1]?.emit('message', { kind: 'waiting', id: 1, place: { call: 'x', gpu: 0 } });
  children[1]?.emit('message', { kind: 'started' });
  children[1]?.emit('message', { kind: 'smi', id: 2, gpus: [] });
  t.match(await second, { kind: 'answer', answer: { gpus: [] } });
  const third = sensor.ask({ ask: 'nvidia-smi' }, 60_000);
  children[1]?.emit('exit', 1, null);
  t.same(await third, { kind: 'gone' });
  await sensor.stop();
});

t.test(
  'the start of the process is not held against the driver, and an answer has its deadline from then on',
  async (t) => {
    const child = new StuckChild();
    const sensor = new SensorProcess({
      clock: systemClock,
      environment: {},
      onIncident: () => undefined,
      spawn: () => asChild(child),
      kill: () => undefined,
    });
    const answer = sensor.ask({ ask: 'nvidia-smi' }, 20);
    await new Promise((resolve) => setTimeout(resolve, 100));
    t.equal(sensor.unreaped, 0, 'five deadlines later it may still start');
    child.emit('message', { kind: 'started' });
    t.same(await answer, { kind: 'timeout' });
    t.equal(sensor.unreaped, 1);
  },
);
