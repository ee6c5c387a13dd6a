/** The door through which a node gives files of models: who gets in, what can be asked for, and how much. */
import { mkdirSync, renameSync, symlinkSync, utimesSync, writeFileSync } from 'node:fs';
import https from 'node:https';
import path from 'node:path';
import t from 'tap';
import { bytesOf, type SourceFile } from '../../../bench/models/source_server.ts';
import { createCa, issueCertificate } from '../../../lib/io/local_ca.ts';
import { signTicket } from '../../../proto/ticket_jws.ts';
import { until } from '../../support/waits.ts';
import { ask, type Giver, giver, GIVER, makeKey, nodeTls, TAKER } from './peer_stand.ts';

const KIB = 1024;
const FILES: readonly SourceFile[] = [
  { path: 'config.json', bytes: 500, seed: 7 },
  { path: 'sub dir/w.safetensors', bytes: 600 * KIB, seed: 1 },
];
const [CONFIG, WEIGHTS] = FILES as [SourceFile, SourceFile];
const contentOf = (file: SourceFile): Buffer => Buffer.concat([...bytesOf(file, 0, file.bytes)]);
const CONFIG_AT = '/model-files/v1/config.json';
const WEIGHTS_AT = '/model-files/v1/sub%20dir/w.safetensors';

const sumAt = ({ model }: Giver, index: number): string => `"${model.files[index]?.sum}"`;
const codeOf = (body: Buffer): string => (JSON.parse(body.toString()) as { error: { code: string } }).error.code;

t.test('a good ticket opens the whole file, a range of it, and its end', async (t) => {
  const here = await giver(t, FILES);
  const tls = await nodeTls(TAKER);
  const headers = { authorization: `Bearer ${await here.ticket()}` };
  const small = await ask(here.port, tls, CONFIG_AT, { ...headers, 'if-match': sumAt(here, 0) });
  t.equal(small.status, 200);
  t.ok(small.body.equals(contentOf(CONFIG)));
  const large = { ...headers, 'if-match': sumAt(here, 1) };
  const part = await ask(here.port, tls, WEIGHTS_AT, { ...large, range: 'bytes=1000-400999' });
  t.match(part, { status: 206, headers: { 'content-range': `bytes 1000-400999/${WEIGHTS.bytes}` } });
  t.ok(part.body.equals(contentOf(WEIGHTS).subarray(1000, 401_000)));
  const end = await ask(here.port, tls, WEIGHTS_AT, { ...large, range: 'bytes=614300-' });
  t.ok(end.body.equals(contentOf(WEIGHTS).subarray(614_300)));
  for (const range of ['bytes=614400-', 'bytes=5-4', 'bytes=-5', 'bytes=0-1,3-4', 'lines=1-2']) {
    const bad = await ask(here.port, tls, WEIGHTS_AT, { ...large, range });
    t.match([bad.status, codeOf(bad.body)], [400, 'invalid_value'], range);
  }
  await until(() => here.servedBytes() === 500 + 400_000 + 100, 'the count of bytes');
});

