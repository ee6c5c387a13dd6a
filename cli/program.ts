/**
 * The grammar of `sophia`: noun, then verb. This file only builds the tree; what a verb does is in commands/.
 */
import { Command, Option } from 'commander';
import { packageVersion } from '../lib/io/package_root.ts';
import { addAuditCommands } from './commands/audit.ts';
import { addCaCommands } from './commands/ca.ts';
import { addChatCommand } from './commands/chat.ts';
import { addCompletionCommand } from './commands/completion.ts';
import { addContextCommands } from './commands/context.ts';
import { addDoctorCommand } from './commands/doctor.ts';
import { addExplainCommands } from './commands/explain.ts';
import { addFleetCommands } from './commands/fleet.ts';
import { addGpuCommands } from './commands/gpu.ts';
import { addKeyCommands } from './commands/key.ts';
import { addLogCommands } from './commands/log.ts';
import { addLoraCommands } from './commands/orders.ts';
import { addProcessCommands } from './commands/process.ts';
import { addResourceCommands } from './commands/resources.ts';
import { addRolloutCommands } from './commands/rollout.ts';
import { addUsageCommands } from './commands/usage.ts';

export function buildProgram(): Command {
  const program = new Command('sophia')
    .description('A self-hosted inference fleet: one scheduler, an agent on every GPU host, OpenAI and gRPC in front.')
    .version(packageVersion())
    .addOption(new Option('--json', 'print one JSON object as the last line'))
    .addOption(new Option('--context <name>', 'which scheduler to speak to (see: sophia context list)'))
    .addOption(new Option('--endpoint <host:port>', 'gRPC door of the scheduler, over the context'))
    .addOption(new Option('--http <url>', 'HTTP door of the scheduler, over the context'))
    .addOption(new Option('--agent-socket <path>', 'speak to the agent on this host by its socket, past any scheduler'))
    .addOption(new Option('--key-file <file>', 'file that holds the API key, over the context'))
    .configureHelp({ showGlobalOptions: true })
    .showHelpAfterError('(sophia --help lists the commands)')
    .exitOverride();
  addProcessCommands(program);
  addFleetCommands(program);
  addLoraCommands(program);
  addGpuCommands(program);
  addKeyCommands(program);
  addUsageCommands(program);
  addResourceCommands(program);
  addRolloutCommands(program);
  addExplainCommands(program);
  addLogCommands(program);
  addChatCommand(program);
  addDoctorCommand(program);
  addContextCommands(program);
  addCaCommands(program);
  addAuditCommands(program);
  addCompletionCommand(program);
  return program;
}
