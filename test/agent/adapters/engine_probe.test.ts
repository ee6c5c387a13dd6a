/** Questions to an engine: answers of a real vLLM, and everything that is no answer. */
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import t from 'tap';
import { createEngineProbe, loadFromMetrics, parsePrometheus } from '../../../agent/adapters/engine_probe.ts';
import type { EngineAddress } from '../../../agent/ports.ts';
import { fixture } from '../support/bytes.ts';

const probe = createEngineProbe();
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
  t.equal(parsePrometheus('a 1\na{b="c"} 2\n').get('a'), 3);
});
