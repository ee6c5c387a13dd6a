/** Questions to an engine: answers of a real vLLM, and everything that is no answer. */
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import t from 'tap';
import { createEngineProbe, loadFromMetrics, parsePrometheus } from '../../../agent/adapters/engine_probe.ts';
import type { EngineAddress } from '../../../agent/ports.ts';
import { createQuestions } from '../../../agent/workers/engine_questions.ts';
import { fixture } from '../support/bytes.ts';

const probe = createEngineProbe(createQuestions());
const bodyOf = (name: string): string => {
  const text = fixture(name).toString('utf8');
  return text.slice(text.indexOf('\r\n\r\n') + 4);
};

async function engine(
  t: { teardown: (work: () => void) => unknown },
  answer: http.RequestListener,
): Promise<EngineAddress> {
  const server = http.createServer(answer);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.teardown(() => {
    server.closeAllConnections();
    server.close();
  });
  return { kind: 'tcp', host: '127.0.0.1', port: (server.address() as AddressInfo).port };
}

t.test('health is ok, unhealthy, late or refused', async (t) => {
  const address = await engine(t, (request, response) => {
    response.statusCode = 503;
    if (request.url === '/health') response.end();
  });
  t.equal(await probe.health(address, 2000), 'unhealthy');
  t.equal(await probe.health(await engine(t, (_request, response) => response.end()), 2000), 'ok');
  t.equal(await probe.health(await engine(t, () => undefined), 50), 'timeout');
  t.equal(await probe.health({ kind: 'tcp', host: '127.0.0.1', port: 1 }, 2000), 'refused');
  t.equal(await probe.health({ kind: 'unix', path: '/nonexistent/x.sock' }, 2000), 'refused');
});

t.test('models and load of a real vLLM', async (t) => {
  const address = await engine(t, (request, response) =>
    response.end(request.url === '/metrics' ? bodyOf('metrics.http') : bodyOf('models.http')),
  );
  const models = await probe.models(address, 2000);
  t.match(models, [{ id: 'smollm2', contextTokens: 2048, ownedBy: 'vllm', simulated: false }]);
  t.match(await probe.load(address, 2000), {
    runningRequests: 2,
    waitingRequests: 0,
    kvCacheUsageRatio: Number,
    kvCacheTokens: Number,
    generationTokensTotal: Number,
  });
});

t.test('what is no answer is unknown', async (t) => {
  for (const body of ['', '{', '[]', '{"data":"x"}', '{"data":[{"id":""}]}', `{"data":[]}${' '.repeat(5_000_000)}`]) {
    const address = await engine(t, (_request, response) => response.end(body));
    t.equal(await probe.models(address, 2000), undefined, body.slice(0, 30));
  }
  const failing = await engine(t, (_request, response) => {
    response.statusCode = 500;
    response.end('vllm:num_requests_running 3');
  });
  t.equal(await probe.load(failing, 2000), undefined);
  t.equal(await probe.models(failing, 2000), undefined);
  const odd = await engine(t, (_request, response) =>
    response.end('{"data":[{"id":"m","created":"x","max_model_len":-1,"simulated":true}]}'),
  );
  t.same(await probe.models(odd, 2000), [{ id: 'm', simulated: true }]);
});

t.test('metrics are summed over labels, unknown ones stay unknown, bad ones are skipped', async (t) => {
  const text =
    'vllm:num_requests_running{engine="0",model_name="a b\\"}"} 2.0\nvllm:num_requests_running{engine="1"} 3\n# HELP x\n\nvllm:num_requests_waiting NaN\nbroken line\nvllm:gpu_cache_usage_perc 1.5 1700000000\n';
  t.same(loadFromMetrics(text), { runningRequests: 5, kvCacheUsageRatio: 1 });
  t.same(loadFromMetrics(''), {});
  t.same(loadFromMetrics('vllm:num_requests_running -1\nvllm:generation_tokens_total 7'), { generationTokensTotal: 7 });
  const cache = (labels: string): unknown => loadFromMetrics(`vllm:cache_config_info{${labels}} 1.0`).kvCacheTokens;
  t.equal(cache('block_size="16",cache_dtype="auto",engine="0",num_gpu_blocks="100"'), 1600);
  t.equal(cache('num_gpu_blocks="3",num_gpu_blocks_override="None",block_size="128"'), 384);
  for (const odd of [
    '',
    'block_size="16"',
    'block_size="16",num_gpu_blocks="None"',
    'xblock_size="16",num_gpu_blocks="2"',
  ])
    t.equal(cache(odd), undefined, odd);
  t.equal(parsePrometheus('a 1\na{b="c"} 2\n').get('a'), 3);
});

