/** The storm of agent-chaos as a story: that a seed decides it, and that every kind of fault has its place in it. */
import t from 'tap';
import { drawStory, FAULTS, storyHash } from '../../bench/chaos/story.ts';
import type { EnginePlan } from '../../bench/supervised/fleet.ts';

const engines: readonly EnginePlan[] = [
  { name: 'a', kind: 'sim', model: 'sim', flags: [] },
  { name: 'b', kind: 'sim', model: 'sim', flags: [], tcpPort: 1234 },
  { name: 'c', kind: 'llama', model: 'sim', flags: [] },
];

t.test('the same seed tells the same story, with every kind of fault in it', async (t) => {
  const tell = (seed: number) => drawStory({ seed, faults: 300, engines, smallDisk: true, everyMs: 100 });
  t.equal(storyHash(tell(1)), storyHash(tell(1)));
  t.not(storyHash(tell(1)), storyHash(tell(2)));
  t.same(new Set(tell(1).map(({ kind }) => kind)), new Set(Object.keys(FAULTS)));
  const lastKill = tell(1).findLastIndex(({ kind }) => kind === 'kill_agent');
  t.ok(lastKill < 150, 'the second half is one life of the agent');
  for (const { kind, engine } of tell(3)) {
    if (kind === 'take_port') t.equal(engine, 'b');
    if (kind === 'take_socket') t.not(engine, 'b');
    if (kind.includes('core') || kind.includes('worker')) t.not(engine, 'c', 'an engine of one process has none');
  }
});
