/** The thread that gives models: what sessions are told of it, what it gives, and what happens when it cannot listen. */
import { createServer, type AddressInfo } from 'node:net';
import path from 'node:path';
import t from 'tap';
import { createModelServing, type ModelServingDeps } from '../../../agent/adapters/model_serving.ts';
import { servingUrl } from '../../../agent/wire/models.ts';
import { until } from '../../support/waits.ts';
import { ask, makeKey, nodeTls, shelve, SOURCE } from '../model_files/peer_stand.ts';
import { COMMIT } from '../../../bench/models/source_server.ts';
import { signModelTicket } from '../../../proto/ticket_jws.ts';
import { temporary } from '../model_files/place.ts';

async function serve(t: { teardown(task: () => unknown): void }, port = 0) {
  const told: { scheduler: string; url: string; keyIds: readonly string[] }[] = [];
  const lines: string[] = [];
  const figures = { bytes: 0, refused: new Map<string, number>() };
  const line = (fields: object, text: string): void => void lines.push(`${JSON.stringify(fields)} ${text}`);
  const deps: ModelServingDeps = {
    settings: {
      ...{ nodeName: 'gpu-1', host: '127.0.0.1', port, tls: await nodeTls('gpu-1'), clockSkewMs: 1000 },
      ...{ maxTransfers: 2, bandwidth: 0, stallTimeoutMs: 5000 },
    },
    links: {
      sendModelListener: (scheduler, { url = '', keyIds = [] }) => void told.push({ scheduler, url, keyIds }),
    },
    urlOf: (bound) => `https://127.0.0.1:${bound}`,
    figures: {
      modelBytesServed(bytes) {
        figures.bytes += bytes;
      },
      modelRefused: (code, count) => void figures.refused.set(code, count),
    },
    log: { info: line, warn: line, error: line },
  };
  const serving = createModelServing(deps);
  t.teardown(() => serving.stop());
  return { serving, told, lines, figures };
}

t.test('a session hears where the node can be asked and which keys it knows, and what is asked is given', async (t) => {
  const { serving, told, lines, figures } = await serve(t);
  const key = await makeKey();
  const file = { path: 'w.gguf', bytes: 1000, seed: 1 };
  const model = shelve(path.join(temporary(t), 'm'), [file]);
  serving.setModels([model]);
  serving.connected('s:1');
  serving.start();
  await until(() => told.some(({ url }) => url !== ''), 'the address');
  serving.onTicketIssuer('s:1', { issuer: 'first', keys: [key] } as never);
  await until(() => told.at(-1)?.keyIds.length === 1, 'the key');
  t.same(told.at(-1)?.keyIds, [key.keyId]);
  serving.connected('s:2');
  t.match(told.at(-1), { scheduler: 's:2', keyIds: [] });
  const port = Number(new URL(told.at(-1)?.url ?? '').port);
  const nowS = Math.floor(Date.now() / 1000);
  const claims = { iss: 'first', aud: 'gpu-1', sub: 'gpu-2', iat: nowS, exp: nowS + 60, src: SOURCE, res: COMMIT };
  const ticket = await signModelTicket(key.privateKey, key.keyId, claims);
  const headers = { authorization: `Bearer ${ticket}`, 'if-match': `"${model.files[0]?.sum}"` };
  const tls = await nodeTls('gpu-2');
  serving.setTls(await nodeTls('gpu-1'));
  t.equal((await ask(port, tls, '/model-files/v1/w.gguf', headers)).body.length, 1000);
  t.equal((await ask(port, tls, '/model-files/v1/none', headers)).status, 404);
  await until(() => figures.bytes === 1000 && figures.refused.get('not_found') === 1, 'the figures');
  t.notMatch(lines.join(), new RegExp(`https://|${ticket}`));
  await serving.stop();
  await t.rejects(ask(port, tls, '/model-files/v1/w.gguf', headers));
});

t.test('a port that is taken is said, and tried again until it is free', async (t) => {
  const squatter = createServer();
  await new Promise<void>((resolve) => squatter.listen(0, '127.0.0.1', resolve));
  const { port } = squatter.address() as AddressInfo;
  const { serving, told, lines } = await serve(t, port);
  serving.connected('s:1');
  serving.start();
  await until(() => lines.some((line) => /EADDRINUSE.*cannot be given/.test(line)), 'the trouble');
  t.match(told.at(-1), { url: '' });
  await new Promise((resolve) => squatter.close(resolve));
  await until(() => told.at(-1)?.url === `https://127.0.0.1:${port}`, 'the port');
});

t.test('a thread that ends is started again, with all that it was told', async (t) => {
  const { serving, told, lines } = await serve(t);
  const key = await makeKey();
  serving.connected('s:1');
  serving.start();
  // A key that cannot be read is passed over; a message that cannot be understood ends the thread.
  serving.onTicketIssuer('s:1', { issuer: 'first', keys: [key] } as never);
  await until(() => told.at(-1)?.keyIds.length === 1, 'the first life');
  serving.setModels([null as never]);
  await until(() => lines.some((line) => /has failed/.test(line)), 'its end');
  serving.setModels([]);
  await until(() => told.at(-1)?.url === '', 'that it is gone');
  await until(() => told.at(-1)?.keyIds.length === 1 && told.at(-1)?.url !== '', 'the second life');
});

t.test('the address that others are told', (t) => {
  const of = (host: string, url?: string): string =>
    servingUrl({ modelsServeHost: host, modelsServeUrl: url } as never)(8446);
  t.equal(of('127.0.0.1'), 'https://127.0.0.1:8446');
  t.equal(of('::1'), 'https://[::1]:8446');
  t.equal(of('0.0.0.0', 'https://gpu-7.example:9'), 'https://gpu-7.example:9');
  for (const [host, url] of [
    ['0.0.0.0', undefined],
    ['::', undefined],
    ['127.0.0.1', 'http://gpu-7.example'],
    ['127.0.0.1', 'https://gpu-7.example/path'],
  ] as const)
    t.throws(() => of(host, url), { code: 'invalid_config', param: 'modelsServeUrl' });
  t.end();
});
