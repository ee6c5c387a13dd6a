/** A PostgreSQL of the test's own, a pgbouncer before it, and a TCP proxy that cuts where it is told to. */
import { execFileSync, spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { chmodSync, chownSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { tmpdir, userInfo } from 'node:os';
import path from 'node:path';
import { until } from '../../support/waits.ts';

interface Owner {
  teardown(task: () => unknown): void;
}

function part(name: string): string {
  const value = process.env[`SOPHIA_STORE_${name}`];
  if (value === undefined) throw new Error(`SOPHIA_STORE_${name} is not set: run this by .ci/real store.`);
  return value;
}

export async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve);
  });
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => {
    server.close(resolve);
  });
  return port;
}

/** Writes also while the server is set to be read-only. */
const SUPERUSER = "dbname=postgres options='-c default_transaction_read_only=off'";

/** initdb and postgres refuse root. */
function asUser(command: string, args: readonly string[]): [string, string[]] {
  return userInfo().uid === 0 ? ['runuser', ['-u', 'postgres', '--', command, ...args]] : [command, [...args]];
}

function run(command: string, args: readonly string[]): string {
  const [program, all] = asUser(command, args);
  return execFileSync(program, all, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
}

export interface Postgres {
  readonly port: number;
  readonly url: string;
  readonly data: string;
  start(): Promise<void>;
  /** kill -9 of the postmaster and of all that it started. */
  kill(): void;
  /** `fast`, as pg_ctl says it. */
  stop(): void;
  /** Runs SQL as the superuser, past any pooler. */
  sql(text: string): string;
}

export async function makePostgres(owner: Owner): Promise<Postgres> {
  const bin = part('BIN');
  const root = mkdtempSync(path.join(tmpdir(), 'sophia-pg-'));
  const data = path.join(root, 'data');
  chmodSync(root, 0o755);
  if (userInfo().uid === 0) {
    const [uid, gid] = ['-u', '-g'].map((flag) => Number(execFileSync('id', [flag, 'postgres'], { encoding: 'utf8' })));
    chownSync(root, uid as number, gid as number);
  }
  run(path.join(bin, 'initdb'), [
    '-D',
    data,
    '--no-sync',
    '-U',
    'sophia',
    '-A',
    'trust',
    '-E',
    'UTF8',
    '--locale=C.UTF-8',
  ]);
  const port = await freePort();
  const pg: Postgres = {
    port,
    data,
    url: `postgres://sophia@127.0.0.1:${port}/postgres`,
    async start() {
      const options = `-p ${port} -k ${root} -c listen_addresses=127.0.0.1 -c shared_buffers=16MB`;
      const args = ['-D', data, '-o', options, '-l', path.join(root, 'log'), '-w', 'start'];
      // After a kill it refuses until the last of its old processes is gone.
      await until(() => spawnSync(...asUser(path.join(bin, 'pg_ctl'), args)).status === 0, 'a start', 60_000);
      await until(() => pg.sql('select 1') !== '', 'PostgreSQL', 30_000);
    },
    kill() {
      const pids = execFileSync('bash', ['-c', `head -1 ${data}/postmaster.pid`], { encoding: 'utf8' });
      const postmaster = Number(pids.trim());
      const children = spawnSync('pgrep', ['-P', String(postmaster)], { encoding: 'utf8' })
        .stdout.split('\n')
        .filter(Boolean);
      process.kill(postmaster, 'SIGKILL');
      for (const child of children) {
        try {
          process.kill(Number(child), 'SIGKILL');
        } catch (thrown) {
          // It ends by itself when its postmaster is gone.
          if ((thrown as NodeJS.ErrnoException).code !== 'ESRCH') throw thrown;
        }
      }
    },
    stop: () => void run(path.join(bin, 'pg_ctl'), ['-D', data, '-m', 'fast', '-w', 'stop']),
    sql: (text) =>
      run(path.join(bin, 'psql'), ['-h', root, '-p', String(port), '-U', 'sophia', '-d', SUPERUSER, '-Atqc', text]),
  };
  owner.teardown(() => {
    const [program, args] = asUser(path.join(bin, 'pg_ctl'), ['-D', data, '-m', 'immediate', '-w', 'stop']);
    spawnSync(program, args);
    rmSync(root, { recursive: true, force: true });
  });
  await pg.start();
  return pg;
}

/** pgbouncer with a transaction pool of two connections. */
export async function makeBouncer(owner: Owner, pg: Postgres): Promise<string> {
  const root = mkdtempSync(path.join(tmpdir(), 'sophia-pgb-'));
  const port = await freePort();
  const file = path.join(root, 'pgbouncer.ini');
  writeFileSync(path.join(root, 'users.txt'), '"sophia" ""\n');
  const lines = [
    '[databases]',
    `postgres = host=127.0.0.1 port=${pg.port} dbname=postgres user=sophia`,
    '[pgbouncer]',
    'listen_addr = 127.0.0.1',
    `listen_port = ${port}`,
    'unix_socket_dir =',
    'auth_type = trust',
    `auth_file = ${root}/users.txt`,
    'pool_mode = transaction',
    'default_pool_size = 2',
    'server_reset_query =',
    'max_client_conn = 200',
  ];
  writeFileSync(file, `${lines.join('\n')}\n`);
  execFileSync('chmod', ['-R', 'a+rX', root]);
  const [program, args] = asUser(part('PGBOUNCER'), [file]);
  const child: ChildProcess = spawn(program, args, { stdio: 'ignore' });
  owner.teardown(() => {
    // Run as another user it is a child of our child, which would leave it behind.
    spawnSync('pkill', ['-KILL', '-P', String(child.pid)]);
    child.kill('SIGKILL');
    rmSync(root, { recursive: true, force: true });
  });
  const url = `postgres://sophia@127.0.0.1:${port}/postgres`;
  await until(() => spawnSync('bash', ['-c', `</dev/tcp/127.0.0.1/${port}`]).status === 0, 'pgbouncer', 30_000);
  return url;
}

export type Cut = 'before' | 'after' | undefined;

export interface Proxy {
  readonly url: string;
  /** Cuts the connection at commits from now on: before the commit is passed on, after it, or not. */
  cutCommits(next: () => Cut): void;
  readonly cuts: () => number;
}

/** A proxy to `port` that sees commits go by. */
export async function makeProxy(owner: Owner, port: number): Promise<Proxy> {
  let decide: () => Cut = () => undefined;
  let cuts = 0;
  const sockets = new Set<Socket>();
  const server: Server = createServer((client) => {
    const upstream = connect(port, '127.0.0.1');
    for (const socket of [client, upstream]) {
      sockets.add(socket);
      socket.on('error', () => socket.destroy());
      socket.on('close', () => sockets.delete(socket));
    }
    client.on('close', () => upstream.end());
    upstream.on('close', () => client.destroy());
    let isDeaf = false;
    upstream.on('data', (chunk: Buffer) => {
      if (!isDeaf) client.write(chunk);
    });
    client.on('data', (chunk: Buffer) => {
      const cut = chunk.includes('commit\0') ? decide() : undefined;
      if (cut === undefined) {
        upstream.write(chunk);
        return;
      }
      cuts++;
      isDeaf = true;
      // Passed on, the commit is done; its answer goes nowhere.
      if (cut === 'after') upstream.write(chunk, () => client.destroy());
      else client.destroy();
    });
  });
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve);
  });
  owner.teardown(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  return {
    url: `postgres://sophia@127.0.0.1:${(server.address() as AddressInfo).port}/postgres`,
    cutCommits(next) {
      decide = next;
    },
    cuts: () => cuts,
  };
}
