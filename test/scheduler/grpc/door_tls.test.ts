/** The door with a certificate: clients that know its authority get in, plain text and strangers to it do not. */
import { credentials, makeClientConstructor } from '@grpc/grpc-js';
import t from 'tap';
import { createCa, issueCertificate } from '../../../lib/io/local_ca.ts';
import type { InferenceClient } from '../../../proto/gen/inference/v1/Inference.ts';
import { inferenceService } from '../../../proto/load.ts';
import { bearer, body, CANARY_KEY, openDoor, readAll } from './door_fixture.ts';

t.test('with a certificate the door speaks TLS', async (t) => {
  const nowMs = Date.now();
  const ca = await createCa('test', nowMs);
  const pair = await issueCertificate(ca, { commonName: 'scheduler', hosts: ['127.0.0.1'], nowMs });
  const fixture = await openDoor(t, { tls: pair });
  const Constructor = makeClientConstructor(inferenceService, 'Inference');
  const ask = (channel: ReturnType<typeof credentials.createSsl>) => {
    const client = new Constructor(fixture.address(), channel) as unknown as InferenceClient;
    t.teardown(() => client.close());
    return readAll(client.generate({ body: body() }, bearer(CANARY_KEY), { deadline: Date.now() + 2000 }));
  };
  const reading = ask(credentials.createSsl(Buffer.from(ca.certPem)));
  (await fixture.generator.run(0)).done();
  t.equal((await reading).failure, undefined);
  t.ok((await ask(credentials.createInsecure())).code, 'plain text is refused');
  const other = await createCa('other', nowMs);
  t.ok((await ask(credentials.createSsl(Buffer.from(other.certPem)))).code, 'another authority is refused');
  t.equal(fixture.generator.started.length, 1);
});
