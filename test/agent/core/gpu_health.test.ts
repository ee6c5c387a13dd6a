/** The health of GPUs as pure steps: Xids and their repeats, conditions, the brake, blindness, release. */
import t from 'tap';
import { CLOCKS, CONDITIONS, noteSlowdown } from '../../../agent/core/gpu_conditions.ts';
import { gpuHealthStep } from '../../../agent/core/gpu_health.ts';
import {
  type GpuHealthContext,
  type GpuHealthEffect,
  type GpuHealthInput,
  type GpuHealthState,
  healthOfGpu,
  NO_GPU_HEALTH,
  quarantinedNow,
} from '../../../agent/core/gpu_health_state.ts';
import { RECOVERY_RULES, TABLE_DATE, TABLE_SOURCE, XID_RULES } from '../../../agent/core/gpu_health_table.ts';
import type { GpuIncident, GpuSample, GpuState } from '../../../agent/ports.ts';

const MINUTE = 60_000;
const START = 1_000_000_000;

/** A host whose time and boots the test moves. */
function host(policy: Partial<GpuHealthContext['policy']> = {}, gpus = 1) {
  let state: GpuHealthState = NO_GPU_HEALTH;
  let nowMs = START;
  let bootId = 'boot-1';
  let elsewhere = { quarantined: 0, total: 0 };
  const step = (input: GpuHealthInput): GpuHealthEffect[] => {
    const context: GpuHealthContext = {
      nowMs,
      startedAtMs: START,
      bootId,
      elsewhere,
      policy: { quarantineShare: 1, blindAfterMs: MINUTE, expectGpus: false, ...policy },
    };
    const result = gpuHealthStep(state, input, context);
    state = result.state;
    return [...result.effects];
  };
  const sampleOf = (list: readonly GpuState[]): GpuSample => ({ source: 'nvml', atMs: nowMs, gpus: list });
  const made = {
    step,
    sample: (...list: readonly GpuState[]) => step({ kind: 'sample', sample: sampleOf(list) }),
    incident: (incident: Partial<GpuIncident>) =>
      step({ kind: 'incident', incident: { index: 0, uuid: 'GPU-0', kind: 'xid', atMs: nowMs, ...incident } }),
    xid: (xid: number) =>
      step({ kind: 'incident', incident: { index: 0, uuid: 'GPU-0', kind: 'xid', xid, atMs: nowMs } }),
    tick: (sample: GpuSample = { source: 'none', atMs: 0, gpus: [] }) => step({ kind: 'tick', sample }),
    release: (index = 0) => step({ kind: 'release', index, actor: 'ann', reason: 'looked at it' }),
    pass: (ms: number) => (nowMs += ms),
    reboot: () => (bootId = `${bootId}+`),
    others: (quarantined: number, total: number) => (elsewhere = { quarantined, total }),
    health: (index = 0) => healthOfGpu(state, index, nowMs, bootId),
    quarantined: () => quarantinedNow(state),
    state: () => state,
  };
  made.sample(...Array.from({ length: gpus }, (_, index) => ({ index, uuid: `GPU-${index}` })));
  return made;
}

const actionsOf = (effects: readonly GpuHealthEffect[]): unknown[] =>
  effects.map((effect) => (effect.kind === 'order' ? effect.order.kind : String(effect.event.action).slice(11)));

t.test('the table has a source, a date and one row per Xid of the catalogue', async (t) => {
  t.match(TABLE_SOURCE, /NVIDIA/);
  t.match(TABLE_DATE, /^\d{4}-\d\d-\d\d$/);
  const first = (xid: number): unknown[] => actionsOf(host().xid(xid));
  for (const xid of [8, 11, 13, 31, 32, 39, 40, 41, 69, 94])
    t.same(first(xid), ['restart_engines', 'RESTART_ENGINE'], `${xid}`);
  for (const xid of [43, 44, 45, 63, 92, 93, 141, 154, 74, 144, 150, 1000]) t.same(first(xid), ['RECORD'], `${xid}`);
  for (const xid of [46, 62, 64, 95, 109, 110, 119, 120, 136, 140, 143, 155, 156, 158])
    t.same(first(xid), ['quarantine', 'RESET'], `${xid}`);
  for (const xid of [48, 159, 171, 172]) t.same(first(xid), ['quarantine', 'DRAIN'], `${xid}`);
  t.same(first(79), ['quarantine', 'REBOOT']);
  t.same(first(157), ['quarantine', 'REPLACE']);
  t.same(first(121), ['REBOOT'], 'reboot when idle: the GPU serves on');
  for (const rule of Object.values(XID_RULES)) t.ok(rule.nvidia !== '' && rule.note.endsWith('.'));
});

