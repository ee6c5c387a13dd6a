/** Each filter lets a sound node through, and tells its reason with its figures; one table row a filter, and none is left out. */
import t from 'tap';
import type { NodeSnapshot, Placement, WantedDeployment } from '../../../../scheduler/core/placement/contract.ts';
import { changeFor } from '../../../../scheduler/core/placement/changes.ts';
import { reasonsAgainst } from '../../../../scheduler/core/placement/explain.ts';
import { changeText, reasonText } from '../../../../scheduler/core/placement/explain_text.ts';
import { GPU_FILTERS, NODE_FILTERS, ROOM_FILTERS } from '../../../../scheduler/core/placement/filters.ts';
import type { Reason } from '../../../../scheduler/core/placement/reasons.ts';
import { HOSTNAME_KEY } from '../../../../scheduler/core/placement/requirements.ts';
import { createSituation } from '../../../../scheduler/core/placement/units.ts';
import { deployment, GIB, gpu, node, NOW_MS, placement, snapshot } from './support.ts';

interface Row {
  readonly by: Reason['by'];
  readonly node: NodeSnapshot;
  readonly wanted?: Partial<WantedDeployment>;
  readonly placements?: readonly Placement[];
  readonly reason: Partial<Reason>;
  readonly line: RegExp;
  readonly change: RegExp;
}

