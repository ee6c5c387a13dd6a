/**
 * `sophia up`, `sophia scheduler`, `sophia agent`: the verbs that run processes. Their flags are settings, not grammar,
 * so what follows the verb goes to the settings loader of the process as it stands.
 */
import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { constants } from 'node:os';
import type { Command } from 'commander';
import { mainOf } from '../../lib/io/local_fleet.ts';
import { ExitRequest } from '../exit.ts';
import { printerOf } from '../session.ts';

function passesThrough(command: Command): Command {
  return command
    .allowUnknownOption()
    .allowExcessArguments()
    .helpOption(false)
    .argument('[settings...]', 'settings, see --help');
}

/** Runs a process of the fleet in the foreground, hands it the signals that we get, and ends as it ended. */
async function runForeground(main: string, args: readonly string[]): Promise<never> {
  const child = spawn(process.execPath, ['--enable-source-maps', main, ...args], { stdio: 'inherit' });
  const forward = (signal: NodeJS.Signals): void => {
    child.kill(signal);
  };
  // Ctrl-C reaches the whole foreground group, the child included: it is caught here only so that we outlive the child.
  process.on('SIGINT', () => undefined);
  process.on('SIGTERM', forward);
  const exitCode = await new Promise<number>((resolve, reject) => {
    child.on('error', reject);
    child.on('exit', (code, signal) => resolve(code ?? 128 + constants.signals[signal as NodeJS.Signals]));
  });
  throw new ExitRequest(exitCode);
}

export function addProcessCommands(program: Command): void {
  passesThrough(program.command('up'))
    .description('scheduler, agent and engines on this machine, answering with a real model')
    .action(async (args: string[], _flags, command: Command) => {
      const { loadSettings } = await import('../../lib/io/settings.ts');
      const { processEnvironment, settings } = await import('../config.ts');
      const loaded = loadSettings(settings, {
        argv: args,
        env: processEnvironment(),
        readFile: (file) => readFileSync(file, 'utf8'),
      });
      const print = printerOf(command);
      if (loaded.help) process.stdout.write(`${loaded.text()}\n`);
      else if (loaded.printConfig) print.result({ settings: loaded.explain() }, () => loaded.text());
      else await (await import('../up/up.ts')).runUp(loaded.config, print);
    });
  for (const name of ['scheduler', 'agent'] as const) {
    passesThrough(program.command(name))
      .description(
        name === 'scheduler' ? 'run a scheduler in the foreground' : 'run the agent of this host in the foreground',
      )
      .action((args: string[]) => runForeground(mainOf(name), args));
  }
}