t.test('a storm of one Xid is one event, and one that comes back again and again drains', async (t) => {
  const h = host();
  h.xid(31);
  h.pass(1000);
  t.same(h.xid(31), [], 'the same burst');
  h.pass(2 * MINUTE);
  t.same(actionsOf(h.xid(31)), ['restart_engines', 'RESTART_ENGINE']);
  t.equal(h.health(), 'degraded');
  h.pass(2 * MINUTE);
  t.same(actionsOf(h.xid(31)), ['quarantine', 'DRAIN']);
  t.equal(h.health(), 'quarantined');
  h.pass(2 * MINUTE);
  t.same(actionsOf(h.xid(13)), ['RESTART_ENGINE'], 'nothing is left to restart on a quarantined GPU');
  const slow = host();
  for (let times = 0; times < 3; times++) {
    slow.pass(61 * MINUTE);
    t.same(actionsOf(slow.xid(31)), ['restart_engines', 'RESTART_ENGINE'], 'once an hour is no repeat');
  }
});

t.test('a GPU that falls off the bus again is replaced; NVML and the Xid tell one fault', async (t) => {
  const h = host();
  h.xid(79);
  t.same(h.incident({ kind: 'lost' }), [], 'the same fault, seen from here');
  h.pass(10 * MINUTE);
  t.same(actionsOf(h.incident({ kind: 'lost' })), ['REBOOT'], 'it is still lost');
  h.reboot();
  t.same(actionsOf(h.xid(79)), ['REPLACE'], 'again after the reboot');
  t.match(h.quarantined(), [{ action: 'GPU_ACTION_REPLACE', xid: 79, quarantined: true, uuid: 'GPU-0' }]);
  const released = host();
  released.xid(79);
  released.release();
  t.same(actionsOf(released.xid(79)), ['quarantine', 'REPLACE'], 'again after a release');
});

t.test('the same fatal Xid in three boots is for hardware inspection', async (t) => {
  const h = host();
  for (const expected of ['RESET', 'RESET', 'REPLACE']) {
    t.same(actionsOf(h.xid(119)).at(-1), expected);
    h.reboot();
    h.pass(10 * MINUTE);
  }
  t.match(h.quarantined()[0]?.message, /came back after 2 reboots: inspect/);
});

t.test('Xid 121 waits for an idle host, and repeated it is a replacement', async (t) => {
  const h = host();
  h.xid(121);
  t.equal(h.health(), 'degraded');
  h.pass(5 * MINUTE);
  t.same(actionsOf(h.xid(121)), ['quarantine', 'REPLACE']);
});

t.test('a driver that does not answer for a GPU three times in an hour drains it', async (t) => {
  const h = host();
  for (const expected of [['RECORD'], ['RECORD'], ['quarantine', 'DRAIN']]) {
    t.same(actionsOf(h.incident({ kind: 'unavailable' })), expected);
    h.pass(2 * MINUTE);
  }
  t.equal(host().health(), 'ok');
});

t.test('Xid 45 is put down to what came before it', async (t) => {
  const h = host();
  h.xid(119);
  const [told] = h.xid(45);
  t.match(told, { event: { message: 'Xid 45. Channels were removed after another fault. It follows xid 119.' } });
  h.pass(5 * MINUTE);
  const [alone] = h.xid(45);
  t.match(alone, { event: { message: 'Xid 45. Channels were removed after another fault.' } });
});

t.test('the driver asks for a recovery, and it wins over the table, but not over a replacement', async (t) => {
  const gpu = { index: 0, uuid: 'GPU-0' };
  const h = host();
  h.xid(79);
  t.same(actionsOf(h.sample({ ...gpu, recoveryAction: 'reset' })), ['RESET'], 'lower, and still it wins');
  t.match(h.quarantined(), [{ action: 'GPU_ACTION_RESET', kind: 'recovery_action' }]);
  t.same(h.sample({ ...gpu, recoveryAction: 'reset' }), [], 'said once');
  t.same(actionsOf(h.sample({ ...gpu, recoveryAction: 'reboot' })), ['REBOOT'], 'another word is another event');
  h.pass(5 * MINUTE);
  t.match(h.xid(119), [{ event: { message: /asks for this recovery: reboot/ } }]);
  t.same(actionsOf(h.sample({ ...gpu, recoveryAction: 'none' })), ['RECORD']);
  t.equal(h.health(), 'quarantined', 'only a person lifts it');
  const broken = host();
  broken.xid(157);
  t.same(actionsOf(broken.sample({ ...gpu, recoveryAction: 'reset' })), ['REPLACE']);
  for (const [word, action] of Object.entries(RECOVERY_RULES))
    t.match(
      host()
        .sample({ ...gpu, recoveryAction: word })
        .at(-1),
      { event: { action: `GPU_ACTION_${action.toUpperCase()}` } },
    );
  t.same(actionsOf(host().sample({ ...gpu, recoveryAction: 'a word of the future' })), ['RECORD']);
  t.match(host().incident({ kind: 'recovery_action' }), [
    { event: { kind: 'recovery_action', action: 'GPU_ACTION_RECORD' } },
  ]);
});