t.test('expired, forged, borrowed and foreign tickets open nothing', async (t) => {
  const here = await giver(t, FILES);
  const tls = await nodeTls(TAKER);
  const nowS = Math.floor(Date.now() / 1000);
  const forger = await makeKey();
  const good = await here.ticket();
  const requestTicket = await signTicket(forger.privateKey, forger.keyId, {
    ...{ iss: 'first', aud: GIVER, jti: 'j', iat: nowS, exp: nowS + 60, lis: 'l', eng: 'e', inc: 1, mdl: 'm' },
    ...{ end: 'chat', ten: 't', rid: 'r', lim: 1 },
  });
  for (const [what, ticket, code] of [
    ['expired', await here.ticket({ iat: nowS - 100, exp: nowS - 50 }), 'ticket_expired'],
    ['not yet', await here.ticket({ iat: nowS + 100, exp: nowS + 150 }), 'ticket_expired'],
    ['too long a life', await here.ticket({ exp: nowS + 100_000 }), 'ticket_invalid'],
    ['by a strange key', await here.ticket({}, forger), 'ticket_invalid'],
    [
      'by a strange key under a known name',
      await here.ticket({}, { ...forger, keyId: keyIdOf(good) }),
      'ticket_invalid',
    ],
    ['of another scheduler', await here.ticket({ iss: 'second' }), 'ticket_invalid'],
    ['for another giver', await here.ticket({ aud: 'gpu-9' }), 'ticket_wrong_node'],
    ['for another taker', await here.ticket({ sub: 'gpu-3' }), 'ticket_wrong_node'],
    ['for another model', await here.ticket({ src: 'hf://maker/other' }), 'not_found'],
    ['for another commit', await here.ticket({ res: 'f'.repeat(40) }), 'not_found'],
    ['for a request', requestTicket, 'ticket_invalid'],
    ['changed by a bit', flipped(good), 'ticket_invalid'],
    ['no ticket', 'x', 'ticket_invalid'],
  ] as const) {
    const headers = { authorization: `Bearer ${ticket}`, 'if-match': sumAt(here, 0) };
    t.equal(codeOf((await ask(here.port, tls, CONFIG_AT, headers)).body), code, what);
  }
  t.equal(codeOf((await ask(here.port, tls, CONFIG_AT, {})).body), 'ticket_missing');
  const post = await ask(here.port, tls, CONFIG_AT, { authorization: `Bearer ${good}` }, 'POST');
  t.equal(codeOf(post.body), 'method_not_allowed');
  t.equal(codeOf((await ask(here.port, tls, '/metrics', { authorization: `Bearer ${good}` })).body), 'route_not_found');
  await until(() => (here.refusals()['ticket_expired'] ?? 0) === 2, 'the count of refusals');
});

t.test('a caller shows a certificate of the fleet with the name in its ticket, or gets nothing', async (t) => {
  const here = await giver(t, FILES);
  const tls = await nodeTls(TAKER);
  const headers = { authorization: `Bearer ${await here.ticket()}`, 'if-match': sumAt(here, 0) };
  const { caPem } = tls;
  await t.rejects(ask(here.port, { caPem }, CONFIG_AT, headers), 'none');
  const strange = await createCa('another authority', Date.now());
  const pair = await issueCertificate(strange, { commonName: TAKER, hosts: [], nowMs: Date.now() });
  await t.rejects(ask(here.port, { caPem, ...pair }, CONFIG_AT, headers), 'of another authority');
  const other = await ask(here.port, await nodeTls('gpu-3'), CONFIG_AT, headers);
  t.match([other.status, codeOf(other.body)], [403, 'ticket_wrong_node'], 'of another node');
  t.equal((await ask(here.port, tls, CONFIG_AT, headers)).status, 200);
  const renewed = await nodeTls(GIVER);
  here.door.setTls(renewed);
  t.equal((await ask(here.port, tls, CONFIG_AT, headers)).status, 200, 'with new certificates');
});

t.test('no path leads out of the files of the model', async (t) => {
  const here = await giver(t, FILES);
  const tls = await nodeTls(TAKER);
  const { folder } = here.model;
  writeFileSync(path.join(folder, '.sophia-model.json'), 'canary');
  writeFileSync(path.join(folder, 'beside.txt'), 'canary');
  writeFileSync(path.join(folder, '..', 'outside.txt'), 'canary');
  const headers = { authorization: `Bearer ${await here.ticket()}`, 'if-match': sumAt(here, 0) };
  for (const name of [
    '../outside.txt',
    '..%2foutside.txt',
    '%2e%2e/outside.txt',
    'sub%20dir/../../outside.txt',
    'config.json/../../outside.txt',
    '..%252foutside.txt',
    '..%5coutside.txt',
    '/etc/passwd',
    '%2fetc%2fpasswd',
    'config.json%00.txt',
    './config.json',
    'beside.txt',
    '.sophia-model.json',
    'sub%20dir',
    '%ff',
    '',
  ]) {
    const answer = await ask(here.port, tls, `/model-files/v1/${name}`, headers);
    t.match([answer.status, codeOf(answer.body)], [404, 'not_found'], name);
    t.notMatch(answer.body.toString(), /canary|root:/);
  }
});

