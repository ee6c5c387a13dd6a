/** What an engine is started with, and what is told about it. */
import t from 'tap';
import { beginLife } from '../../../agent/core/lifecycle/change.ts';
import type { AcceptedSpec } from '../../../agent/core/engine_spec.ts';
import {
  buildLaunchPlan,
  chooseAddress,
  kvSocketsOf,
  type LaunchHost,
  lifeMark,
} from '../../../agent/core/launch_plan.ts';
import { addressText, differs, toEngineEvent } from '../../../agent/core/report.ts';
import { startupProgress } from '../../../agent/core/startup_log.ts';

const HOST: LaunchHost = {
  vllmCommand: 'vllm',
  nodeCommand: '/usr/bin/node',
  engineProgramFolder: '/app/agent/engines',
  dataFolder: '/data',
  shortSocketFolder: '/tmp/short',
  cpuCores: 8,
  environment: {
    PATH: '/bin',
    LD_LIBRARY_PATH: '/usr/local/nvidia/lib64',
    HOME: '/home/x',
    AWS_SECRET_ACCESS_KEY: 'canary',
    SOPHIA_AGENT_KEY_FILE: 'canary',
    HF_HUB_OFFLINE: '1',
  },
};
const SPEC: AcceptedSpec = {
  name: 'e1',
  kind: 'vllm',
  model: 'org/model',
  servedModelName: 'served',
  gpuIds: [1, 3],
  extraFlags: ['--dtype', 'float32'],
  environment: { VLLM_CPU_KVCACHE_SPACE: '1', HOME: '/other' },
  limits: { startTimeoutMs: 1, drainTimeoutMs: 1, stopTimeoutMs: 15_000, maxRestarts: 1 },
  hash: 'h',
};

const CHOICE = { tries: 0, apiKey: 'secret' };

t.test('vLLM gets its flags and a socket of its own', async (t) => {
  const plan = buildLaunchPlan(SPEC, 4, 0, HOST, CHOICE);
  t.equal(plan.command, 'vllm');
  t.same(plan.args, [
    'serve',
    'org/model',
    '--uds',
    '/data/engines/e1/api.sock',
    '--served-model-name',
    'served',
    '--shutdown-timeout',
    '14',
    '--enable-prompt-tokens-details',
    '--dtype',
    'float32',
  ]);
  t.match(plan, {
    engine: 'e1',
    incarnation: 4,
    specHash: 'h',
    outputFile: '/data/engines/e1/output.log',
    workingDirectory: '/data/engines/e1',
  });
});

t.test('vLLM is told to publish its cache on private sockets, where it can', async (t) => {
  const host = { ...HOST, kvEvents: true };
  const own = { eventsPath: '/data/engines/e1/kv.sock', replayPath: '/data/engines/e1/kvr.sock' };
  const address = { kind: 'unix', path: '/data/engines/e1/api.sock' } as const;
  const { args } = buildLaunchPlan(SPEC, 4, 0, host, CHOICE);
  t.same(JSON.parse(args[args.indexOf('--kv-events-config') + 1] ?? ''), {
    enable_kv_cache_events: true,
    publisher: 'zmq',
    endpoint: `ipc://${own.eventsPath}`,
    replay_endpoint: `ipc://${own.replayPath}`,
  });
  t.same(kvSocketsOf(SPEC, address, host), own);
  t.equal(kvSocketsOf(SPEC, address, HOST), undefined);
  t.equal(kvSocketsOf({ ...SPEC, kind: 'llama' }, address, host), undefined);
  for (const flag of ['--data-parallel-size=2', '-dp', '--no-enable-prefix-caching']) {
    t.equal(kvSocketsOf({ ...SPEC, extraFlags: [flag] }, address, host), undefined, flag);
  }
  const deep = { ...host, dataFolder: `/${'d'.repeat(100)}` };
  t.equal(kvSocketsOf(SPEC, address, deep), undefined, 'nobody makes the short folder for these alone');
  const short = chooseAddress(SPEC, deep, CHOICE);
  t.match(kvSocketsOf(SPEC, short, deep), { eventsPath: /^\/tmp\/short\/\w+-kv.sock$/, replayPath: /-kvr.sock$/ });
});