/** Answers that an engine may give to the request for one token. */
t.test('one token is the proof, a refusal is no failure, everything else is', async (t) => {
  const ask = async (status: number, body: string) => {
    const address = await engine(t, (_request, response) => {
      response.statusCode = status;
      response.end(body);
    });
    return probe.generateOne(address, 'm', 2000);
  };
  t.match(await ask(200, '{"choices":[{"text":" a","finish_reason":"length"}]}'), { kind: 'ok', ms: Number });
  t.match(await ask(404, bodyOf('error-unknown-path.http')), { kind: 'not_generative' });
  t.match(await ask(400, '{"error":{"message":"The model does not support Completions API"}}'), {
    kind: 'not_generative',
  });
  t.match(await ask(500, '{"error":{"message":"EngineCore encountered an issue."}}'), {
    kind: 'failed',
    message: /500: EngineCore/,
  });
  t.match(await ask(500, 'oops'), { kind: 'failed', message: /oops/ });
  t.match(await ask(500, '{"x":1}'), { kind: 'failed', message: /x/ });
  t.match(await ask(401, '{}'), { kind: 'failed' });
  t.match(await ask(200, '{"choices":[]}'), { kind: 'failed', message: /no completion/ });
  t.match(await ask(200, 'not json'), { kind: 'failed', message: /no completion/ });
  t.match(await ask(200, '{"choices":[{"finish_reason":"abort"}]}'), { kind: 'failed', message: /aborted/ });
  t.match(await probe.generateOne(await engine(t, () => undefined), 'm', 50), { kind: 'failed', message: /50 ms/ });
  t.match(await probe.generateOne({ kind: 'unix', path: '/none' }, 'm', 50), { kind: 'failed', message: /refused/ });
  const cut = await engine(t, (_request, response) => {
    response.write('{"cho');
    setTimeout(() => response.destroy(), 20);
  });
  t.match(await probe.generateOne(cut, 'm', 2000), { kind: 'failed', message: /cut/ });
});

t.test('the engine is asked with the key of its address, and the request is a small greedy one', async (t) => {
  const seen: { key: string | undefined; body: string; url: string | undefined }[] = [];
  const address = await engine(t, (request, response) => {
    let body = '';
    request.on('data', (piece: Buffer) => (body += piece.toString()));
    request.on('end', () => {
      seen.push({ key: request.headers.authorization, body, url: request.url });
      response.end('{"choices":[{}]}');
    });
  });
  await probe.generateOne({ ...address, apiKey: 'secret' } as EngineAddress, 'served', 2000);
  await probe.health(address, 2000);
  t.match(seen[0], { key: 'Bearer secret', url: '/v1/completions' });
  t.match(JSON.parse(seen[0]?.body ?? ''), { model: 'served', max_tokens: 1, temperature: 0 });
  t.equal(seen[1]?.key, undefined);
});

t.test('verbs are asked at the routes of vLLM, and a route that is not there is told', async (t) => {
  const urls: string[] = [];
  let answer: readonly [status: number, body: string] = [200, ''];
  const address = await engine(t, (request, response) => {
    urls.push(`${request.method} ${request.url}`);
    response.statusCode = answer[0];
    response.end(answer[1]);
  });
  const verbs = [
    { kind: 'sleep', level: 2 },
    { kind: 'wake' },
    { kind: 'lora_load', name: 'a', path: '/m/a' },
    { kind: 'lora_unload', name: 'a' },
    { kind: 'prefix_cache_reset' },
  ] as const;
  for (const verb of verbs) t.same(await probe.verb(address, verb, 2000), { kind: 'done' });
  t.same(urls, [
    'POST /sleep?level=2',
    'POST /wake_up',
    'POST /v1/load_lora_adapter',
    'POST /v1/unload_lora_adapter',
    'POST /reset_prefix_cache',
  ]);
  answer = [404, '{"detail":"Not Found"}'];
  for (const verb of verbs) t.match(await probe.verb(address, verb, 2000), { kind: 'unsupported' });
  answer = [404, '{"error":{"message":"The lora adapter a cannot be found."}}'];
  t.match(await probe.verb(address, verbs[3], 2000), { kind: 'failed', message: /cannot be found/ });
  t.match(await probe.verb(await engine(t, () => undefined), { kind: 'wake' }, 50), {
    kind: 'failed',
    message: /50 ms/,
  });
  t.match(await probe.verb({ kind: 'unix', path: '/none' }, { kind: 'wake' }, 50), { kind: 'failed' });
});
