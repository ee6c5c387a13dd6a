/**
 * `sophia doctor`: what on this machine would keep the fleet from working, each finding with what to do. It changes
 * nothing, and every check has a deadline, so that it ends even on a host that is half broken.
 */
import type { Command } from 'commander';
import type { Check } from '../doctor/checks.ts';
import { ExitRequest } from '../exit.ts';
import { table } from '../output.ts';
import { printerOf, targetOf } from '../session.ts';

const MARK = { ok: 'ok', warn: 'warn', fail: 'FAIL' } as const;

function report(checks: readonly Check[]): string {
  const rows = checks.map((check) => [MARK[check.status], check.name, check.detail]);
  const advice = checks.filter((check) => check.status !== 'ok' && check.next !== undefined);
  return [
    table(['', 'check', 'finding'], rows),
    ...(advice.length === 0
      ? ['', 'Nothing to do.']
      : ['', 'What to do:', ...advice.map((check) => `  ${check.name}: ${check.next}`)]),
  ].join('\n');
}

export function addDoctorCommand(program: Command): void {
  program
    .command('doctor')
    .description('check Node, ports, GPU reader, vLLM, model, disk, clock, and say what to do')
    .option('--model <path>', 'a model folder or GGUF file to look at')
    .option('--ports <list>', 'ports that must be free', '8080,8081,8443')
    .action(async (flags: { model?: string; ports: string }, command: Command) => {
      const { processEnvironment, userFolders } = await import('../config.ts');
      const { runChecks } = await import('../doctor/checks.ts');
      const print = printerOf(command);
      const ports = flags.ports.split(',').map(Number);
      const checks = await runChecks({
        ports,
        model: flags.model,
        pathVariable: processEnvironment()['PATH'],
        dataFolder: userFolders.data,
        cacheFolder: userFolders.cache,
        schedulerUrl: (await targetOf(command)).http,
      });
      const failed = checks.filter((check) => check.status === 'fail').length;
      print.result({ ok: failed === 0, checks }, () => report(checks));
      if (failed > 0) throw new ExitRequest(1);
    });
}
