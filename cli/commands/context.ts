/**
 * `sophia context`: the schedulers that this user's commands may speak to.
 */
import type { Command } from 'commander';
import { CodedError } from '../../lib/errors.ts';
import type { Context, ContextFile } from '../contexts.ts';
import { table } from '../output.ts';
import { type GlobalFlags, printerOf } from '../session.ts';

const readContexts = async (): Promise<ContextFile> => (await import('../contexts.ts')).readContexts();
const writeContexts = async (file: ContextFile): Promise<void> => (await import('../contexts.ts')).writeContexts(file);

export function addContextCommands(program: Command): void {
  const context = program.command('context').description('named schedulers to speak to');
  context
    .command('list')
    .description('all contexts')
    .action(async (_flags, command: Command) => {
      const file = await readContexts();
      const rows = Object.entries(file.contexts);
      printerOf(command).result(file, () =>
        table(
          ['', 'context', 'grpc', 'http', 'key file'],
          rows.map(([name, entry]) => [name === file.current ? '*' : ' ', name, entry.grpc, entry.http, entry.keyFile]),
          'No context yet. `sophia up` makes one; or: sophia context set NAME --endpoint HOST:PORT --http URL --key-file FILE',
        ),
      );
    });
  context
    .command('set <name>')
    .description('create or change a context from --endpoint, --http, --key-file and --ca-file')
    .option('--ca-file <file>', 'CA of the gRPC door; without it the connection is plaintext')
    .action(async (name: string, flags: { caFile?: string }, command: Command) => {
      const global = command.optsWithGlobals<GlobalFlags>();
      const file = await readContexts();
      const old = file.contexts[name];
      const grpc = global.endpoint ?? old?.grpc;
      const http = global.http ?? old?.http;
      if (grpc === undefined || http === undefined) {
        throw new CodedError('invalid_config', 'A new context needs --endpoint HOST:PORT and --http URL.', {
          param: 'endpoint',
        });
      }
      const keyFile = global.keyFile ?? old?.keyFile;
      const caFile = flags.caFile ?? old?.caFile;
      const made: Context = {
        grpc,
        http,
        ...(keyFile === undefined ? {} : { keyFile }),
        ...(caFile === undefined ? {} : { caFile }),
      };
      await writeContexts({ current: file.current ?? name, contexts: { ...file.contexts, [name]: made } });
      printerOf(command).result({ name, ...made }, () => `Context ${name} is kept.`);
    });
  context
    .command('use <name>')
    .description('make a context the current one')
    .action(async (name: string, _flags, command: Command) => {
      const file = await readContexts();
      if (file.contexts[name] === undefined)
        throw new CodedError('not_found', `There is no context "${name}".`, { param: 'name' });
      await writeContexts({ ...file, current: name });
      printerOf(command).result({ current: name }, () => `Commands now speak to ${name}.`);
    });
  context
    .command('remove <name>')
    .description('forget a context')
    .action(async (name: string, _flags, command: Command) => {
      const file = await readContexts();
      const { [name]: removed, ...rest } = file.contexts;
      if (removed === undefined) throw new CodedError('not_found', `There is no context "${name}".`, { param: 'name' });
      const current = file.current === name ? Object.keys(rest)[0] : file.current;
      await writeContexts({ ...(current === undefined ? {} : { current }), contexts: rest });
      printerOf(command).result({ removed: name }, () => `Context ${name} is forgotten.`);
    });
}
