/** `sophia engine` with its verbs; those that take a while are in files of their own. */
import type { Command } from 'commander';
import { toCodedError } from '../../lib/errors.ts';
import type { EngineEvent__Output } from '../../proto/gen/fleet/v1/EngineEvent.ts';
import { type EngineView, type FleetAccess, nameOf } from '../access/fleet_access.ts';
import { withFleet } from '../session.ts';
import { addEngineDrain } from './drain.ts';
import { engineDetails, engineTable } from './engine_view.ts';
import { addLogsCommand } from './logs.ts';
import { addEngineOrders } from './orders.ts';

interface Journal {
  readonly entries: readonly EngineEvent__Output[];
  readonly note: string;
}

/** The agent's own journal; where it cannot be had, the transitions that the scheduler has seen. */
async function journalOf(fleet: FleetAccess, engine: EngineView): Promise<Journal> {
  const entries: EngineEvent__Output[] = [];
  try {
    await fleet.run(
      nameOf(engine),
      { verb: 'COMMAND_VERB_ENGINE_JOURNAL' },
      { onOutput: ({ journal }) => void entries.push(...journal) },
    );
    return { entries, note: '' };
  } catch (thrown) {
    const { message } = toCodedError(thrown);
    return { entries: engine.history, note: `As the scheduler saw it; the journal cannot be had: ${message}` };
  }
}

export function addEngineCommands(program: Command): void {
  const engine = program.command('engine').description('serving processes');
  engine
    .command('list')
    .description('all engines')
    .action((_flags, command: Command) =>
      withFleet(command, async (fleet, print) => {
        const engines = await fleet.engines();
        print.result({ engines }, () => engineTable(engines, Date.now()));
      }),
    );
  engine
    .command('show <name>')
    .description('one engine: why it is as it is, and its journal; NAME or NODE/NAME')
    .action((name: string, _flags, command: Command) =>
      withFleet(command, async (fleet, print) => {
        const shown = await fleet.engine(name);
        const { entries, note } = await journalOf(fleet, shown);
        const object = { engine: shown, journal: entries, ...(note === '' ? {} : { note }) };
        print.result(object, () => engineDetails(shown, entries, note, Date.now()));
      }),
    );
  addLogsCommand(engine);
  addEngineDrain(engine);
  addEngineOrders(engine);
}
