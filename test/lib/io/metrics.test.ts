/** Metrics: names, types and bounded labels, as Prometheus would scrape them. */
import t from 'tap';
import { METRICS, type MetricSpec } from '../../../lib/io/metric_names.ts';
import { boundedLabel, createMetrics } from '../../../lib/io/metrics.ts';

t.test('counters, gauges and histograms come out under their declared names', async (t) => {
  const metrics = createMetrics();
  metrics.chatRequestsTotal.inc({ model: 'm', outcome: 'ok', code: 'ok', door: 'http' });
  metrics.chatRequestsTotal.inc({ model: 'm', outcome: 'ok', code: 'ok', door: 'http' }, 2);
  metrics.chatRequestDurationSeconds.observe({ model: 'm', door: 'http' }, 0.3);
  const active = metrics.gauge('chat_requests_active');
  active.set({ door: 'http' }, 5);
  active.inc({ door: 'http' });
  active.dec({ door: 'http' }, 2);
  const text = await metrics.render();
  t.match(text, /# TYPE chat_requests_total counter/);
  t.match(text, 'chat_requests_total{model="m",outcome="ok",code="ok",door="http"} 3');
  t.match(text, 'chat_request_duration_seconds_bucket{le="0.5",model="m",door="http"} 1');
  t.match(text, 'chat_request_duration_seconds_bucket{le="0.2",model="m",door="http"} 0');
  t.match(text, 'chat_requests_active{door="http"} 4');
  t.match(text, /process_cpu_seconds_total/);
  t.match(metrics.contentType, /text\/plain/);
  t.notMatch(await createMetrics({ processMetrics: false }).render(), /process_cpu/);
});

t.test('asking twice for a metric gives the same one, and processes do not share', async (t) => {
  const metrics = createMetrics({ processMetrics: false });
  metrics.counter('dropped_total').inc({ where: 'queue' });
  metrics.counter('dropped_total').inc({ where: 'queue' });
  metrics.histogram('sophia_engine_ready_seconds').observe({ kind: 'sim' }, 1);
  t.match(await metrics.render(), 'dropped_total{where="queue"} 2');
  t.notMatch(await createMetrics({ processMetrics: false }).render(), /where="queue"/);
});

t.test('a label that a client chooses cannot grow without bound', async (t) => {
  const metrics = createMetrics({ processMetrics: false, maxLabelValues: 3 });
  for (let i = 0; i < 1_000; i++)
    metrics.chatRequestsTotal.inc({ model: `m${i}`, outcome: 'ok', code: 'ok', door: 'http' });
  metrics.chatRequestsTotal.inc({ model: 'm1', outcome: 'ok', code: 'ok', door: 'http' });
  const text = await metrics.render();
  t.equal(text.split('\n').filter((line) => line.startsWith('chat_requests_total{')).length, 4);
  t.match(text, 'chat_requests_total{model="other",outcome="ok",code="ok",door="http"} 997');
  t.match(text, 'chat_requests_total{model="m1",outcome="ok",code="ok",door="http"} 2');
  metrics.counter('auth_failures_total').inc({ door: 'x'.repeat(5_000), reason: 'r' });
  t.notMatch(await metrics.render(), 'x'.repeat(129));
});

t.test('what is counted between two looks is told once, in its order with what was set', async (t) => {
  const metrics = createMetrics({ processMetrics: false });
  const dropped = metrics.counter('dropped_total');
  const active = metrics.gauge('chat_requests_active');
  dropped.inc({ where: 'queue' }, 0);
  t.match(await metrics.render(), 'dropped_total{where="queue"} 0', 'a series without a sum is there');
  dropped.inc({ where: 'queue' }, 2);
  active.inc({ door: 'http' }, 5);
  active.set({ door: 'http' }, 1);
  active.inc({ door: 'http' });
  for (let look = 0; look < 2; look++) {
    const text = await metrics.render();
    t.match(text, 'dropped_total{where="queue"} 2');
    t.match(text, 'chat_requests_active{door="http"} 2');
  }
  active.replace([[{ door: 'grpc' }, 3]]);
  active.inc({ door: 'http' }, 4);
  const text = await metrics.render();
  t.match(text, 'chat_requests_active{door="grpc"} 3');
  t.match(text, 'chat_requests_active{door="http"} 4');
  t.throws(() => dropped.inc({ where: 'queue' }, -1));
  t.throws(() => dropped.inc({ where: 'queue' }, Infinity));
});

t.test('series beyond those that are kept are counted all the same', async (t) => {
  const metrics = createMetrics({ processMetrics: false, maxLabelValues: 5000 });
  const dropped = metrics.counter('dropped_total');
  for (let i = 0; i < 3000; i++) dropped.inc({ where: `w${i % 2500}` });
  const text = await metrics.render();
  t.match(text, 'dropped_total{where="w0"} 2');
  t.match(text, 'dropped_total{where="w2499"} 1');
  t.match(text, 'dropped_total{where="w400"} 2');
});

t.test('a removed series frees its place', async (t) => {
  const metrics = createMetrics({ processMetrics: false, maxLabelValues: 2 });
  const running = metrics.gauge('lane_requests_active');
  running.set({ worker: 'a' }, 1);
  running.set({ worker: 'b' }, 1);
  running.set({ worker: 'c' }, 9);
  running.remove({ worker: 'd' });
  t.match(await metrics.render(), 'lane_requests_active{worker="other"} 9', 'what is not there takes nothing away');
  running.remove({ worker: 'a' });
  running.set({ worker: 'e' }, 7);
  const text = await metrics.render();
  t.notMatch(text, 'worker="a"');
  t.match(text, 'lane_requests_active{worker="e"} 7');
  const engines = metrics.gauge('sophia_gpu_health');
  engines.set({ node: 'n', gpu: '0', state: 'ok' }, 1);
  engines.remove({ node: 'n', gpu: '0', state: 'ok' });
  t.notMatch(await metrics.render(), 'sophia_gpu_health{');
});

t.test('boundedLabel lets known values through', async (t) => {
  const method = boundedLabel(['GET', 'POST']);
  t.equal(method('GET'), 'GET');
  t.equal(method('BREW'), 'other');
  t.equal(boundedLabel([], '?')('x'), '?');
});

t.test('declared metrics follow the naming rules of Prometheus', async (t) => {
  for (const [name, spec] of Object.entries<MetricSpec>(METRICS)) {
    t.match(name, /^[a-z][a-z0-9_]*$/);
    t.equal(spec.type === 'counter', name.endsWith('_total'), `${name}: _total is for counters`);
    t.equal(spec.type === 'histogram', spec.buckets !== undefined, `${name}: buckets are for histograms`);
    t.match(spec.help, /^[A-Z].*\.$/, `${name}: help is a sentence`);
    const { buckets = [] } = spec;
    t.same(
      buckets,
      [...buckets].sort((a, b) => a - b),
    );
    for (const label of spec.labels)
      t.notOk(['request_id', 'prompt', 'user', 'key'].includes(label), `${name}: ${label} is unbounded`);
  }
});

t.test('series that are looked up at a scrape replace those of the scrape before', async (t) => {
  const metrics = createMetrics({ processMetrics: false });
  const ages = new Map([
    ['a', 1],
    ['b', 2],
  ]);
  metrics.onRender(() => {
    metrics.gauge('sophia_node_telemetry_age_seconds').replace([...ages].map(([node, age]) => [{ node }, age]));
  });
  t.match(await metrics.render(), 'sophia_node_telemetry_age_seconds{node="b"} 2');
  ages.delete('b');
  const text = await metrics.render();
  t.match(text, 'sophia_node_telemetry_age_seconds{node="a"} 1');
  t.notMatch(text, 'node="b"');
});

t.test('the calm set of process metrics lacks the histogram of the event loop and nothing else', async (t) => {
  const names = (mode: true | 'calm') => createMetrics({ processMetrics: mode }).processMetrics.map(({ name }) => name);
  const lacking = names(true).filter((name) => !names('calm').includes(name));
  t.ok(lacking.includes('nodejs_eventloop_lag_p99_seconds'));
  t.same(
    lacking.filter((name) => !name.startsWith('nodejs_eventloop_lag_')),
    [],
  );
});
