/** `sophia gpu`: how the GPUs of the fleet are, which are quarantined and why, and lifting a quarantine. */
import { Argument, type Command } from 'commander';
import type { Node__Output } from '../../proto/gen/admin/v1/Node.ts';
import { ageText, bytesText, table } from '../output.ts';
import { withAdmin, withFleet } from '../session.ts';
import { gpuIndex, reasonOption } from './arguments.ts';
import { percent } from './engine_view.ts';

const actionWord = (action: string): string => action.replace('GPU_ACTION_', '').toLowerCase().replace('_', ' ');

/** A GPU as it is known: from its facts, its newest reading, its newest event, whichever there are. */
function gpusOf(node: Node__Output) {
  const { gpus, gpuEvents, telemetry } = node;
  const readings = telemetry?.gpus ?? [];
  const indexes = new Set([...gpus, ...readings, ...gpuEvents].map((each) => each.index));
  return [...indexes]
    .sort((a, b) => a - b)
    .map((index) => {
      const event = gpuEvents.find((each) => each.index === index);
      const reading = readings.find((each) => each.index === index);
      const fact = gpus.find((each) => each.index === index);
      return {
        node: node.name,
        gpu: index,
        ...(fact?.name === undefined ? {} : { name: fact.name }),
        ...(fact?.uuid === undefined ? {} : { uuid: fact.uuid }),
        ...(reading?.health === undefined ? {} : { health: reading.health }),
        quarantined: event !== undefined,
        ...(event === undefined ? {} : { event }),
        ...(reading === undefined ? {} : { reading }),
      };
    });
}

function gpuTable(gpus: ReturnType<typeof gpusOf>, nowMs: number): string {
  return table(
    ['node', 'gpu', 'name', 'health', 'busy', 'used', 'C', 'what to do', 'because', 'since'],
    gpus.map(({ node, gpu, name, health, quarantined, event, reading }) => [
      node,
      gpu,
      name,
      quarantined ? 'quarantined' : health,
      percent(reading?.utilizationRatio),
      bytesText(reading?.memoryUsedBytes),
      reading?.temperatureCelsius,
      event === undefined ? undefined : actionWord(event.action),
      event === undefined ? undefined : `${event.message}${event.xid === undefined ? '' : ` (Xid ${event.xid})`}`,
      ageText(nowMs, event?.atMs),
    ]),
    'No GPU is known. See `sophia node list`.',
  );
}

export function addGpuCommands(program: Command): void {
  const gpu = program.command('gpu').description('GPUs of the fleet and their health');
  gpu
    .command('list')
    .description('all GPUs: health, quarantine and why')
    .action((_flags, command: Command) =>
      withAdmin(command, async (admin, print) => {
        const nodes = (await admin.call('ListNodes', {}))?.nodes ?? [];
        const gpus = nodes.flatMap(gpusOf);
        print.result({ gpus }, () => gpuTable(gpus, Date.now()));
      }),
    );
  gpu
    .command('release <node>')
    .description('lift the quarantine of a GPU, once what was wrong has been put right')
    .addArgument(new Argument('<gpu>', 'index of the GPU').argParser(gpuIndex))
    .addOption(reasonOption())
    .action((node: string, index: number, { reason }: { readonly reason: string }, command: Command) =>
      withFleet(command, async (fleet, print) => {
        await fleet.run(node, { verb: 'COMMAND_VERB_GPU_RELEASE', gpu: index, reason });
        print.result({ node, gpu: index, released: true }, () => `GPU ${index} of ${node} may be used again.`);
      }),
    );
}
