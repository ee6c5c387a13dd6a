/** The settings of a scheduler: what is asked for, what is refused and with which words. */
import t from 'tap';
import { loadSettings } from '../../lib/io/settings.ts';
import { settings } from '../../scheduler/config.ts';

const FILES = ['--fleet-cert-file', 'c', '--fleet-key-file', 'k', '--fleet-ca-file', 'a'];

function load(file: object | undefined, argv: readonly string[] = FILES, env: Record<string, string> = {}) {
  const input = {
    argv: file === undefined ? argv : [...argv, '--config', 'f'],
    env,
    readFile: () => JSON.stringify(file),
  };
  return loadSettings(settings, input).config;
}

const ENGINE = { name: 'e-0', kind: 'sim', model: 'm', servedModelName: 'm' };

t.test('defaults keep every listener on loopback and the bounds that the brief of the doors names', async (t) => {
  t.match(load(undefined), {
    httpHost: '127.0.0.1',
    httpPort: 8080,
    grpcHost: '127.0.0.1',
    grpcPort: 8081,
    fleetHost: '127.0.0.1',
    fleetPort: 8443,
    maxBodyBytes: 8 * 1024 * 1024,
    maxBodyDepth: 64,
    clientWindowBytes: 64 * 1024,
    pingPeriodMs: 15_000,
    routingPolicy: 'cost',
    allowRemoteMedia: false,
    nodes: {},
  });
});

t.test('without certificates there is no agents’ door, so none is a refusal', async (t) => {
  t.throws(() => load(undefined, []), { code: 'invalid_config', param: 'fleetCertFile' });
});

t.test('engines of nodes are read from the file, with what is left out filled in', async (t) => {
  const { nodes } = load({
    nodes: { 'gpu-1': [ENGINE], '*': [{ ...ENGINE, kind: 'vllm', gpuIds: [0, 1], limits: { maxRestarts: 2 } }] },
  });
  t.same(nodes['gpu-1'], [{ ...ENGINE, gpuIds: [], extraFlags: [], environment: {}, limits: {} }]);
  t.match(nodes['*'], [{ kind: 'vllm', gpuIds: [0, 1], limits: { maxRestarts: 2 } }]);
});

t.test('an engine that cannot be is refused with the place in the file', async (t) => {
  const refused = (engine: object) => () => load({ nodes: { n: [engine] } });
  for (const change of [
    { name: 'Not Ok' },
    { kind: 'tpu' },
    { gpuIds: [-1] },
    { tcpPort: 0 },
    { unknown: 1 },
    { limits: { maxRestart: 1 } },
    { model: '' },
  ]) {
    t.throws(refused({ ...ENGINE, ...change }), { code: 'invalid_config', param: 'nodes' }, JSON.stringify(change));
  }
  t.throws(() => load({ nodes: { n: [ENGINE, ENGINE] } }), { code: 'invalid_config' }, 'the same name twice');
  t.throws(
    () => load(undefined, [...FILES, '--nodes', '{}']),
    { code: 'invalid_config' },
    'nodes have structure: no flag',
  );
});

t.test('values come by flag, variable and file, and bad ones are refused', async (t) => {
  const config = load(
    { httpPort: 1, grpcPort: 2, corsOrigins: ['https://a.example'] },
    [...FILES, '--http-port', '3'],
    {
      SOPHIA_SCHEDULER_GRPC_PORT: '4',
      SOPHIA_SCHEDULER_JWT_AUDIENCE: 'a,b',
    },
  );
  t.match(config, { httpPort: 3, grpcPort: 4, corsOrigins: ['https://a.example'], jwtAudience: ['a', 'b'] });
  for (const [flag, value] of [
    ['--routing-policy', 'best'],
    ['--max-body-bytes', '1'],
    ['--jwt-clock-skew-s', '301'],
    ['--http-port', '99999'],
  ] as const) {
    t.throws(() => load(undefined, [...FILES, flag, value]), { code: 'invalid_config' }, flag);
  }
});
