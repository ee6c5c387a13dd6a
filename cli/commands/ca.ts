/**
 * `sophia ca`: a small certificate authority for a fleet whose site has none. It works on files only and says whether it
 * changed them, so that a provisioning tool can run it again and again. `sophia up` does the same by itself.
 */
import { X509Certificate } from 'node:crypto';
import { isIP, isIPv6 } from 'node:net';
import path from 'node:path';
import { type Command, InvalidArgumentError } from 'commander';
import { CodedError } from '../../lib/errors.ts';
import { createCa, issueCertificate, type PemPair, readPair, writePair } from '../../lib/io/local_ca.ts';
import { details } from '../output.ts';
import { printerOf } from '../session.ts';

const DAY_MS = 86_400_000;
const CA_NAME = 'ca';
/** Also a file name below the folder, so it is kept to what a host name may hold. */
const NAME = /^[A-Za-z0-9]([A-Za-z0-9.-]{0,61}[A-Za-z0-9])?$/;

/** A node's name, or that of a scheduler. @throws InvalidArgumentError */
export function parseName(text: string): string {
  if (!NAME.test(text) || text === CA_NAME)
    throw new InvalidArgumentError(`Give 1 to 63 letters, digits, dots and dashes, and not "${CA_NAME}".`);
  return text;
}

function parseDays(text: string): number {
  const days = Number(text);
  if (!Number.isInteger(days) || days < 0 || days > 800)
    throw new InvalidArgumentError('Give a whole number of days from 0 to 800.');
  return days;
}

/** IPv6 has many spellings, and certificates carry another than people type. */
const canonical = (host: string): string => (isIPv6(host) ? new URL(`http://[${host}]`).hostname : host.toLowerCase());

function collectHost(value: string, previous: readonly string[]): string[] {
  if (isIP(value) === 0 && !NAME.test(value)) throw new InvalidArgumentError(`"${value}" is no host name or address.`);
  return previous.includes(value) ? [...previous] : [...previous, value];
}

/** DNS names and addresses of a certificate, in the order of the alphabet. */
function hostsOf(certificate: X509Certificate): string[] {
  return (certificate.subjectAltName ?? '')
    .split(', ')
    .filter((entry) => entry !== '')
    .map((entry) => canonical(entry.replace(/^(DNS|IP Address):/, '')))
    .sort();
}

/** Why a certificate must be issued anew, or undefined while it still serves. */
function staleReason(
  pair: PemPair | undefined,
  ca: PemPair,
  wanted: {
    readonly name: string;
    readonly hosts: readonly string[];
    readonly renewMs: number;
    readonly nowMs: number;
  },
): string | undefined {
  if (pair === undefined) return 'there was none';
  const certificate = new X509Certificate(pair.certPem);
  if (!certificate.verify(new X509Certificate(ca.certPem).publicKey)) return 'another authority signed it';
  if (certificate.subject !== `CN=${wanted.name}`) return 'it carried another name';
  if (Date.parse(certificate.validTo) - wanted.nowMs < wanted.renewMs) return 'it was about to expire';
  if (hostsOf(certificate).join() !== wanted.hosts.map(canonical).sort().join()) return 'it carried other hosts';
  return undefined;
}

interface CaFlags {
  readonly dir: string;
}

async function initCa(flags: CaFlags & { readonly name: string }, command: Command): Promise<void> {
  const found = await readPair(flags.dir, CA_NAME);
  const pair = found ?? (await createCa(flags.name, Date.now()));
  if (found === undefined) await writePair(flags.dir, CA_NAME, pair);
  const certFile = path.join(flags.dir, `${CA_NAME}.crt`);
  const { validTo, fingerprint256 } = new X509Certificate(pair.certPem);
  printerOf(command).result({ changed: found === undefined, certFile, validTo, fingerprint256 }, () =>
    details([
      ['certificate', certFile],
      ['valid to', validTo],
      ['fingerprint', fingerprint256],
      ['made now', found === undefined],
    ]),
  );
}

async function issue(
  name: string,
  flags: CaFlags & { readonly host: readonly string[]; readonly renewDays: number },
  command: Command,
): Promise<void> {
  const ca = await readPair(flags.dir, CA_NAME);
  if (ca === undefined) {
    throw new CodedError('invalid_config', `There is no authority in ${flags.dir}; make one with sophia ca init.`, {
      param: 'dir',
    });
  }
  const nowMs = Date.now();
  const existing = await readPair(flags.dir, name);
  const wanted = { name, hosts: flags.host, renewMs: flags.renewDays * DAY_MS, nowMs };
  const reason = staleReason(existing, ca, wanted);
  const keep = reason === undefined ? existing : undefined;
  const pair = keep ?? (await issueCertificate(ca, { commonName: name, hosts: flags.host, nowMs }));
  if (keep === undefined) await writePair(flags.dir, name, pair);
  const files = { certFile: path.join(flags.dir, `${name}.crt`), keyFile: path.join(flags.dir, `${name}.key`) };
  const { validTo } = new X509Certificate(pair.certPem);
  printerOf(command).result({ changed: keep === undefined, reason, ...files, validTo }, () =>
    details([
      ['certificate', files.certFile],
      ['key', files.keyFile],
      ['valid to', validTo],
      ['issued now', reason === undefined ? 'no' : `yes: ${reason}`],
    ]),
  );
}

export function addCaCommands(program: Command): void {
  const ca = program.command('ca').description('a small certificate authority for agents and schedulers');
  ca.command('init')
    .description('make the authority, unless the folder has one')
    .requiredOption('--dir <folder>', 'private folder of the authority')
    .option('--name <text>', 'its name', 'SOPHIA Fleet authority')
    .action(initCa);
  ca.command('issue')
    .argument('<name>', 'node name of an agent, or name of a scheduler', parseName)
    .description('issue NAME.crt and NAME.key, unless the ones in the folder still serve')
    .requiredOption('--dir <folder>', 'folder of the authority')
    .option('--host <name>', 'name or address under which a server is dialled; again for more', collectHost, [])
    .option('--renew-days <n>', 'issue anew when fewer days are left', parseDays, 60)
    .action(issue);
}