const ROWS: readonly Row[] = [
  {
    by: 'health',
    node: node('n', 1, { health: 'not_ready' }),
    reason: { health: 'not_ready' },
    line: /is not ready/,
    change: /came back/,
  },
  {
    by: 'stale',
    node: node('n', 1, { lastSeenMs: NOW_MS - 31_000 }),
    reason: { silentMs: 31_000, staleAfterMs: 30_000 },
    line: /nothing for 31 s, more than 30 s/,
    change: /came back/,
  },
  { by: 'cordoned', node: node('n', 1, { cordoned: true }), reason: {}, line: /cordoned/, change: /uncordoned/ },
  {
    by: 'draining',
    node: node('n', 1, { draining: true }),
    reason: {},
    line: /being drained/,
    change: /drain were ended/,
  },
  {
    by: 'quarantine',
    node: node('n', 1, { quarantine: { names: ['a', 'b'], why: 'quarantine/a: wet; quarantine/b: burnt' } }),
    reason: { names: ['a', 'b'] },
    line: /the node is in quarantine \(quarantine\/a: wet; quarantine\/b: burnt\)/,
    change: /quarantine\/a, quarantine\/b were deleted/,
  },
  {
    by: 'taint',
    node: node('n', 1, { taints: [{ key: 'spot', value: 'yes', effect: 'NoSchedule' }] }),
    reason: { taint: { key: 'spot', value: 'yes', effect: 'NoSchedule' } },
    line: /spot=yes:NoSchedule is not tolerated/,
    change: /tolerated spot:NoSchedule/,
  },
  {
    by: 'region',
    node: node('n', 1),
    wanted: { regions: ['us-1'] },
    reason: { found: 'eu-1' },
    line: /in eu-1, not in us-1/,
    change: /regions allowed eu-1/,
  },
  {
    by: 'architecture',
    node: node('n', 1, { architecture: 'arm64' }),
    wanted: { architectures: ['amd64'] },
    reason: { found: 'arm64' },
    line: /arm64, not amd64/,
    change: /architectures allowed arm64/,
  },
  {
    by: 'driver',
    node: node('n', 1, { driverVersion: '550.90.07' }),
    wanted: { minDriverVersion: '560' },
    reason: { wanted: '560', found: '550.90.07' },
    line: /550\.90\.07, 560 or newer/,
    change: /driver were 560/,
  },
  {
    by: 'constraint',
    node: node('n', 1, { labels: { disk: 'hdd' } }),
    wanted: { constraints: [{ key: 'disk', operator: 'In', values: ['ssd', 'nvme'] }] },
    reason: { key: 'disk', operator: 'In', found: 'hdd' },
    line: /disk is "hdd", the constraint is In ssd, nvme/,
    change: /constraint on disk/,
  },
  {
    by: 'gang_topology',
    node: node('n', 1),
    wanted: { hosts: 2, gangTopologyKey: 'rack' },
    reason: { key: 'rack' },
    line: /no label rack/,
    change: /had the label rack/,
  },
  {
    by: 'gpu_model',
    node: node('n', 1),
    wanted: { gpuModels: ['A100', 'B200'] },
    reason: { found: ['H100'] },
    line: /H100, not A100, B200/,
    change: /gpuModels allowed H100/,
  },
  {
    by: 'gpu_count',
    node: node('n', [gpu(0), gpu(1, { model: 'A100' })]),
    wanted: { gpusPerHost: 2 },
    reason: { needGpus: 2, foundGpus: 1 },
    line: /needs 2 GPUs of one model, the node has 1/,
    change: /needed 1 GPUs/,
  },
  {
    by: 'gpu_health',
    node: node('n', [gpu(0, { quarantine: 'xid_79' }), gpu(1, { health: 'failed' })]),
    reason: {
      soundGpus: 0,
      bad: [
        { gpu: 0, why: 'xid_79' },
        { gpu: 1, why: 'failed' },
      ],
    },
    line: /0 are sound \(GPU 0: xid_79, GPU 1: failed\)/,
    change: /GPU 0, 1 were repaired or released/,
  },
  {
    by: 'gpu_sharing',
    node: node('n', 1),
    placements: [placement('other', 'n', [0], { gpuMemoryBytes: GIB })],
    reason: { sharing: 'exclusive', openGpus: 0 },
    line: /needs 1 GPU for itself, 0 are/,
    change: /others left the GPUs/,
  },
  {
    by: 'gpu_memory',
    node: node('n', [gpu(0, { freeBytes: 12 * GIB + 103 * 2 ** 20 })]),
    reason: { needBytes: 70 * GIB, limit: 'measured', fittingGpus: 0 },
    line: /needs 70\.0 GiB on one GPU, the freest has 12\.1 GiB \(measured\)/,
    change: /57\.9 GiB more were free/,
  },
  {
    by: 'nvlink',
    node: node('n', [gpu(0, { nvlinkIsland: 0 }), gpu(1, { nvlinkIsland: 1 }), gpu(2)]),
    wanted: { gpusPerHost: 2, nvlink: 'required' },
    reason: { needGpus: 2, largestIsland: 1 },
    line: /needs 2 GPUs with room on one NVLink island, the largest has 1/,
    change: /preferred instead of required/,
  },
  {
    by: 'host_memory',
    node: node('n', 1, { hostMemory: { totalBytes: 64 * GIB, freeBytes: 8 * GIB } }),
    wanted: { hostMemoryBytes: 10 * GIB },
    reason: { needBytes: 10 * GIB, freeBytes: 8 * GIB },
    line: /needs 10\.0 GiB of host memory, 8\.0 GiB are free/,
    change: /2\.0 GiB more of host memory/,
  },
  {
    by: 'ports',
    node: node('n', 1, { portsInUse: [8000] }),
    wanted: { ports: [8000, 8001] },
    reason: { taken: [8000] },
    line: /port 8000 is taken/,
    change: /port 8000 were free/,
  },
  {
    by: 'anti_affinity',
    node: node('n', 2),
    wanted: { antiAffinity: [{ topologyKey: HOSTNAME_KEY, required: true }], replicas: 2 },
    placements: [placement('d', 'n', [0])],
    reason: { deployment: 'd', topologyKey: HOSTNAME_KEY, domain: 'n' },
    line: /a replica of d is in the same kubernetes\.io\/hostname \(n\)/,
    change: /d left n/,
  },
];

t.test('every filter has its row here', async (t) => {
  const filters = [...NODE_FILTERS, ...GPU_FILTERS, ...ROOM_FILTERS].map(({ by }) => by);
  t.same(
    ROWS.map(({ by }) => by),
    filters,
  );
});

