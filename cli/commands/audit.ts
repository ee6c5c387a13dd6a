/** `sophia audit`: whether the log of all changes is what was written. */
import type { Command } from 'commander';
import type { AuditFlags } from '../audit/verify.ts';
import { printerOf } from '../session.ts';

export function addAuditCommands(program: Command): void {
  const audit = program.command('audit').description('the log of all changes');
  audit
    .command('verify')
    .description('find and name changed, missing, swapped, added and cut events, in the store itself')
    .option('--store-url <url>', 'address of PostgreSQL, postgres://user@host/database')
    .option('--data-dir <folder>', 'data folder of a scheduler with the embedded store')
    .option('--anchors <file>', 'anchors file; a copy from another machine is worth most')
    .option('--log-key <file>', 'secret of the log; log.key in the data folder when absent')
    .option('--anchor-key <file>', 'public key of the anchors; anchors.key.pub in the data folder when absent')
    .action(async ({ logKey, ...flags }: Omit<AuditFlags, 'keyFile'> & { logKey?: string }, command: Command) => {
      const { runAuditVerify } = await import('../audit/verify.ts');
      await runAuditVerify({ ...flags, ...(logKey === undefined ? {} : { keyFile: logKey }) }, printerOf(command));
    });
}
