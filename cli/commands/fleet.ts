/**
 * `sophia status`, and `node`, `engine`, `model` with their verbs: what the scheduler knows of the fleet, for the person
 * on call. A figure that nobody could read shows as "-", never as 0.
 */
import type { Command } from 'commander';
import { addEngineCommands } from './engine.ts';
import { addNodeOrders } from './drain.ts';
import { addNodeDeclarations } from './node.ts';
import { addModelCommands } from './model.ts';
import { drainText, engineTable, percent } from './engine_view.ts';
import type { Engine__Output } from '../../proto/gen/admin/v1/Engine.ts';
import type { Node__Output } from '../../proto/gen/admin/v1/Node.ts';
import { CodedError } from '../../lib/errors.ts';
import { nodeStandings } from '../resources/node_states.ts';
import { ageText, bytesText, details, printable, table } from '../output.ts';
import { withAdmin } from '../session.ts';

/** What its agent says; nothing of one that never came. */
function agentWord({ connected, nodeEvent, lastSeenMs }: Node__Output): string | undefined {
  if (connected) return nodeEvent?.draining === true ? 'drains' : 'connected';
  return lastSeenMs === undefined ? undefined : 'lost';
}

function nodeRow(node: Node__Output, nowMs: number) {
  const [standing, ...others] = nodeStandings(node, nowMs);
  const busy = node.telemetry?.gpus.map((gpu) => percent(gpu.utilizationRatio) ?? '-').join(' ');
  return [
    node.name,
    agentWord(node),
    standing?.state,
    node.agentVersion,
    node.lanes,
    node.gpus.length,
    busy === '' ? undefined : busy,
    percent(node.telemetry?.host?.cpuUtilizationRatio),
    ageText(nowMs, node.lastSeenMs),
    [standing?.reason, ...others.map(({ state, reason }) => `${state}: ${reason}`)].filter(Boolean).join('; '),
  ] as const;
}

function nodeDetails(node: Node__Output, engines: readonly Engine__Output[], nowMs: number): string {
  const gpus = node.gpus.map((gpu) => {
    const reading = node.telemetry?.gpus.find((entry) => entry.index === gpu.index);
    return [
      gpu.index,
      gpu.name,
      percent(reading?.utilizationRatio),
      bytesText(reading?.memoryUsedBytes),
      bytesText(gpu.memoryTotalBytes),
      reading?.temperatureCelsius,
      reading?.powerWatts,
    ];
  });
  return [
    details([
      ['node', node.name],
      ['agent', node.connected ? `connected, version ${node.agentVersion}` : 'away'],
      ...nodeStandings(node, nowMs).map(
        ({ state, reason }) => ['state', reason === '' ? state : `${state}: ${reason}`] as const,
      ),
      ['host', [node.host?.hostname, node.host?.os, node.host?.architecture].filter(Boolean).join(', ')],
      [
        'cpu',
        [node.host?.cpuModel, node.host?.cpuCores === undefined ? '' : `${node.host.cpuCores} cores`]
          .filter(Boolean)
          .join(', '),
      ],
      ['memory', bytesText(node.host?.memoryBytes)],
      ['lanes', node.lanes],
      ['generation', `${node.observedGeneration ?? '-'} observed of ${node.desiredGeneration ?? '-'} desired`],
      ['drain', drainText(node.nodeEvent?.drain, nowMs)],
      ['gpu source', node.telemetry?.gpuSource],
      ['last seen', ageText(nowMs, node.lastSeenMs)],
    ]),
    '',
    table(['gpu', 'name', 'busy', 'used', 'memory', 'C', 'W'], gpus, 'no GPU'),
    '',
    engineTable(engines, nowMs),
    ...node.gpuEvents.map((event) => `quarantined: GPU ${event.index}: ${printable(event.message)}`),
    ...node.rejections.map((entry) => `refused: ${entry.engine}: ${entry.message} (${entry.code})`),
  ].join('\n');
}

export function addFleetCommands(program: Command): void {
  addStatusCommand(program);
  addNodeCommands(program);
  addEngineCommands(program);
  addModelCommands(program);
}

function addStatusCommand(program: Command): void {
  program
    .command('status')
    .description('the scheduler and its fleet in a few lines')
    .action((_flags, command: Command) =>
      withAdmin(command, async (admin, print) => {
        const status = await admin.call('GetStatus', {});
        print.result(status, () =>
          details([
            ['scheduler', `${status?.schedulerId ?? ''}, version ${status?.version ?? ''}`],
            ['state', status?.draining === true ? 'draining' : 'serving'],
            ['up for', ageText(Date.now(), status?.startedAtMs)],
            ['nodes', status?.nodes],
            ['ready engines', status?.readyEngines],
            ['running requests', status?.runningRequests],
          ]),
        );
      }),
    );
}

function addNodeCommands(program: Command): void {
  const node = program.command('node').description('GPU hosts');
  node
    .command('list')
    .description('all nodes')
    .action((_flags, command: Command) =>
      withAdmin(command, async (admin, print) => {
        const nodes = (await admin.call('ListNodes', {}))?.nodes ?? [];
        const nowMs = Date.now();
        const told = nodes.map((entry) => ({ ...entry, standings: nodeStandings(entry, nowMs) }));
        print.result({ nodes: told }, () =>
          table(
            ['node', 'agent', 'state', 'version', 'lanes', 'gpus', 'busy', 'cpu', 'seen', 'why'],
            nodes.map((entry) => nodeRow(entry, nowMs)),
            'No node is known. Start an agent on a GPU host: sophia agent --help',
          ),
        );
      }),
    );
  node
    .command('show <name>')
    .description('one node with its GPUs and engines')
    .action((name: string, _flags, command: Command) =>
      withAdmin(command, async (admin, print) => {
        const answer = await admin.call('GetNode', { name });
        if (!answer?.node) throw new CodedError('not_found', `There is no node "${name}".`, { param: 'name' });
        const shown = answer.node;
        print.result(answer, () => nodeDetails(shown, answer.engines, Date.now()));
      }),
    );
  addNodeOrders(node);
  addNodeDeclarations(node);
}
