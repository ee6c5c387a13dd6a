/** What an agent says about a configuration that it cannot work with. */
import { execFile } from 'node:child_process';
import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { makeCertificates, removeFolder } from '../support/fake_scheduler.ts';

const MAIN = fileURLToPath(new URL('../../agent/main.js', import.meta.url));

/** Runs the agent to its end. */
function run(flags: readonly string[]): Promise<{ status: number; stdout: string; stderr: string }> {
  return new Promise((resolve) => {
    const options = { timeout: 20_000, env: { PATH: process.env['PATH'] ?? '' } };
    execFile(process.execPath, [MAIN, ...flags], options, (error, stdout, stderr) => {
      resolve({ status: error === null ? 0 : Number(error.code), stdout, stderr });
    });
  });
}

t.test('a bad configuration ends with one sentence and exit code 2', async (t) => {
  const certificates = await makeCertificates('node-a');
  const folder = mkdtempSync(path.join(tmpdir(), 'fleet-config-'));
  const garbage = path.join(folder, 'garbage.pem');
  writeFileSync(garbage, 'not a certificate');
  const good = [
    '--schedulers',
    '127.0.0.1:1',
    '--ca-file',
    certificates.caFile,
    '--cert-file',
    certificates.agent.certFile,
    '--key-file',
    certificates.agent.keyFile,
    '--data-dir',
    path.join(folder, 'data'),
  ];
  const cases: readonly (readonly [readonly string[], RegExp])[] = [
    [[], /schedulers is required/],
    [[...good, '--no-such-setting', '1'], /no-such-setting/],
    [[...good, '--relay-workers', 'many'], /relayWorkers .*"many" is not allowed/],
    [[...good, '--cert-file', path.join(folder, 'absent')], /certFile: the file .* cannot be read \(ENOENT\)/],
    [[...good, '--ca-file', garbage], /caFile: the file holds no certificate/],
    [[...good, '--key-file', certificates.caFile], /keyFile: the file holds no unencrypted private key/],
    [[...good, '--data-dir', path.join(garbage, 'x')], /dataDir: the folder .* cannot be made/],
  ];
  const runs = cases.map(async ([flags, sentence]) => {
    // A later flag of the same name replaces the sound one.
    const argv = new Map<string, string>();
    for (let i = 0; i < flags.length; i += 2) argv.set(flags[i] as string, flags[i + 1] as string);
    const { status, stderr } = await run([...argv].flat());
    t.equal(status, 2, stderr);
    t.match(stderr, sentence);
    t.equal(stderr.trim().split('\n').length, 1, 'one line');
  });
  await Promise.all(runs);
  await Promise.all([removeFolder(folder), removeFolder(certificates.folder)]);
});

t.test('it prints its configuration, each value with its source', async (t) => {
  const { status, stdout } = await run([
    '--print-config',
    '--schedulers',
    '127.0.0.1:1',
    '--ca-file',
    'a',
    '--cert-file',
    'b',
    '--key-file',
    'c',
    '--lane-hold-ms',
    '5',
  ]);
  t.equal(status, 0);
  t.match(stdout, /laneHoldMs.*5.*flag --lane-hold-ms/);
  t.match(stdout, /relayWorkers.*default/);
});