t.test('each condition begins once, is over once, and an unknown reading changes nothing', async (t) => {
  const gpu = { index: 0, uuid: 'GPU-0' };
  const rows: readonly (readonly [Partial<GpuState>, Partial<GpuState>, string, string])[] = [
    [{ remapFailed: true }, { remapFailed: false }, 'quarantined', 'REPLACE'],
    [{ remapPending: true }, { remapPending: false }, 'quarantined', 'REBOOT'],
    [{ clocksEventReasons: CLOCKS.hwThermal }, { clocksEventReasons: 4 }, 'degraded', 'RECORD'],
    [{ clocksEventReasons: CLOCKS.hwPowerBrake }, { clocksEventReasons: 0 }, 'degraded', 'RECORD'],
    [
      { temperatureCelsius: 90, temperatureLimitCelsius: 87 },
      { temperatureCelsius: 60, temperatureLimitCelsius: 87 },
      'degraded',
      'RECORD',
    ],
    [
      { memoryTemperatureCelsius: 95, memoryTemperatureLimitCelsius: 95 },
      { memoryTemperatureCelsius: 60, memoryTemperatureLimitCelsius: 95 },
      'degraded',
      'RECORD',
    ],
    [{ persistenceMode: false }, { persistenceMode: true }, 'unhealthy', 'RECORD'],
    [{ c2cLinkCount: 10, c2cLinksActive: 9 }, { c2cLinkCount: 10, c2cLinksActive: 10 }, 'degraded', 'RECORD'],
  ];
  for (const [bad, good, health, action] of rows) {
    const h = host();
    const name = JSON.stringify(bad);
    t.same(h.sample({ ...gpu, ...good }), [], name);
    t.equal(actionsOf(h.sample({ ...gpu, ...bad })).at(-1), action, name);
    t.equal(h.health(), health, name);
    t.same(h.sample({ ...gpu, ...bad }), [], 'once');
    t.same(h.sample(gpu), [], 'unknown is not over');
    t.match(h.sample({ ...gpu, ...good }), [{ event: { message: /It is over/ } }], name);
    if (health !== 'quarantined') t.equal(h.health(), 'ok', name);
  }
  t.same(host().sample({ ...gpu, temperatureCelsius: 90, temperatureLimitCelsius: 0 }), [], 'a limit of 0 is none');
  t.equal(CONDITIONS.length, 10);
});

t.test('hardware slowdown in six of ten minutes drains, in five it does not', async (t) => {
  const slow = { index: 0, uuid: 'GPU-0', clocksEventReasons: CLOCKS.hwSlowdown };
  const h = host();
  for (let minute = 0; minute < 5; minute++) {
    t.same(h.sample(slow), []);
    t.same(h.sample(slow), [], 'one a minute');
    h.pass(MINUTE);
  }
  t.same(actionsOf(h.sample(slow)), ['quarantine', 'DRAIN']);
  t.same(noteSlowdown([1, 2], slow, 20 * MINUTE), [20], 'old minutes leave the window');
  t.same(noteSlowdown([], { index: 0 }, 0), []);
});

t.test('counters count from the first reading on; uncorrected errors drain at the third time in a day', async (t) => {
  const h = host();
  const ecc = (eccUncorrectedTotal: number) => actionsOf(h.sample({ index: 0, uuid: 'GPU-0', eccUncorrectedTotal }));
  t.same(ecc(5), []);
  t.same(ecc(5), []);
  t.same(ecc(6), ['RECORD']);
  t.equal(h.health(), 'degraded');
  t.same(ecc(0), [], 'another GPU, or a reset');
  t.same(ecc(2), ['RECORD']);
  t.same(ecc(3), ['quarantine', 'DRAIN']);
  t.same(actionsOf(h.sample({ index: 0, uuid: 'GPU-0', pcieFatalTotal: 1, c2cErrorTotal: 1 })), []);
  t.match(h.sample({ index: 0, uuid: 'GPU-0', pcieFatalTotal: 3, c2cErrorTotal: 1 }), [
    { event: { kind: 'pcie', message: 'PCIe errors that are not correctable: 2 more, 3 in all.' } },
  ]);
});