t.test('a file that is not as it was when it was checked is not given, nor one behind a link', async (t) => {
  const here = await giver(t, FILES);
  const tls = await nodeTls(TAKER);
  const { folder, files } = here.model;
  const authorization = `Bearer ${await here.ticket()}`;
  const config = { authorization, 'if-match': sumAt(here, 0) };
  const weights = { authorization, 'if-match': sumAt(here, 1) };
  const other = await ask(here.port, tls, CONFIG_AT, { authorization, 'if-match': sumAt(here, 1) });
  t.equal(other.status, 404, 'asked for by another sum');
  t.equal((await ask(here.port, tls, CONFIG_AT, { authorization })).status, 404, 'asked for by no sum');
  // A link in the place of a folder, to the same files.
  renameSync(path.join(folder, 'sub dir'), path.join(folder, '..', 'moved'));
  symlinkSync(path.join(folder, '..', 'moved'), path.join(folder, 'sub dir'));
  t.equal((await ask(here.port, tls, WEIGHTS_AT, weights)).status, 404);
  const place = path.join(folder, 'config.json');
  renameSync(place, path.join(folder, 'real'));
  symlinkSync('real', place);
  t.equal((await ask(here.port, tls, CONFIG_AT, config)).status, 404);
  renameSync(path.join(folder, 'real'), place);
  t.equal((await ask(here.port, tls, CONFIG_AT, config)).status, 200, 'in its place again');
  utimesSync(place, 1, 1);
  t.equal((await ask(here.port, tls, CONFIG_AT, config)).status, 404, 'touched');
  renameSync(place, path.join(folder, 'gone'));
  mkdirSync(place);
  t.equal((await ask(here.port, tls, CONFIG_AT, config)).status, 404, 'a folder in its place');
  here.door.setModels([]);
  t.equal((await ask(here.port, tls, WEIGHTS_AT, weights)).status, 404, 'the model has been removed');
  t.equal(files.length, 2);
});

t.test('transfers are bounded in number, in bytes a second, and in patience', async (t) => {
  const big: SourceFile = { path: 'big.safetensors', bytes: 40 * 1024 * KIB, seed: 3 };
  const here = await giver(t, [CONFIG, big], { maxTransfers: 1, stallTimeoutMs: 1000 });
  const tls = await nodeTls(TAKER);
  const authorization = `Bearer ${await here.ticket()}`;
  const config = { authorization, 'if-match': sumAt(here, 0) };
  const slow = https.get({
    ...{ host: '127.0.0.1', port: here.port, path: '/model-files/v1/big.safetensors', agent: false },
    ...{ ca: tls.caPem, cert: tls.certPem, key: tls.keyPem, checkServerIdentity: () => undefined },
    headers: { authorization, 'if-match': sumAt(here, 1) },
  });
  const ended = new Promise<void>((resolve) => {
    slow.on('error', () => resolve());
    slow.on('response', (response) => {
      // It reads nothing until the other end has lost its patience.
      response.on('close', () => resolve());
      response.on('error', () => undefined);
      setTimeout(() => response.resume(), 2000);
    });
  });
  await until(async () => (await ask(here.port, tls, CONFIG_AT, config)).status !== 200, 'the first to be under way');
  const full = await ask(here.port, tls, CONFIG_AT, config);
  t.match(codeOf(full.body), 'overloaded');
  t.ok(Number(full.headers['retry-after']) >= 1);
  await until(async () => (await ask(here.port, tls, CONFIG_AT, config)).status === 200, 'the stalled one to be cut');
  await ended;

  const narrow = await giver(t, FILES, { bandwidth: 1000 * KIB });
  const startMs = performance.now();
  const headers = { authorization: `Bearer ${await narrow.ticket()}`, 'if-match': sumAt(narrow, 1) };
  t.equal((await ask(narrow.port, tls, WEIGHTS_AT, headers)).body.length, WEIGHTS.bytes);
  t.ok(performance.now() - startMs > 300, 'the limit holds');
});

const keyIdOf = (ticket: string): string =>
  (JSON.parse(Buffer.from(ticket.split('.')[0] as string, 'base64url').toString()) as { kid: string }).kid;

function flipped(ticket: string): string {
  const [head = '', body = '', sum = ''] = ticket.split('.');
  const claims = Buffer.from(body, 'base64url').toString().replace('gpu-2', 'gpu-3');
  return `${head}.${Buffer.from(claims).toString('base64url')}.${sum}`;
}
