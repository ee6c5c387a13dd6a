/**
 * What a new host needs to join a fleet, as one archive to unpack in its configuration folder: a certificate that names
 * the node, its key, the authority, and an agent.yaml that says where they lie and whom to dial. The archive is a plain
 * tar (POSIX ustar), so that the host needs no program of ours to read it.
 */
import type { PemPair } from '../../lib/io/local_ca.ts';

export interface BundleParts {
  readonly name: string;
  /** Absolute folder on the host in which it is unpacked. */
  readonly folder: string;
  /** Schedulers to dial, host:port. */
  readonly schedulers: readonly string[];
  readonly caPem: string;
  readonly pair: PemPair;
  /** Seconds since the epoch. */
  readonly mtimeS: number;
}

interface TarEntry {
  readonly name: string;
  readonly mode: number;
  readonly content: Buffer;
}

const BLOCK_BYTES = 512;

/** Field widths of a ustar header, in their order (IEEE Std 1003.1, pax: ustar Interchange Format). */
function headerOf({ name, mode, content }: TarEntry, mtimeS: number): Buffer {
  const header = Buffer.alloc(BLOCK_BYTES);
  const octal = (value: number, width: number): string => `${value.toString(8).padStart(width - 1, '0')}\0`;
  header.write(name, 0, 100, 'utf8');
  header.write(octal(mode, 8), 100);
  header.write(octal(0, 8), 108);
  header.write(octal(0, 8), 116);
  header.write(octal(content.length, 12), 124);
  header.write(octal(mtimeS, 12), 136);
  // The sum counts its own field as spaces.
  header.write('        ', 148);
  header.write('0', 156);
  header.write('ustar\x0000', 257);
  const sum = header.reduce((total, byte) => total + byte, 0);
  header.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148);
  return header;
}

function tarOf(entries: readonly TarEntry[], mtimeS: number): Buffer {
  const blocks = entries.flatMap((entry) => {
    const rest = (BLOCK_BYTES - (entry.content.length % BLOCK_BYTES)) % BLOCK_BYTES;
    return [headerOf(entry, mtimeS), entry.content, Buffer.alloc(rest)];
  });
  return Buffer.concat([...blocks, Buffer.alloc(2 * BLOCK_BYTES)]);
}

/** Names hold letters, digits, dots, dashes and colons only, so that they need no quotes; JSON strings are YAML. */
function settingsOf({ name, folder, schedulers }: BundleParts): string {
  const line = (key: string, value: unknown): string => `${key}: ${JSON.stringify(value)}\n`;
  return [
    '# Settings are explained in docs/CONFIG.md.\n',
    line('nodeName', name),
    line('schedulers', schedulers),
    line('caFile', `${folder}/tls/ca.crt`),
    line('certFile', `${folder}/tls/host.crt`),
    line('keyFile', `${folder}/tls/host.key`),
  ].join('');
}

/** The bytes of the archive. It holds a private key. */
export function bundleOf(parts: BundleParts): Buffer {
  const { caPem, pair, mtimeS } = parts;
  const entry = (name: string, text: string, mode = 0o644): TarEntry => ({ name, mode, content: Buffer.from(text) });
  return tarOf(
    [
      entry('agent.yaml', settingsOf(parts)),
      entry('tls/ca.crt', caPem),
      entry('tls/host.crt', pair.certPem),
      entry('tls/host.key', pair.keyPem, 0o600),
    ],
    mtimeS,
  );
}
