/** Engines of replicas over several hosts at their agents: what they are launched with, and members that have no door. */
import t from 'tap';
import { isHeadless, isMember, likelyAddress } from '../../agent/core/gang.ts';
import { buildLaunchPlan, kvSocketsOf } from '../../agent/core/launch_plan.ts';
import type { AcceptedSpec } from '../../agent/core/engine_spec.ts';
import type { EngineSpec } from '../../proto/gen/fleet/v1/EngineSpec.ts';
import { createFixture, type Fixture, SIM_SPEC } from './support/loop_fixture.ts';

const FLAGS = ['--nnodes', '2', '--node-rank', '1', '--master-addr', '10.0.0.1', '--master-port', '29600'];
const MEMBER: EngineSpec = {
  ...SIM_SPEC,
  extraFlags: [...FLAGS, '--headless'],
  gpuIds: [0],
  limits: { ...SIM_SPEC.limits, maxRestarts: 0 },
};

const accepted = (extraFlags: readonly string[]): AcceptedSpec => ({
  name: 'e1',
  kind: 'vllm',
  model: 'm',
  servedModelName: 'm',
  gpuIds: [],
  extraFlags,
  environment: {},
  limits: { startTimeoutMs: 1, drainTimeoutMs: 1, stopTimeoutMs: 1000, maxRestarts: 0 },
  hash: 'h',
});
const HOST = {
  vllmCommand: 'vllm',
  nodeCommand: 'node',
  engineProgramFolder: '/app',
  dataFolder: '/data',
  shortSocketFolder: '/s',
  cpuCores: 2,
  kvEvents: true,
  environment: {},
};

t.test('a member has no door and publishes nothing; each knows the address of its own host', async (t) => {
  const planOf = (flags: readonly string[], gangAddress?: string) =>
    buildLaunchPlan(
      accepted(flags),
      1,
      0,
      { ...HOST, ...(gangAddress === undefined ? {} : { gangAddress }) },
      {
        tries: 0,
        apiKey: 'k',
      },
    );
  const member = planOf([...FLAGS, '--headless'], '10.0.0.2');
  t.same(member.args.slice(0, 4), ['serve', 'm', '--served-model-name', 'm']);
  t.notOk(member.args.includes('--kv-events-config'));
  t.equal(member.environment['VLLM_HOST_IP'], '10.0.0.2');
  const leader = planOf(FLAGS, '10.0.0.1');
  t.same(leader.args.slice(2, 4), ['--uds', '/data/engines/e1/api.sock']);
  t.ok(leader.args.includes('--kv-events-config'));
  t.equal(planOf([], '10.0.0.1').environment['VLLM_HOST_IP'], undefined, 'one by itself is left as it was');
  t.equal(planOf(FLAGS).environment['VLLM_HOST_IP'], undefined);
  t.equal(kvSocketsOf(accepted(['--headless']), member.address, HOST), undefined);
  t.ok(isMember(['--nnodes=2']) && !isMember(['--x']) && isHeadless(['--headless']) && !isHeadless(['--nnodes=2']));
});

t.test('the address of a host is the first one that others may reach', async (t) => {
  const at = (address: string, family: string, internal = false) => ({ address, family, internal });
  const lo = [at('127.0.0.1', 'IPv4', true)];
  t.equal(likelyAddress({ lo, eth0: [at('fd00::2', 'IPv6'), at('10.0.0.2', 'IPv4')] }), '10.0.0.2');
  t.equal(
    likelyAddress({ lo, eth0: [at('fe80::1', 'IPv6'), at('169.254.0.1', 'IPv4'), at('fd00::2', 'IPv6')] }),
    'fd00::2',
  );
  t.equal(likelyAddress({ lo, gone: undefined }), '127.0.0.1');
});

async function started(spec: EngineSpec = MEMBER): Promise<Fixture> {
  const fixture = createFixture({ gpus: [0] });
  await fixture.loop.restore();
  fixture.desire(1, [spec]);
  await fixture.clock.pass(20);
  return fixture;
}

t.test('a member is ready as soon as it runs, is asked nothing, and takes no request', async (t) => {
  const fixture = await started();
  fixture.engine().health = 'refused';
  await fixture.clock.pass(20_000);
  t.match(fixture.latest('e1'), {
    state: 'ENGINE_STATE_READY',
    message: /the leader of its gang answers for it/,
    models: [],
  });
  t.same([fixture.targets, fixture.engine().healthAsks, fixture.engines.length], [[], [], 1]);
  t.same([...(fixture.loop.runtimeOf('e1')?.pids ?? [])].length > 0, true, 'its memory on the GPUs is still counted');
  fixture.desire(2, []);
  await fixture.clock.pass(3000);
  t.same(fixture.engine().signals, ['SIGTERM']);
});

t.test('a member that dies is given up at once: the others would not know a new one', async (t) => {
  const fixture = await started();
  await fixture.clock.pass(1000);
  fixture.engine().end({ exitCode: 0 });
  await fixture.clock.pass(10_000);
  t.match(fixture.latest('e1'), { state: 'ENGINE_STATE_FAILED', reason: 'crashed' });
  t.equal(fixture.engines.length, 1);
});

t.test('a new agent takes a member over as it is', async (t) => {
  const before = await started();
  await before.clock.pass(1000);
  const state = before.saved.at(-1);
  const old = before.engine();
  old.health = 'refused';
  const fixture = createFixture({
    gpus: [0],
    ...(state === undefined ? {} : { state }),
    adoptable: [{ engine: 'e1', incarnation: 1, specHash: old.plan.specHash, plan: old.plan, launched: old }],
  });
  await fixture.loop.restore();
  await fixture.clock.pass(5000);
  t.match(fixture.latest('e1'), { state: 'ENGINE_STATE_READY', reason: 'adopted', pid: old.pid });
  t.same([fixture.engines.length, old.signals, old.healthAsks], [0, [], []]);
});
