/** The orders that are given and done: restart, sleep, wake, prefix cache, LoRA adapters. */
import { type Command, Option } from 'commander';
import type { Command as Order } from '../../proto/gen/fleet/v1/Command.ts';
import { nameOf } from '../access/fleet_access.ts';
import { withFleet } from '../session.ts';
import { reasonOption, sleepLevel } from './arguments.ts';

/** Gives an order to an engine and says what came of it. */
async function order(command: Command, name: string, wanted: Order, done: string): Promise<void> {
  await withFleet(command, async (fleet, print) => {
    const engine = nameOf(await fleet.engine(name));
    await fleet.run(engine, wanted);
    print.result({ engine, verb: wanted.verb, done: true }, () => `${engine}: ${done}`);
  });
}

interface ReasonFlags {
  readonly reason: string;
}

export function addEngineOrders(engine: Command): void {
  engine
    .command('restart <name>')
    .description('end the engine after its requests and start it anew')
    .addOption(reasonOption())
    .action((name: string, { reason }: ReasonFlags, command: Command) =>
      order(command, name, { verb: 'COMMAND_VERB_ENGINE_RESTART', reason }, 'restarts; see `sophia engine show`.'),
    );
  engine
    .command('sleep <name>')
    .description('let go of GPU memory, where the engine can')
    .addOption(
      new Option('--level <level>', '1 keeps the weights in host memory, 2 drops them')
        .default(1)
        .argParser(sleepLevel),
    )
    .addOption(reasonOption())
    .action((name: string, flags: ReasonFlags & { readonly level: number }, command: Command) => {
      const { reason, level } = flags;
      return order(command, name, { verb: 'COMMAND_VERB_ENGINE_SLEEP', reason, sleepLevel: level }, 'sleeps.');
    });
  engine
    .command('wake <name>')
    .description('take the memory back and serve again')
    .addOption(reasonOption())
    .action((name: string, { reason }: ReasonFlags, command: Command) =>
      order(command, name, { verb: 'COMMAND_VERB_ENGINE_WAKE', reason }, 'is awake.'),
    );
  engine
    .command('reset-prefix-cache <name>')
    .description('forget the cached prefixes of all prompts')
    .addOption(reasonOption())
    .action((name: string, { reason }: ReasonFlags, command: Command) =>
      order(command, name, { verb: 'COMMAND_VERB_PREFIX_CACHE_RESET', reason }, 'has an empty prefix cache.'),
    );
}

export function addLoraCommands(program: Command): void {
  const lora = program.command('lora').description('LoRA adapters of running engines');
  lora
    .command('load <engine> <name> <path>')
    .description('load an adapter from a folder on the engine’s host under a name')
    .addOption(reasonOption())
    .action((engine: string, loraName: string, loraPath: string, { reason }: ReasonFlags, command: Command) => {
      const wanted: Order = { verb: 'COMMAND_VERB_LORA_LOAD', loraName, loraPath, reason };
      return order(command, engine, wanted, `serves the adapter ${loraName}.`);
    });
  lora
    .command('unload <engine> <name>')
    .description('take an adapter out of an engine')
    .addOption(reasonOption())
    .action((engine: string, loraName: string, { reason }: ReasonFlags, command: Command) => {
      const wanted: Order = { verb: 'COMMAND_VERB_LORA_UNLOAD', loraName, reason };
      return order(command, engine, wanted, `serves the adapter ${loraName} no longer.`);
    });
}