t.test('the brake keeps a share of the GPUs in service, and lets go when one is released', async (t) => {
  const h = host({ quarantineShare: 0.5 }, 4);
  const hit = (index: number) => h.incident({ index, uuid: `GPU-${index}`, xid: 119 });
  t.same(actionsOf(hit(0)), ['quarantine', 'RESET']);
  t.same(actionsOf(hit(1)), ['quarantine', 'RESET']);
  const [refused] = hit(2);
  t.match(refused, { event: { quarantined: false, action: 'GPU_ACTION_RESET', message: /brake holds/ } });
  t.equal(h.health(2), 'unhealthy');
  h.pass(1000);
  h.incident({ index: 3, uuid: 'GPU-3', xid: 48 });
  t.same(h.tick({ source: 'nvml', atMs: START + 1000, gpus: [] }), [], 'still full');
  t.same(actionsOf(h.release(0)), ['release', 'RECORD', 'quarantine', 'RESET'], 'the one that waited longest is next');
  t.equal(h.health(0), 'ok');
  t.equal(h.health(2), 'quarantined');
  t.same(actionsOf(h.release(3)), ['release', 'RECORD'], 'one that only waits can be let go too');
  t.same(h.release(3), []);
  t.same(
    quarantinedNow(h.state()).map(({ index }) => index),
    [1, 2],
  );
  const one = host({ quarantineShare: 0 });
  t.same(actionsOf(one.xid(119)), ['quarantine', 'RESET'], 'one may always be');
  const fleet = host({ quarantineShare: 0.5 }, 2);
  fleet.others(3, 4);
  t.match(fleet.xid(119), [{ event: { quarantined: false } }], 'others are quarantined already');
  fleet.others(1, 4);
  t.same(actionsOf(fleet.tick()), ['quarantine', 'RESET']);
});

t.test('a host that should see its GPUs and does not is blind, and says so once', async (t) => {
  const h = host({}, 2);
  h.pass(30_000);
  t.same(h.tick(), []);
  h.pass(31_000);
  const effects = h.step({
    kind: 'tick',
    sample: { source: 'nvml', atMs: START, gpus: [{ index: 0 }], reason: 'NVML hangs' },
  });
  t.match(effects, [
    { event: { index: 0, kind: 'blind', action: 'GPU_ACTION_RECORD', message: /has GPUs. NVML hangs\./ } },
    { event: { index: 1, kind: 'blind' } },
  ]);
  t.same(h.tick(), []);
  t.equal(h.health(), 'unhealthy');
  t.match(h.sample({ index: 0, uuid: 'GPU-0' }, { index: 1, uuid: 'GPU-1' }), [{ event: { message: /again/ } }, {}]);
  const bare = host({}, 0);
  bare.pass(10 * MINUTE);
  t.same(bare.tick(), [], 'a host without GPUs is not blind');
  t.equal(bare.health(3), 'ok');
  const declared = host({ expectGpus: true }, 0);
  declared.pass(10 * MINUTE);
  t.match(declared.tick(), [{ event: { index: 0, kind: 'blind' } }]);
  t.equal(declared.health(), 'unhealthy');
});

t.test('a GPU keeps its record when it gets another number, or tells its name only later', async (t) => {
  const h = host({}, 0);
  h.step({ kind: 'incident', incident: { index: 0, kind: 'xid', xid: 119, atMs: START } });
  t.equal(h.quarantined()[0]?.uuid, undefined);
  h.sample({ index: 0, uuid: 'GPU-A' });
  t.match(h.quarantined(), [{ index: 0, uuid: 'GPU-A' }]);
  h.sample({ index: 1, uuid: 'GPU-A' });
  t.equal(h.health(1), 'quarantined');
  t.equal(Object.keys(h.state().gpus).length, 1);
});

t.test('orders follow a quarantined GPU that the driver numbers anew', async (t) => {
  const h = host({}, 2);
  h.xid(119);
  const moved = h.sample({ index: 0, uuid: 'GPU-1' }, { index: 1, uuid: 'GPU-0' });
  t.match(moved, [
    { order: { kind: 'quarantine', gpu: 1, reason: 'moved', message: 'GPU-0 is GPU 1 now and was GPU 0.' } },
    { order: { kind: 'release', gpu: 0 } },
  ]);
  t.same([h.health(0), h.health(1)], ['ok', 'quarantined']);
  h.incident({ index: 0, uuid: 'GPU-1', xid: 119 });
  t.same(h.sample({ index: 0, uuid: 'GPU-0' }, { index: 1, uuid: 'GPU-1' }), [], 'both stay quarantined');
});

t.test('no more than 64 GPUs are remembered, and a quarantine is never forgotten', async (t) => {
  const h = host();
  h.xid(119);
  for (let index = 1; index < 80; index++) {
    h.pass(1);
    h.sample({ index, uuid: `GPU-${index}` });
  }
  t.equal(Object.keys(h.state().gpus).length, 64);
  t.equal(h.health(0), 'quarantined');
});

t.test('an Xid without a number is recorded', async (t) => {
  t.match(host().incident({ kind: 'xid' }), [
    { event: { action: 'GPU_ACTION_RECORD', message: 'This Xid is in no table.' } },
  ]);
});
