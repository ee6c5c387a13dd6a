/** What makes two requests with one idempotency key the same. */
import { createHash } from 'node:crypto';
import t from 'tap';
import type { TenantId } from '../../../../lib/ids.ts';
import { REQUEST_ID_PATTERN } from '../../../../lib/ids.ts';
import { type HashOf, repeatOf } from '../../../../scheduler/core/request/repeat_key.ts';
import { request, TENANT } from '../../fakes.ts';

const hashOf: HashOf = (...parts) => {
  const hash = createHash('sha256');
  for (const part of parts) hash.update(part).update('\0');
  return hash.digest('hex');
};
const { identity } = request();
const asked = {
  key: 'k',
  after: undefined,
  tenant: TENANT,
  identity,
  endpoint: 'chat',
  body: Buffer.from('{}'),
} as const;

t.test('the id is made of tenant and key; identity and body are told apart', async (t) => {
  const first = repeatOf(asked, hashOf);
  t.match(first.id, REQUEST_ID_PATTERN);
  t.equal(first.repeat.after, 0);
  t.same(repeatOf({ ...asked, after: '7' }, hashOf), { ...first, repeat: { ...first.repeat, after: 7 } });
  t.not(repeatOf({ ...asked, key: 'l' }, hashOf).id, first.id);
  t.not(repeatOf({ ...asked, tenant: 'other' as TenantId }, hashOf).id, first.id);
  const other = repeatOf({ ...asked, identity: { ...identity, subject: 'you' } }, hashOf);
  t.equal(other.id, first.id);
  t.not(other.repeat.identity, first.repeat.identity);
  t.not(repeatOf({ ...asked, body: Buffer.from('[]') }, hashOf).repeat.body, first.repeat.body);
  t.not(repeatOf({ ...asked, endpoint: 'completions' }, hashOf).repeat.body, first.repeat.body);
});

t.test('malformed keys and counts are refused', async (t) => {
  for (const key of ['', 'a b', 'é', 'x'.repeat(256)])
    t.throws(() => repeatOf({ ...asked, key }, hashOf), { code: 'invalid_value', param: 'idempotency-key' });
  for (const after of ['', '-1', '1.5', '1e3', '9999999999'])
    t.throws(() => repeatOf({ ...asked, after }, hashOf), { code: 'invalid_value', param: 'x-resume-after' });
});
