/** Operators, attributes, tolerations and versions as Kubernetes defines them. */
import t from 'tap';
import type { Requirement, Taint, Toleration } from '../../../../scheduler/core/placement/contract.ts';
import { compareVersions, meets, tolerates, valueOf } from '../../../../scheduler/core/placement/requirements.ts';
import { node } from './support.ts';

t.test('operators over labels', async (t) => {
  const at = node('n', 2, { labels: { disk: 'ssd', slots: '8', word: 'x' } });
  const holds: readonly (readonly [string, Requirement['operator'], string[] | undefined, boolean])[] = [
    ['disk', 'In', ['hdd', 'ssd'], true],
    ['disk', 'In', ['hdd'], false],
    ['none', 'In', ['hdd'], false],
    ['disk', 'NotIn', ['hdd'], true],
    ['disk', 'NotIn', ['ssd'], false],
    ['none', 'NotIn', ['ssd'], true],
    ['disk', 'Exists', undefined, true],
    ['none', 'Exists', undefined, false],
    ['none', 'DoesNotExist', undefined, true],
    ['disk', 'DoesNotExist', undefined, false],
    ['slots', 'Gt', ['7'], true],
    ['slots', 'Gt', ['8'], false],
    ['slots', 'Lt', ['9'], true],
    ['word', 'Lt', ['9'], false],
    ['none', 'Gt', ['0'], false],
    ['slots', 'Gt', [''], false],
    ['constructor', 'Exists', undefined, false],
    ['kubernetes.io/arch', 'In', ['amd64'], true],
  ];
  for (const [key, operator, values, expected] of holds) {
    t.equal(meets(at, { key, operator, ...(values === undefined ? {} : { values }) }), expected, `${key} ${operator}`);
  }
});

t.test('a node tells of itself under the well-known names, and a label of the same name wins', async (t) => {
  const at = node('n', 2, { labels: { 'kubernetes.io/hostname': 'other' } });
  t.equal(valueOf(at, 'kubernetes.io/hostname'), 'other');
  t.equal(valueOf(node('n', 1), 'kubernetes.io/hostname'), 'n');
  t.equal(valueOf(at, 'topology.kubernetes.io/region'), 'eu-1');
  t.equal(valueOf(at, 'nvidia.com/gpu.count'), '2');
  t.equal(valueOf(at, 'nvidia.com/gpu.product'), 'H100');
  t.equal(valueOf(at, 'nvidia.com/cuda.driver-version.full'), '570.124.06');
  t.equal(valueOf(node('n', 0), 'nvidia.com/gpu.product'), undefined);
});

t.test('tolerations', async (t) => {
  const taint: Taint = { key: 'k', value: 'v', effect: 'NoSchedule' };
  const yes: readonly Toleration[] = [
    { key: 'k', value: 'v' },
    { key: 'k', operator: 'Equal', value: 'v', effect: 'NoSchedule' },
    { key: 'k', operator: 'Exists' },
    { operator: 'Exists' },
  ];
  const no: readonly Toleration[] = [
    { key: 'k' },
    { key: 'k', value: 'w' },
    { key: 'l', operator: 'Exists' },
    { key: 'k', operator: 'Exists', effect: 'NoExecute' },
  ];
  for (const toleration of yes) t.ok(tolerates([toleration], taint));
  t.notOk(tolerates(no, taint));
  t.ok(tolerates([{ key: 'k' }], { key: 'k', effect: 'NoExecute' }));
});

t.test('versions by their numbers', async (t) => {
  t.equal(compareVersions('570.124.06', '570.86.15'), 1);
  t.equal(compareVersions('570', '570.0.0'), 0);
  t.equal(compareVersions('560', '570.1'), -1);
  t.equal(compareVersions('x', '1'), -1);
});