t.test('a specification that says itself where events go is followed there', async (t) => {
  const address = { kind: 'unix', path: '/data/engines/e1/api.sock' } as const;
  const config = { enable_kv_cache_events: true, endpoint: 'ipc:///run/a.sock', replay_endpoint: 'ipc:///run/b.sock' };
  const withFlags = (...extraFlags: string[]) => ({ ...SPEC, kind: 'sim', extraFlags }) as const;
  const of = (value: unknown) => withFlags('--kv-events-config', JSON.stringify(value));
  t.same(kvSocketsOf(of(config), address, HOST), { eventsPath: '/run/a.sock', replayPath: '/run/b.sock' });
  t.same(
    kvSocketsOf(withFlags(`--kv-events-config=${JSON.stringify(config)}`), address, HOST)?.eventsPath,
    '/run/a.sock',
  );
  t.same(kvSocketsOf(of({ ...config, replay_endpoint: null }), address, HOST)?.replayPath, '/run/a.sock.replay');
  t.equal(kvSocketsOf(of({ ...config, enable_kv_cache_events: false }), address, HOST), undefined);
  t.equal(kvSocketsOf(of({ ...config, endpoint: 'tcp://*:1' }), address, HOST), undefined);
  t.equal(kvSocketsOf(of(null), address, HOST), undefined);
  t.equal(kvSocketsOf(withFlags('--kv-events-config', '{'), address, HOST), undefined);
  const { args } = buildLaunchPlan({ ...of(config), kind: 'vllm' }, 4, 0, { ...HOST, kvEvents: true }, CHOICE);
  t.equal(args.filter((arg) => arg.startsWith('--kv-events-config')).length, 1);
});

t.test("nothing of the agent's environment is inherited but the list", async (t) => {
  t.same(buildLaunchPlan(SPEC, 4, 0, HOST, CHOICE).environment, {
    PATH: '/bin',
    LD_LIBRARY_PATH: '/usr/local/nvidia/lib64',
    HOME: '/other',
    HF_HUB_OFFLINE: '1',
    VLLM_NO_USAGE_STATS: '1',
    DO_NOT_TRACK: '1',
    SPT_NOENV: '1',
    CUDA_VISIBLE_DEVICES: '1,3',
    CUDA_DEVICE_ORDER: 'PCI_BUS_ID',
    VLLM_CPU_KVCACHE_SPACE: '1',
    SOPHIA_ENGINE_LIFE: lifeMark('/data/engines', 'e1', 4),
  });
  t.notMatch(JSON.stringify(buildLaunchPlan({ ...SPEC, kind: 'sim', gpuIds: [] }, 1, 0, HOST, CHOICE)), /canary|CUDA/);
});

t.test('engines of our own are run by Node, llama with its share of the cores', async (t) => {
  const sim = buildLaunchPlan({ ...SPEC, kind: 'sim', tcpPort: 9000 }, 1, 0, HOST, CHOICE);
  t.equal(sim.command, '/usr/bin/node');
  t.same(sim.args.slice(0, 7), [
    '/app/agent/engines/sim/main.js',
    '--model',
    'org/model',
    '--host',
    '127.0.0.1',
    '--port',
    '9000',
  ]);
  const threads = (engines: number, flags: readonly string[] = []): string | undefined => {
    const { args } = buildLaunchPlan({ ...SPEC, kind: 'llama', extraFlags: flags }, 1, engines, HOST, CHOICE);
    return args[args.indexOf('--threads') + 1];
  };
  t.equal(threads(1), '8');
  t.equal(threads(3), '2');
  t.equal(threads(100), '1');
  t.equal(threads(0), '8');
  t.equal(threads(1, ['--threads', '5']), '5');
});

