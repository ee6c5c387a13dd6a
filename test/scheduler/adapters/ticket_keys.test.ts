/** The keys that sign tickets: which files are taken, how one follows another, and how long the old one stays. */
import { generateKeyPairSync, type KeyObject } from 'node:crypto';
import { chmodSync, renameSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import t from 'tap';
import type { TicketClaims } from '../../../lib/ticket.ts';
import { TicketVerifier } from '../../../proto/ticket_jws.ts';
import { openTicketKeys, type TicketKeysOptions } from '../../../scheduler/adapters/ticket_keys.ts';
import { until } from '../../support/waits.ts';
import { fakeClock } from '../fakes.ts';

const CLAIMS: TicketClaims = {
  ...{ iss: 'a', aud: 'n', jti: 'j', iat: 1, exp: 2, lis: 'l', eng: 'e', inc: 1, mdl: 'm' },
  ...{ end: 'chat', ten: 't', rid: 'r', lim: 1 },
};

const pemOf = (key: KeyObject): string => key.export({ type: 'pkcs8', format: 'pem' }) as string;
const newPem = (): string => pemOf(generateKeyPairSync('ed25519').privateKey);

function setUp(folder: string) {
  const lines: string[] = [];
  const log = (fields: object, message: string): void => void lines.push(`${JSON.stringify(fields)} ${message}`);
  const clock = fakeClock();
  const file = path.join(folder, 'ticket.key');
  const put = (text: string, mode = 0o600): void => {
    writeFileSync(`${file}.new`, text, { mode });
    chmodSync(`${file}.new`, mode);
    renameSync(`${file}.new`, file);
  };
  const logger = { info: log, warn: log } as unknown as TicketKeysOptions['logger'];
  const open = (change: Partial<TicketKeysOptions> = {}) =>
    openTicketKeys({ file, reloadMs: 1000, retireMs: 60_000, clock, logger, ...change });
  /** Moves on to the next look at the file, and waits until it is over. */
  const look = async (): Promise<void> => {
    await until(() => clock.timers === 1, 'the last look to be over');
    clock.advance(1000);
    await until(() => clock.timers === 1, 'the look at the file');
  };
  return { lines, clock, file, put, open, look };
}

t.test('a key of the file signs what a verifier that knows it takes', async (t) => {
  const { put, open, lines } = setUp(t.testdir());
  const pem = newPem();
  put(pem);
  const keys = await open();
  const [key] = keys.keys();
  t.same(Object.keys(key ?? {}), ['keyId', 'publicKey'], 'only what is public is told');
  const verifier = new TicketVerifier();
  await verifier.setIssuers([{ issuer: 'a', keys: keys.keys() }]);
  t.same((await verifier.verify(await keys.sign(key?.keyId ?? '', CLAIMS))).claims, CLAIMS);
  await t.rejects(keys.sign('other', CLAIMS), /retired/);
  t.notMatch(lines.join('\n'), pem.split('\n')[1] as string);
  await keys.stop();
});

t.test('without a file a key lives as long as the process, and the log says so', async (t) => {
  const { open, lines } = setUp(t.testdir());
  const keys = await open({ file: undefined });
  keys.start(() => t.fail('it never changes'));
  t.equal(keys.keys().length, 1);
  t.match(lines, [/ends with this process: set ticketKeyFile/]);
  await keys.stop();
});

t.test(
  'a file that is no private Ed25519 key of its owner alone is refused, without a word of what is in it',
  async (t) => {
    const { put, open, file } = setUp(t.testdir());
    const rsa = pemOf(generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey);
    const cases: readonly (readonly [string, number, RegExp])[] = [
      [newPem(), 0o644, /others may read/],
      [newPem(), 0o640, /others may read/],
      ['secret words', 0o600, /no unencrypted private key/],
      ['x'.repeat(20_000), 0o600, /too large/],
      [rsa, 0o600, /rsa, not ed25519/],
    ];
    await t.rejects(open(), { code: 'invalid_config', param: 'ticketKeyFile', message: /ENOENT/ });
    for (const [text, mode, message] of cases) {
      put(text, mode);
      await t.rejects(open(), { code: 'invalid_config', param: 'ticketKeyFile', message });
    }
    put('secret words');
    const error = (await open().catch((thrown: unknown) => thrown)) as Error;
    t.notMatch(`${error.message} ${error.stack} ${String(error.cause)}`, 'secret words');
    await t.rejects(open({ file: path.dirname(file) }), { code: 'invalid_config', message: /names no file/ });
  },
);

t.test('the key of a new file signs, and the old one is told until its tickets are over', async (t) => {
  const { put, open, look, clock, lines } = setUp(t.testdir());
  put(newPem());
  const keys = await open();
  let changes = 0;
  keys.start(() => void (changes += 1));
  const [first] = keys.keys();
  await look();
  t.equal(changes, 0, 'the same file is no change');
  put('half a key');
  await look();
  await look();
  t.equal(changes, 0);
  t.equal(lines.filter((line) => line.includes('stays as it was')).length, 1, 'a refusal is told once');
  put(newPem());
  await look();
  t.equal(changes, 1);
  t.equal(keys.keys().length, 2);
  t.not(keys.keys()[0]?.keyId, first?.keyId, 'the newest comes first');
  t.equal(keys.keys()[1]?.keyId, first?.keyId);
  clock.advance(59_000);
  await look();
  await look();
  t.equal(keys.keys().length, 1, 'the old key is retired');
  t.equal(changes, 2);
  for (let i = 0; i < 12; i++) {
    put(newPem());
    await look();
  }
  t.equal(keys.keys().length, 8, 'and a file that changes all the time fills nothing');
  await keys.stop();
  t.equal(clock.timers, 0);
});
