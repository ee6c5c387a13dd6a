/** Flags of a specification: what is listed may come, everything else is refused with its place. */
import t from 'tap';
import { complainOfFlags } from '../../../agent/core/engine_flags.ts';
import { isConfined } from '../../../agent/core/engine_spec.ts';

const complain = (flags: readonly string[], kind: 'vllm' | 'llama' | 'sim' = 'vllm', alsoAllowed: string[] = []) =>
  complainOfFlags(flags, { kind, alsoAllowed, isAllowedPath: (path) => isConfined(path, ['/models']) });

t.test('the flags that people use', async (t) => {
  for (const flags of [
    ['--dtype', 'float32', '--max-model-len', '2048', '--enforce-eager'],
    ['--gpu_memory_utilization=0.85', '-tp', '2', '-O3', '--no-enable-prefix-caching'],
    ['--kv-events-config', '{"enable_kv_cache_events":true,"publisher":"zmq","endpoint":"ipc:///run/x"}'],
    ['--compilation-config.mode', '3', '--chat-template', '/models/t.jinja', '--lora-modules', 'a=/models/a'],
    ['--seed', '-1', '--cpu-offload-gb', '0', '--speculative-config', '{"model":"x"}'],
  ])
    t.equal(complain(flags), undefined, flags.join(' '));
  t.equal(complain(['--threads', '4'], 'llama'), undefined);
  t.equal(complain(['--sim-itl-ms', '5'], 'sim'), undefined);
  t.equal(complain(['--trust-remote-code'], 'vllm', ['--trust_remote_code']), undefined, 'the operator may allow more');
});

t.test('what is refused, and where', async (t) => {
  const cases: readonly (readonly [readonly string[], number, RegExp])[] = [
    [['--dtype', 'auto', '--no-such-flag'], 2, /not a flag that this agent allows/],
    [['--trust-remote-code'], 0, /not a flag/],
    [['--middleware', 'os.system'], 0, /not a flag/],
    [['--config', '/models/x.yaml'], 0, /not a flag/],
    [['--api_key', 'x'], 0, /set by the agent/],
    [['--served_model_name=x'], 0, /set by the agent/],
    [['--por', '1'], 0, /not a flag/],
    [['--'], 0, /not a flag/],
    [['value'], 0, /without a flag/],
    [['--gpu-memory-utilization', '-0.5'], 1, /no sensible value/],
    [['--gpu-memory-utilization=1.5'], 0, /no sensible value/],
    [['--gpu-memory-utilization='], 0, /no sensible value/],
    [['--swap-space', '-4'], 1, /no sensible value/],
    [['--cpu-offload-gb', 'much'], 1, /no sensible value/],
    [['--max-num-seqs', '0'], 1, /no sensible value/],
    [['--chat-template', '/etc/passwd'], 1, /outside the folders/],
    [['--tokenizer', '../../x'], 1, /outside the folders/],
    [['--lora-modules', 'a=/etc/a'], 1, /outside the folders/],
    [['--kv-events-config', '{"endpoint": "tcp://*:5557"}'], 1, /ipc/],
    [['--kv-events-config', '{"endpoint":"ipc:///x","replay_endpoint":"tcp://*:1"}'], 1, /ipc/],
  ];
  for (const [flags, index, message] of cases) t.match(complain(flags), { index, message }, flags.join(' '));
  t.match(complain(['--sim-itl-ms', '5']), { index: 0 });
  t.match(complain(Array.from({ length: 129 }, () => '--dtype')), { index: undefined, message: /more than 128/ });
});
