/** In which state a node is said to be, and why; and the bundle of a new host as a stock tar reads it. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import t from 'tap';
import { bundleOf } from '../../cli/enrol/bundle.ts';
import { nodeStandings } from '../../cli/resources/node_states.ts';
import type { Node__Output } from '../../proto/gen/admin/v1/Node.ts';
import type { NodeDeclaration__Output } from '../../proto/gen/admin/v1/NodeDeclaration.ts';

const NOW = 1_000_000;
const DECLARED: NodeDeclaration__Output = {
  ...{ region: '', cordoned: false, draining: false, retired: false, taints: [], updatedAtMs: 0 },
  ...{ updatedBy: 'key:ops', reason: 'broken fan' },
};
const node = (change: Partial<Node__Output> = {}): Node__Output => ({
  ...{ name: 'gpu-1', connected: true, agentVersion: '1', host: null, gpus: [], telemetry: null, lanes: 1 },
  ...{ rejections: [], gpuEvents: [], nodeEvent: null, declared: null, lastSeenMs: NOW - 1000 },
  ...change,
});
const stands = (change: Partial<Node__Output>): string[] =>
  nodeStandings(node(change), NOW).map(({ state, reason }) => (reason === '' ? state : `${state}: ${reason}`));

t.test('each state has its reason, and the one that matters most comes first', (t) => {
  t.same(stands({}), ['ready']);
  t.same(stands({ declared: { ...DECLARED } }), ['ready'], 'declared, and nothing said against it');
  t.same(stands({ declared: { ...DECLARED, cordoned: true } }), ['cordoned: by key:ops: broken fan']);
  t.same(stands({ declared: { ...DECLARED, draining: true, reason: '' } }), ['draining: by key:ops']);
  t.same(stands({ connected: false, lastSeenMs: NOW - 90_000 }), ['lost: nothing was heard of it for 90 s']);
  const { lastSeenMs: _never, ...unseen } = node({ connected: false, declared: { ...DECLARED } });
  t.match(nodeStandings(unseen, NOW), [{ state: 'enrolled', reason: /has not come to this scheduler yet/ }]);
  t.same(
    stands({
      connected: false,
      declared: { ...DECLARED, retired: true, cordoned: true, taints: ['a=b:NoSchedule'] },
    }),
    [
      'retired: by key:ops: broken fan',
      'lost: nothing was heard of it for 1 s',
      'cordoned: by key:ops: broken fan',
      'tainted: a=b:NoSchedule',
    ],
  );
  const drain = { actor: 'key:x', reason: 'patch', runningRequests: 3 } as never;
  t.same(stands({ nodeEvent: { draining: true, drain } }), ['draining: at its agent by key:x: patch; 3 requests run']);
  t.same(stands({ nodeEvent: { draining: true, drain: null } }), ['draining: at its agent; some requests run']);
  t.same(stands({ nodeEvent: { draining: false, drain: null } }), ['ready']);
  const told = { index: 3, message: 'XID 79\u001b[2J' } as never;
  t.same(stands({ gpuEvents: [told] }), ['gpu quarantined: GPU 3: XID 79[2J']);
  t.same(stands({ rejections: [{ engine: 'a', code: 'x', message: 'no', param: '' }] }), ['refusing: a: no']);
  t.end();
});

t.test('a stock tar unpacks the bundle, with the key for its owner only', (t) => {
  const root = mkdtempSync(path.join(tmpdir(), 'bundle-'));
  t.teardown(() => rmSync(root, { recursive: true, force: true }));
  const file = path.join(root, 'b.tar');
  const pair = { certPem: 'CERT\n', keyPem: `KEY${'x'.repeat(600)}\n` };
  writeFileSync(
    file,
    bundleOf({
      ...{ name: 'gpu-9', folder: '/etc/sophia', schedulers: ['a:8443', 'b:8443'], caPem: 'CA\n', pair },
      mtimeS: 1_700_000_000,
    }),
  );
  execFileSync('tar', ['-xf', file, '-C', root]);
  const read = (name: string): string => readFileSync(path.join(root, name), 'utf8');
  t.equal(read('tls/host.key'), pair.keyPem);
  t.equal(read('tls/host.crt'), 'CERT\n');
  t.equal(read('tls/ca.crt'), 'CA\n');
  t.match(
    read('agent.yaml'),
    /nodeName: "gpu-9"\nschedulers: \["a:8443","b:8443"\]\ncaFile: "\/etc\/sophia\/tls\/ca.crt"/,
  );
  t.equal(statSync(path.join(root, 'tls/host.key')).mode & 0o777, 0o600);
  t.equal(Math.floor(statSync(path.join(root, 'agent.yaml')).mtimeMs / 1000), 1_700_000_000);
  t.end();
});
