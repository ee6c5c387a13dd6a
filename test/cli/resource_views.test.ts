/** What the command line makes of resources, changes and events, and of the files of -f. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import t from 'tap';
import { readResources, refOf, withPlaces } from '../../cli/resources/files.ts';
import {
  describeText,
  diffText,
  eventLine,
  eventObject,
  freezeText,
  outcomeLines,
  resourceObject,
  resourceTables,
} from '../../cli/resources/views.ts';
import { CodedError } from '../../lib/errors.ts';
import type { Event__Output } from '../../proto/gen/admin/v1/Event.ts';
import type { Resource__Output } from '../../proto/gen/admin/v1/Resource.ts';
import type { ResourceOutcome__Output } from '../../proto/gen/admin/v1/ResourceOutcome.ts';

const resource = (
  kind: string,
  name: string,
  spec: object,
  more: Partial<Resource__Output> = {},
): Resource__Output => ({
  kind,
  name,
  version: 7,
  labels: {},
  specJson: JSON.stringify(spec),
  updatedAtMs: 1_000_000,
  updatedBy: 'key:a',
  status: null,
  engine: null,
  quarantine: null,
  ...more,
});

const STATUS: NonNullable<Resource__Output['status']> = {
  observedVersion: 7,
  wanted: 2,
  ready: 1,
  memory: '5.0 GiB on each GPU',
  replicas: [
    {
      index: 0,
      revision: 'r1',
      engines: ['node-a/chat-0'],
      gpus: [{ node: 'node-a', gpus: [0, 1] }],
      state: 'ready',
      reason: '',
    },
    { index: 1, revision: 'r1', engines: [], gpus: [], state: 'pending', reason: 'no node has\u001b[2J room' },
  ],
};

const EVENT: Event__Output = {
  seq: 3,
  atMs: 0,
  kind: 'desired.created',
  area: 'desired',
  resourceKind: 'Deployment',
  resourceName: 'chat',
  actor: 'key:a',
  reason: 'line\u001b[31m one\nline two',
  correlationId: 'req_1',
  base: 0,
  beforeJson: 'null',
  afterJson: '{"spec":{}}',
};

const CHAT = { servedModelName: 'chat', engine: 'sim', replicas: 2, gpusPerHost: 2, hosts: 2, pool: 'p' };

t.test('tables: one for each kind, with what matters of it', async (t) => {
  const text = resourceTables(
    [
      resource('Deployment', 'chat', CHAT, { status: STATUS }),
      resource('Deployment', 'idle', { ...CHAT, pool: undefined, hosts: undefined }),
      resource('Node', 'gpu-1', {
        region: 'eu',
        cordoned: true,
        retired: true,
        taints: [{ key: 'a', effect: 'NoExecute' }],
      }),
      resource('Node', 'gpu-2', {}),
      resource('Pool', 'p', {
        nodes: [
          { key: 'k', operator: 'In', values: ['a', 'b'] },
          { key: 'l', operator: 'Exists' },
        ],
      }),
      resource('Pool', 'all', { nodes: [] }),
      resource('Alias', 'front', {
        targets: [
          { deployment: 'a', weight: 9 },
          { deployment: 'b', weight: 1 },
        ],
      }),
      resource('Later', 'x', {}),
    ],
    1_180_000,
  );
  t.match(text.split('\n'), [
    /^DEPLOYMENT +READY +ENGINE +MODEL +GPUS +POOL +VERSION +CHANGED$/,
    /^chat +1\/2 +sim +chat +4 +p +7 +3 min$/,
    /^idle +-\/2 +sim +chat +2 +- +7/,
    '',
    /^NODE +REGION +STATE/,
    /^gpu-1 +eu +cordoned, retired +a:NoExecute/,
    /^gpu-2 +- +- +-/,
    '',
    /^POOL/,
    /^p +k In a\|b; l Exists/,
    /^all +all/,
    '',
    /^ALIAS/,
    /^front +a 9, b 1/,
    '',
    /^LATER/,
    /^x/,
  ]);
});

const ENGINE: NonNullable<Resource__Output['engine']> = {
  source: 'deployment',
  node: 'n1',
  engine: 'chat-0-r',
  gpus: [0, 1],
  deployment: 'chat',
  replica: 0,
  place: 'chat/0/1',
  phase: 'placed',
  phaseReason: 'it is wanted',
  state: 'starting',
  reason: 'loads\u001b[2J',
};
const HELD: NonNullable<Resource__Output['quarantine']> = {
  source: 'agent',
  node: 'n1',
  gpu: 0,
  uuid: 'GPU-1',
  untilMs: 0,
  replicas: ['chat/0'],
  note: 'x',
};

t.test('engines and quarantines are shown with who wants them, and what is not known is a dash', async (t) => {
  const spec = { node: 'n1', engine: 'vllm', servedModelName: 'chat' };
  const q = { node: 'n1', reason: 'XID 79' };
  const moved = { ...ENGINE, source: 'declared', state: 'ready', phase: 'leaving', phaseReason: 'its node is drained' };
  const text = resourceTables(
    [
      resource('Engine', 'n1/chat-0-r', spec, { engine: ENGINE }),
      resource('Engine', 'probe', spec, { engine: moved }),
      resource('Engine', 'new', spec, { version: 0, updatedAtMs: 0 }),
      resource('Quarantine', 'n1/0', q, { quarantine: HELD, version: 0 }),
      resource(
        'Quarantine',
        'a',
        { ...q, gpu: 'GPU-2' },
        { quarantine: { ...HELD, gpu: undefined, untilMs: undefined } as never },
      ),
      resource('Quarantine', 'b', { ...q, until: 500 }),
    ],
    1_180_000,
  );
  t.match(text.split('\n'), [
    /^ENGINE +NODE +GPUS +OF +KIND +MODEL +STATE +PHASE +REASON +VERSION +CHANGED$/,
    /^n1\/chat-0-r +n1 +0,1 +chat\/0 +vllm +chat +starting +placed +loads\[2J +7 +3 min$/,
    /^probe +n1 +0,1 +declared +vllm +chat +ready +leaving +its node is drained/,
    /^new +n1 +- +- +vllm +chat +- +- +- +- +-$/,
    '',
    /^QUARANTINE +NODE +GPU +BY +UNTIL +STILL THERE +REASON/,
    /^n1\/0 +n1 +0 +agent +1970-01-01T00:00:00Z +chat\/0 +XID 79 +- +3 min$/,
    /^a +n1 +GPU-1 +agent +- +chat\/0/,
    /^b +n1 +all +declared +500 ms +- /,
  ]);
  const described = (of: Resource__Output): string =>
    describeText({ resource: of, statusNote: '', notes: [], events: [], specText: '' });
  t.match(
    described(resource('Engine', 'x', spec, { engine: ENGINE, updatedAtMs: 0 })),
    /changed: +by key:a\n[^]*engine: +n1\/chat-0-r\n[^]*phase: +placed: it is wanted\n/,
  );
  t.match(
    described(resource('Engine', 'x', spec, { engine: { ...ENGINE, engine: '', phase: undefined } as never })),
    /engine: +-\n[^]*phase: +-\n/,
  );
  t.match(described(resource('Quarantine', 'x', q, { quarantine: HELD })), /keeps off: +GPU 0 of n1\n/);
  const unknown = { ...HELD, gpu: undefined } as never;
  t.match(
    described(resource('Quarantine', 'x', { ...q, gpu: 'GPU-2' }, { quarantine: unknown })),
    /keeps off: +GPU GPU-2 of n1\n/,
  );
  t.match(described(resource('Quarantine', 'x', q, { quarantine: unknown })), /keeps off: +all of n1\n/);
  t.match(resourceObject(resource('Quarantine', 'x', q, { quarantine: { ...HELD, _gpu: 'gpu' } as never })), {
    status: { source: 'agent', gpu: 0, _gpu: undefined },
  });
});

t.test('a resource as an object can be applied again', async (t) => {
  t.same(resourceObject(resource('Pool', 'p', { nodes: [] }, { labels: { a: 'b' } })), {
    apiVersion: 'sophia/v1',
    kind: 'Pool',
    metadata: { name: 'p', labels: { a: 'b' }, version: 7, updatedAtMs: 1_000_000, updatedBy: 'key:a' },
    spec: { nodes: [] },
  });
  const marked = { ...STATUS, rollout: 'half', _rollout: 'rollout' };
  t.match(resourceObject(resource('Deployment', 'chat', CHAT, { status: marked as never })), {
    status: { ready: 1, rollout: 'half', _rollout: undefined },
  });
});

t.test('a description has the status, the spec, the replicas and the events, and moves no cursor', async (t) => {
  const described = resource('Deployment', 'chat', CHAT, { status: STATUS, labels: { team: 'a' } });
  const text = describeText({
    resource: described,
    statusNote: '',
    notes: ['a\u0007note'],
    events: [EVENT],
    specText: 'a: 1\n',
  });
  t.match(
    text,
    /name: +deployment\/chat[^]*labels: +team=a[^]*ready: +1 of 2[^]*memory: +5\.0 GiB on each GPU[^]*note: anote\nspec:\n {2}a: 1\n/,
  );
  t.match(text, /0 +ready +r1 +node-a\/chat-0 +node-a:0,1[^]*1 +pending[^]*no node has\[2J room/);
  t.match(text, /events:\n {2}3 {2}1970-01-01T00:00:00Z {2}desired\.created/);
  t.notMatch(text, '\u001b');
  const plain = describeText({
    resource: resource('Pool', 'p', {}),
    statusNote: 'not known',
    notes: [],
    events: [],
    specText: '',
  });
  t.match(plain, /status: +not known/);
  t.notMatch(plain, /events:/);
});

t.test('changes and differences in the words of Kubernetes', async (t) => {
  const outcome = (more: Partial<ResourceOutcome__Output>): ResourceOutcome__Output => ({
    kind: 'Deployment',
    name: 'chat',
    outcome: 'changed',
    version: 7,
    changes: [],
    notes: [],
    ...more,
  });
  t.same(outcomeLines(outcome({ notes: ['x'] }), ' (dry run)'), ['deployment/chat configured (dry run)', '  note: x']);
  for (const [word, shown] of Object.entries({ created: 'created', not_found: 'not found', later: 'later' }))
    t.same(outcomeLines(outcome({ outcome: word }), ''), [`deployment/chat ${shown}`]);
  const changes = [
    { path: 'spec.a', before: '1', after: '2' },
    { path: 'spec.b', after: '"x"' },
    { path: 'spec.c', before: `"${'y'.repeat(300)}"` },
  ];
  const text = diffText(outcome({ changes, notes: ['n'] }));
  t.match(
    text,
    /^deployment\/chat would change \(version 7\)\n {2}~ spec\.a: 1 -> 2\n {2}\+ spec\.b: "x"\n {2}- spec\.c: "y+\.\.\.\n {2}note: n$/,
  );
  t.match(diffText(outcome({ outcome: 'created' })), /would be created/);
});

t.test('events on one line each, and as objects; the freeze', async (t) => {
  t.equal(
    eventLine(EVENT),
    '3  1970-01-01T00:00:00Z  desired.created     deployment/chat  key:a  line[31m one line two',
  );
  t.match(eventObject(EVENT), { seq: 3, before: null, after: { spec: {} } });
  const freeze = { frozen: false, by: '', sinceMs: 0, reason: '' };
  t.equal(freezeText(freeze), 'Reconcile is not frozen.');
  t.match(
    freezeText({ ...freeze, frozen: true, by: 'store', gap: '3 events are missing' }),
    /by: +store[^]*since: +-[^]*gap: +3 events/,
  );
});

t.test('files: one, a folder in the order of names, and what is no file', async (t) => {
  const root = mkdtempSync(path.join(tmpdir(), 'sophia-files-'));
  t.teardown(() => rmSync(root, { recursive: true, force: true }));
  writeFileSync(path.join(root, 'b.yml'), 'kind: Pool\nmetadata: {name: b}\n');
  writeFileSync(
    path.join(root, 'a.yaml'),
    '\nkind: Node\nmetadata:\n  name: a\nspec:\n  taints:\n    - kye: x\n---\nkind: 3\n',
  );
  writeFileSync(path.join(root, 'c.json'), '{"kind":"Alias"}');
  writeFileSync(path.join(root, 'notes.txt'), 'no');
  const found = await readResources([root]);
  t.same(found.map(refOf), [
    { kind: 'Node', name: 'a' },
    { kind: '', name: '' },
    { kind: 'Pool', name: 'b' },
    { kind: 'Alias', name: '' },
  ]);
  await t.rejects(readResources(undefined), { code: 'invalid_config' });
  await t.rejects(readResources([path.join(root, 'nothing')]), { code: 'invalid_config', message: /ENOENT/ });
  writeFileSync(path.join(root, 'empty.yaml'), '# nothing\n');
  await t.rejects(readResources([path.join(root, 'empty.yaml')]), { message: /no resource in/ });

  const refused = (message: string, code: 'invalid_resource' | 'not_found' = 'invalid_resource') =>
    withPlaces(found, async () => {
      throw new CodedError(code, message, { param: 'p' });
    });
  await t.rejects(refused('resources[0].spec.taints[0].kye: is not\nresources[2].metadata["a b"]: no'), {
    code: 'invalid_resource',
    param: 'p',
    message: `${path.join(root, 'a.yaml')}:7: spec.taints[0].kye: is not\n${path.join(root, 'b.yml')}:2: metadata["a b"]: no`,
  });
  await t.rejects(refused('resources[99]: x'), { message: 'resources[99]: x' });
  await t.rejects(refused('plain', 'not_found'), { message: 'plain', code: 'not_found' });
  await t.rejects(
    withPlaces(found, async () => Promise.reject(new Error('other'))),
    { message: 'other' },
  );
});
