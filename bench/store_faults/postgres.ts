/** A PostgreSQL of a test's or a bench's own, a pgbouncer before it, and a TCP proxy that cuts where it is told to. */
import { execFileSync, spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { chmodSync, chownSync, existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { tmpdir, userInfo } from 'node:os';
import path from 'node:path';
import { storeParts } from '../config.ts';
import { until } from './waits.ts';

/** Who clears up. */
export interface Owner {
  teardown(task: () => unknown): void;
}

const DEBIAN_POSTGRES = '/usr/lib/postgresql';
const DEBIAN_BOUNCER = '/usr/sbin/pgbouncer';

/** The folder of PostgreSQL's programs: as it is named, else the newest that Debian has installed. @throws when there is none */
function postgresBin(): string {
  const { bin } = storeParts();
  if (bin !== undefined) return bin;
  const versions = existsSync(DEBIAN_POSTGRES) ? readdirSync(DEBIAN_POSTGRES).map(Number).filter(Number.isInteger) : [];
  if (versions.length === 0) throw new Error('There is no PostgreSQL here: run test/real/store/prepare.sh once.');
  return path.join(DEBIAN_POSTGRES, String(Math.max(...versions)), 'bin');
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

/** The exit code of a program, without a wait that would hold up everything else in this process. */
function statusOf(command: string, args: readonly string[]): Promise<number | null> {
  const [program, all] = asUser(command, args);
  return new Promise((resolve) => {
    const child = spawn(program, all, { stdio: 'ignore' });
    child.once('error', () => resolve(null));
    child.once('exit', resolve);
  });
}

export interface Postgres {
  readonly port: number;
  readonly url: string;
  readonly data: string;
  start(): Promise<void>;
  /** Whether it answers. */
  isUp(): Promise<boolean>;
  /** kill -9 of the postmaster and of all that it started. */
  kill(): void;
  /** `fast`, as pg_ctl says it. */
  stop(): void;
  /** Runs SQL as the superuser, past any pooler. */
  sql(text: string): string;
}

export interface PostgresPlan {
  /** Where its folder is made; absent: the folder for temporary files. */
  readonly parent?: string;
  /** Further arguments of initdb. */
  readonly initdb?: readonly string[];
  /** Further settings of the server, NAME=VALUE each. */
  readonly settings?: readonly string[];
}

export async function makePostgres(owner: Owner, plan: PostgresPlan = {}): Promise<Postgres> {
  const bin = postgresBin();
  const root = mkdtempSync(path.join(plan.parent ?? tmpdir(), 'sophia-pg-'));
  const settings = ['listen_addresses=127.0.0.1', 'shared_buffers=16MB', ...(plan.settings ?? [])];
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
    ...(plan.initdb ?? []),
  ]);
  const port = await freePort();
  const login = ['-h', root, '-p', String(port), '-U', 'sophia', '-d', SUPERUSER, '-Atqc'];
  const pg: Postgres = {
    port,
    data,
    url: `postgres://sophia@127.0.0.1:${port}/postgres`,
    async start() {
      const options = [`-p ${port} -k ${root}`, ...settings.map((setting) => `-c ${setting}`)].join(' ');
      const args = ['-D', data, '-o', options, '-l', path.join(root, 'log'), '-w', 'start'];
      // After a kill it refuses until the last of its old processes is gone.
      await until(async () => (await statusOf(path.join(bin, 'pg_ctl'), args)) === 0, 'a start', 60_000);
      await until(() => pg.isUp(), 'PostgreSQL', 30_000);
    },
    isUp: async () => (await statusOf(path.join(bin, 'psql'), [...login, 'select 1'])) === 0,
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
    sql: (text) => run(path.join(bin, 'psql'), [...login, text]),
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
  const [program, args] = asUser(storeParts().pgbouncer ?? DEBIAN_BOUNCER, [file]);
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
