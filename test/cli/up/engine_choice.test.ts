/** Which engine `sophia up` runs, and under which name. */
import t from 'tap';
import { chooseEngine, servedName } from '../../../cli/up/engine_choice.ts';
import { engineSpecs } from '../../../cli/up/plan.ts';

const VLLM = '/usr/bin/vllm';

t.test('auto takes vLLM only when it is there and a model folder is given', async (t) => {
  t.match(chooseEngine('auto', { vllm: VLLM, model: 'folder' }, '/m'), { kind: 'vllm' });
  t.match(chooseEngine('auto', { vllm: VLLM, model: 'none' }, ''), { kind: 'llama' });
  t.match(chooseEngine('auto', { vllm: VLLM, model: 'file' }, '/m.gguf'), { kind: 'llama' });
  t.match(chooseEngine('auto', { vllm: undefined, model: 'other' }, 'owner/name'), { kind: 'llama' });
  t.throws(() => chooseEngine('auto', { vllm: undefined, model: 'folder' }, '/m'), { code: 'cannot_start' });
});

t.test('what was asked for by name is done or refused, never replaced', async (t) => {
  t.match(chooseEngine('sim', { vllm: VLLM, model: 'folder' }, '/m'), { kind: 'sim', reason: 'asked' });
  t.throws(() => chooseEngine('vllm', { vllm: undefined, model: 'folder' }, '/m'), { code: 'cannot_start' });
  t.throws(() => chooseEngine('vllm', { vllm: VLLM, model: 'none' }, ''), { code: 'missing_model' });
});

t.test('the served name comes from the path', async (t) => {
  t.equal(servedName('/srv/models/Llama-3.1-8B/', 'x'), 'llama-3.1-8b');
  t.equal(servedName('a/b/Model Q4.GGUF', 'x'), 'model-q4');
  t.equal(servedName('', 'fallback'), 'fallback');
});

t.test('engines get GPUs in turn; on a CPU each gets cores of its own', async (t) => {
  const plan = { kind: 'vllm', model: '/m', servedModelName: 'm', count: 3, cores: 4, extraFlags: ['--x'] } as const;
  t.match(engineSpecs({ ...plan, gpus: 2 }), [{ gpuIds: [0] }, { gpuIds: [1] }, { gpuIds: [0], name: 'vllm-2' }]);
  t.match(engineSpecs({ ...plan, count: 2, gpus: 0 }), [
    { gpuIds: [], environment: { VLLM_CPU_OMP_THREADS_BIND: '0-1' } },
    { environment: { VLLM_CPU_OMP_THREADS_BIND: '2-3' }, extraFlags: ['--x'] },
  ]);
});
