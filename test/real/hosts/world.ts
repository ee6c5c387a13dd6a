/**
 * The two hosts of the lane as a test sees them: booted, reached over SSH and HTTP from the controller's network
 * namespace, provisioned by ansible-playbook, rebooted and cut from power. What needs root is in world.sh.
 */
import { execFile, spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { packageRoot } from '../../../lib/io/package_root.ts';

export const COLLECTION = path.join(packageRoot(), 'deploy', 'ansible');
const SCRIPT = path.join(packageRoot(), 'test', 'real', 'hosts', 'world.sh');
const MAX_OUTPUT_BYTES = 32 * 1024 * 1024;
const SSH = [
  '-o',
  'StrictHostKeyChecking=no',
  '-o',
  'UserKnownHostsFile=/dev/null',
  '-o',
  'LogLevel=ERROR',
  '-o',
  'ConnectTimeout=5',
  '-o',
  'BatchMode=yes',
];

export type HostName = 'a' | 'b';
export const ADDRESS: Readonly<Record<HostName, string>> = { a: '10.77.0.11', b: '10.77.0.12' };

/** What prepare.sh printed, as .ci/real hands it on. */
export interface Parts {
  readonly venv: string;
  readonly root: string;
  readonly key: string;
  readonly release: string;
}

export function partsOf(env: NodeJS.ProcessEnv): Parts {
  const of = (name: string): string => {
    const value = env[`SOPHIA_HOSTS_${name}`];
    if (value === undefined) throw new Error(`SOPHIA_HOSTS_${name} is not set; run .ci/real hosts.`);
    return value;
  };
  return { venv: of('VENV'), root: of('ROOT'), key: of('KEY'), release: of('RELEASE') };
}

export interface Ran {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs a program to its end; a failure is a code, not a throw. */
export function run(
  command: string,
  args: readonly string[],
  options: { cwd?: string; env?: object } = {},
): Promise<Ran> {
  return new Promise((resolve) => {
    execFile(
      command,
      args,
      { maxBuffer: MAX_OUTPUT_BYTES, cwd: options.cwd, env: { ...process.env, ...options.env } },
      (error, stdout, stderr) => {
        const code = error === null ? 0 : typeof error.code === 'number' ? error.code : 1;
        resolve({ code, stdout, stderr });
      },
    );
  });
}

/** Asks again until the answer is not undefined. @throws Error with `what` when `limitMs` is over */
export async function until<Value>(
  what: string,
  limitMs: number,
  ask: () => Promise<Value | undefined>,
): Promise<Value> {
  const endMs = Date.now() + limitMs;
  for (;;) {
    const value = await ask();
    if (value !== undefined) return value;
    if (Date.now() > endMs) throw new Error(`${what}: not within ${limitMs} ms.`);
    await sleep(500);
  }
}

export class World {
  readonly #parts: Parts;
  readonly #folder: string;
  readonly #home: string;
  readonly #pids = new Map<HostName, number>();

  constructor(parts: Parts) {
    this.#parts = parts;
    this.#folder = mkdtempSync(path.join(tmpdir(), 'sophia-hosts-'));
    this.#home = path.join(this.#folder, 'home');
    mkdirSync(this.#home);
  }

  async #script(...args: string[]): Promise<Ran> {
    const ran = await run('bash', [SCRIPT, this.#folder, ...args]);
    if (ran.code !== 0) throw new Error(`world.sh ${args.join(' ')}: ${ran.stderr}`);
    return ran;
  }

  async up(): Promise<void> {
    // Whatever ends this process, the guard takes the hosts and their networks away.
    spawn('bash', [SCRIPT, this.#folder, 'guard', String(process.pid)], { detached: true, stdio: 'ignore' }).unref();
    await this.#script('up', this.#parts.root);
    await Promise.all([this.boot('a'), this.boot('b')]);
  }

  /** Starts a host and waits until its systemd is done and SSH answers. */
  async boot(host: HostName): Promise<void> {
    const log = openSync(path.join(this.#folder, `${host}.boot`), 'w');
    const child = spawn('bash', [SCRIPT, this.#folder, 'boot', host], { stdio: ['ignore', log, log] });
    await new Promise((resolve) => child.once('exit', resolve));
    this.#pids.set(host, Number(readFileSync(path.join(this.#folder, `${host}.boot`), 'utf8').trim()));
    await until(`host ${host} boots`, 120_000, async () => {
      const state = await this.ssh(host, 'systemctl is-system-running --wait');
      return /running|degraded/.test(state.stdout) ? true : undefined;
    });
  }

  /** Waits for the container of a host to be gone. */
  async #gone(host: HostName): Promise<void> {
    const pid = this.#pids.get(host) as number;
    await until(`host ${host} ends`, 180_000, async () => {
      try {
        process.kill(pid, 0);
        return undefined;
      } catch (error) {
        return (error as NodeJS.ErrnoException).code === 'ESRCH' ? true : undefined;
      }
    });
  }

  async reboot(host: HostName): Promise<void> {
    await this.ssh(host, 'systemctl reboot');
    await this.#gone(host);
    await this.boot(host);
  }

  async cutPower(host: HostName): Promise<void> {
    await this.#script('cut', host);
    await this.#gone(host);
    await this.boot(host);
  }

  down(): Promise<Ran> {
    return run('bash', [SCRIPT, this.#folder, 'down']);
  }

  #inside(command: string, args: readonly string[], options: { cwd?: string; env?: object } = {}): Promise<Ran> {
    const name = `${path.basename(this.#folder)}-ctl`;
    return run('ip', ['netns', 'exec', name, command, ...args], options);
  }

  ssh(host: HostName, command: string): Promise<Ran> {
    return this.#inside('ssh', [...SSH, '-i', this.#parts.key, `root@${ADDRESS[host]}`, command]);
  }

  /** The output of a command that must succeed on the host. */
  async say(host: HostName, command: string): Promise<string> {
    const { code, stdout, stderr } = await this.ssh(host, command);
    if (code !== 0) throw new Error(`${command} on host ${host}: exit ${code}: ${stderr}${stdout}`);
    return stdout.trim();
  }

  writeInventory(vars: object, engines: readonly object[], models: readonly object[]): void {
    const host = (name: HostName, more: object): object => ({ ansible_host: ADDRESS[name], ...more });
    const inventory = {
      all: {
        vars: {
          ansible_user: 'root',
          ansible_ssh_private_key_file: this.#parts.key,
          ansible_python_interpreter: '/usr/bin/python3',
          common_release_dir: this.#parts.release,
          scheduler_http_host: '0.0.0.0',
          vllm_enabled: false,
          ...vars,
        },
        children: {
          sophia_schedulers: { hosts: { 'host-a': host('a', {}) } },
          sophia_agents: { hosts: { 'host-b': host('b', { agent_engines: engines, agent_model_files: models }) } },
        },
      },
    };
    writeFileSync(this.#inventory, JSON.stringify(inventory, null, 2));
  }

  #ansible(command: string, args: readonly string[], env: object = {}): Promise<Ran> {
    const bin = path.join(this.#parts.venv, 'bin');
    return this.#inside(path.join(bin, command), args, {
      cwd: COLLECTION,
      env: {
        HOME: this.#home,
        ANSIBLE_HOST_KEY_CHECKING: 'False',
        ANSIBLE_SSH_ARGS: '-o ControlMaster=auto -o ControlPersist=10s -o UserKnownHostsFile=/dev/null',
        ANSIBLE_NOCOLOR: '1',
        NO_COLOR: '1',
        PATH: `${bin}:${process.env['PATH'] ?? ''}`,
        ...env,
      },
    });
  }

  get #inventory(): string {
    return path.join(this.#home, 'inventory.json');
  }

  /** One run of a playbook of the collection, from the controller. */
  playbook(name: string, ...args: string[]): Promise<Ran> {
    const env = { ANSIBLE_CONFIG: path.join(COLLECTION, 'ansible.cfg') };
    return this.#ansible('ansible-playbook', ['-i', this.#inventory, `playbooks/${name}`, ...args], env);
  }

  /** Molecule's default scenario, against the hosts of this world. */
  molecule(verb: string): Promise<Ran> {
    return this.#ansible('molecule', [verb], { MOLECULE_FLEET_INVENTORY: this.#inventory });
  }

  /** The text that a model answers through the scheduler, asked from the controller; undefined when it does not. */
  async complete(model: string, key: string): Promise<string | undefined> {
    const body = JSON.stringify({ model, prompt: 'The capital of France is', max_tokens: 8, temperature: 0 });
    const { code, stdout } = await this.#inside('curl', [
      '--silent',
      '--max-time',
      '60',
      '--header',
      `Authorization: Bearer ${key}`,
      '--header',
      'Content-Type: application/json',
      '--data',
      body,
      `http://${ADDRESS.a}:8080/v1/completions`,
    ]);
    if (code !== 0) return undefined;
    const answer = JSON.parse(stdout) as { choices?: { text?: string }[] };
    return answer.choices?.[0]?.text;
  }
}