for (const row of ROWS) {
  t.test(`${row.by} refuses with its figures, and nothing else does`, async (t) => {
    const wanted = deployment('d', row.wanted);
    const state = snapshot([row.node], [wanted, deployment('other', { replicas: 5 })], row.placements);
    const { board } = createSituation(state);
    const demand = board.demands.find((each) => each.wanted.name === 'd');
    if (demand === undefined) throw new Error('no demand');
    const [reason, ...more] = reasonsAgainst(board, state, demand, 0);
    t.same(more, []);
    t.match(reason, { by: row.by, ...row.reason });
    t.match(reasonText(reason as Reason), row.line);
    t.match(changeText(changeFor(reason as Reason)), row.change);
  });
}

t.test('a sound node is refused by nobody, also with all that could be asked for', async (t) => {
  const wanted = deployment('d', {
    regions: ['eu-1'],
    architectures: ['amd64'],
    minDriverVersion: '570.86',
    gpuModels: ['H100'],
    constraints: [{ key: 'rack', operator: 'Exists' }],
    tolerations: [{ key: 'spot', operator: 'Exists' }],
    gpusPerHost: 2,
    nvlink: 'required',
    hostMemoryBytes: GIB,
    ports: [8000],
    hosts: 2,
    gangTopologyKey: 'rack',
  });
  const sound = node('n', [gpu(0, { nvlinkIsland: 0 }), gpu(1, { nvlinkIsland: 0 })], {
    labels: { rack: 'a' },
    taints: [
      { key: 'spot', effect: 'NoExecute' },
      { key: 'slow', effect: 'PreferNoSchedule' },
    ],
  });
  const state = snapshot([sound], [wanted]);
  const { board } = createSituation(state);
  t.same(reasonsAgainst(board, state, board.demands[0] as never, 0), []);
});

t.test(
  'the sharing of a GPU says what would have to be shared, and the memory of several GPUs how many have it',
  async (t) => {
    t.match(reasonText({ by: 'gpu_sharing', sharing: 'tenant', needGpus: 1, openGpus: 0 }), /within its tenant only/);
    t.match(reasonText({ by: 'gpu_sharing', sharing: 'shared', needGpus: 1, openGpus: 0 }), /open to one more engine/);
    const known = {
      needBytes: 90 * GIB,
      freeBytes: GIB,
      needGpus: 2,
      fittingGpus: 1,
      largestGpuBytes: 80 * GIB,
    } as const;
    const reason = { by: 'gpu_memory', limit: 'promised', ...known } as const;
    t.match(reasonText(reason), /on each of 2 GPUs, 1 have it, the next has 1\.0 GiB \(promised\)/);
    t.match(changeText(changeFor(reason)), /at most 80\.0 GiB a GPU/);
    t.match(reasonText({ by: 'gang', needHosts: 3, foundHosts: 1 }), /needs 3 such hosts together and there are 1/);
    t.match(changeText(changeFor({ by: 'gang', needHosts: 3, foundHosts: 1 })), /2 more such hosts had room/);
    t.match(reasonText({ by: 'node_unknown' }), /not known/);
    t.match(changeText(changeFor({ by: 'node_unknown' })), /came back/);
    t.match(
      reasonText({ by: 'constraint', key: 'k', operator: 'Exists', values: [], found: undefined }),
      /k is not set, the constraint is Exists$/,
    );
    t.match(reasonText({ by: 'driver', wanted: '560', found: undefined }), /driver is not there/);
    t.match(reasonText({ by: 'taint', taint: { key: 'k', effect: 'NoExecute' } }), /taint k:NoExecute/);
  },
);

t.test(
  'of GPUs that cannot be used some are to be repaired, and of others the quarantine is to be lifted',
  async (t) => {
    const gpus = [gpu(0, { quarantine: 'loud', quarantinedBy: ['fan'] }), gpu(1, { health: 'failed' })];
    const state = snapshot([node('n', gpus)], [deployment('d')]);
    const { board } = createSituation(state);
    const [reason] = reasonsAgainst(board, state, board.demands[0] as (typeof board.demands)[number], 0);
    t.match(reason, {
      by: 'gpu_health',
      bad: [
        { gpu: 0, why: 'loud', names: ['fan'] },
        { gpu: 1, why: 'failed' },
      ],
    });
    const text = changeText(changeFor(reason as Reason));
    t.equal(text, 'GPU 1 were repaired or released and quarantine/fan were deleted');
  },
);
