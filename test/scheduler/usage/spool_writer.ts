/** Spools one request after the other and says how many are on the disk, until it is killed. */
import { systemClock, systemRandom } from '../../../lib/io/system.ts';
import { randomToken } from '../../../lib/ids.ts';
import { nodeSpoolFiles } from '../../../scheduler/adapters/usage/spool_files.ts';
import { UsageSpool } from '../../../scheduler/adapters/usage/spool.ts';
import { usageRow } from './usage_fixture.ts';

const MAX_RECORDS = 100_000;
const spool = new UsageSpool({
  files: nodeSpoolFiles(process.argv[2] as string),
  newId: () => `${process.pid}-1-ab-${randomToken(systemRandom, 8)}`,
  isAlive: async () => true,
  maxBytes: 1_000_000_000,
  segmentBytes: 2000,
  wallMs: systemClock.wallMs,
  damaged: () => undefined,
});
await spool.adopt();
for (let count = 1; count <= MAX_RECORDS; count++) {
  const { taken, error } = await spool.write([usageRow({ tenant: `t${count % 7}` })]);
  if (!taken || error !== undefined) throw error;
  process.stdout.write(`sure ${count}\n`);
}