t.test('a socket path that the system could not take is replaced by a short one', async (t) => {
  const deep = { ...HOST, dataFolder: `/${'d'.repeat(120)}` };
  t.match(chooseAddress(SPEC, deep, CHOICE), { kind: 'unix', path: /^\/tmp\/short\/[0-9a-f]{16}\.sock$/ });
  t.same(chooseAddress({ ...SPEC, unixSocket: '/data/x' }, deep, CHOICE), { kind: 'unix', path: '/data/x' });
  t.equal(addressText({ kind: 'unix', path: '/a' }), 'unix:/a');
  t.equal(addressText({ kind: 'tcp', host: 'h', port: 1 }), 'tcp:h:1');
});

t.test('an address that was found taken is not chosen again, and a port has a secret', async (t) => {
  t.match(chooseAddress(SPEC, HOST, { tries: 1, apiKey: '' }), { path: '/data/engines/e1/api-1.sock' });
  t.match(chooseAddress(SPEC, HOST, { tries: 16, apiKey: '' }), { path: '/data/engines/e1/api.sock' });
  const port = buildLaunchPlan({ ...SPEC, tcpPort: 9000 }, 1, 0, HOST, CHOICE);
  t.match(port, { address: { port: 9000, apiKey: 'secret' }, environment: { VLLM_API_KEY: 'secret' } });
  t.notMatch(port.args.join(' '), /secret/);
  t.notMatch(addressText(port.address), /secret/);
  t.equal(
    buildLaunchPlan({ ...SPEC, kind: 'llama', tcpPort: 9000 }, 1, 0, HOST, CHOICE).environment['VLLM_API_KEY'],
    undefined,
  );
});

t.test('an event says what is known and leaves out what is not', async (t) => {
  const life = beginLife(SPEC, 7, 0);
  t.same(toEngineEvent(life, 99, undefined), {
    engine: 'e1',
    incarnation: 0,
    state: 'ENGINE_STATE_PENDING',
    reason: 'wanted',
    message: life.message,
    atMs: 99,
    kind: 'ENGINE_KIND_VLLM',
    models: [],
    restarts: 0,
    generation: 7,
    checks: [],
    cause: '',
    advice: '',
    adopted: false,
  });
  const full = toEngineEvent(
    {
      ...life,
      spec: { ...SPEC, kind: 'sim' },
      exitCode: 1,
      signal: 'SIGKILL',
      progressRatio: 0.5,
      pid: 3,
      models: [
        { id: 'm', simulated: false, contextTokens: 10, createdS: 5, ownedBy: 'x' },
        { id: 'n', simulated: false },
      ],
    },
    99,
    { kind: 'unix', path: '/s' },
  );
  t.match(full, { exitCode: 1, signal: 'SIGKILL', progressRatio: 0.5, pid: 3, address: 'unix:/s' });
  t.match(full.models, [
    {
      id: 'm',
      simulated: true,
      contextTokens: 10,
      createdS: 5,
      ownedBy: 'x',
      capabilities: ['chat', 'completions', 'embeddings'],
    },
    { id: 'n' },
  ]);
});

t.test('only what schedulers are told makes a difference', async (t) => {
  const life = beginLife(SPEC, 7, 0);
  t.equal(differs(undefined, life), true);
  t.equal(differs(life, { ...life, sinceMs: 5, timerAtMs: 9 }), false);
  for (const change of [
    { status: 'ready' as const },
    { incarnation: 2 },
    { reason: 'x' },
    { message: 'x' },
    { progressRatio: 1 },
    { generation: 8 },
    { pid: 9 },
  ]) {
    t.equal(differs(life, { ...life, ...change }), true, JSON.stringify(change));
  }
});

t.test('the start-up log tells progress', async (t) => {
  t.equal(startupProgress('nothing yet'), undefined);
  t.match(startupProgress('Initializing a V1 LLM engine\nLoading weights took 3 s'), { ratio: 0.4 });
  t.match(startupProgress('INFO: Application startup complete.'), { ratio: 1 });
});
