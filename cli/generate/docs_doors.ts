/**
 * Prints docs/DOORS.md from the table of doors. Run after a build: `node build/cli/generate/docs_doors.js` writes the
 * file, with `--check` it only says whether the file is up to date.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { packageRoot } from '../../lib/io/package_root.ts';
import { DOORS, LISTENERS, type Credential, type DoorSpec } from '../../scheduler/core/access/doors.ts';

const CREDENTIALS: Readonly<Record<Credential, string>> = {
  none: 'none',
  bearer: '`Authorization: Bearer` (API key or JWT)',
  bearer_or_socket: 'as `bearer`, or subprotocol `sophia.key.<key>`, or first message',
  client_certificate: 'client certificate of the fleet CA',
  ticket: '`Authorization: Bearer` (ticket of Route)',
  file_permissions: 'file permissions',
};

/** Who may come in where it is the credential alone that says so. */
const HOLDERS: Partial<Record<Credential, string>> = { client_certificate: 'agents', ticket: 'holders of a ticket' };

const INTRODUCTION = `# Doors

Every way into the fleet: what listens where, and who may use what, by which credential. This page is printed from
\`scheduler/core/access/doors.ts\`, which the servers enforce; a test keeps the table, the registered routes and this page
equal. A route that is not listed cannot be registered.

`;

const HEADINGS: Readonly<Record<DoorSpec['listener'], string>> = {
  http: 'HTTP and WebSocket',
  grpc: 'gRPC for the gateway and the command line',
  fleet: 'gRPC for agents',
  direct: 'HTTP of an agent, past the scheduler',
};

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const lines = [head, head.map(() => '---'), ...rows].map((cells) => `| ${cells.join(' | ')} |`);
  return `${lines.join('\n')}\n`;
}

function doorRow(door: DoorSpec): readonly string[] {
  const who = HOLDERS[door.credential] ?? (door.roles.length === 0 ? 'anybody' : door.roles.join(', '));
  const name = door.method === 'RPC' ? door.path : `${door.method} ${door.path}`;
  return [`\`${name}\``, who, CREDENTIALS[door.credential], door.why];
}

/** The whole page. */
export function renderDoors(): string {
  const listeners = LISTENERS.map(({ id, process: owner, protocol, address, why }) => [
    id,
    owner,
    protocol,
    address,
    why,
  ]);
  const parts = [
    INTRODUCTION,
    '## Listeners\n\n',
    table(['listener', 'process', 'protocol', 'address', 'why'], listeners),
  ];
  for (const [listener, heading] of Object.entries(HEADINGS)) {
    const rows = DOORS.filter((door) => door.listener === listener).map(doorRow);
    parts.push(`\n## ${heading}\n\n`, table(['door', 'who', 'credential', 'why'], rows));
  }
  return parts.join('');
}

function main(): void {
  const file = join(packageRoot(), 'docs', 'DOORS.md');
  if (!process.argv.includes('--check')) {
    writeFileSync(file, renderDoors());
    return;
  }
  if (readFileSync(file, 'utf8') === renderDoors()) return;
  process.stderr.write('docs/DOORS.md is out of date; run `node build/cli/generate/docs_doors.js`.\n');
  process.exitCode = 1;
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) main();
