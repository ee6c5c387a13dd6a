/** The end of an engine's core is told although the first process lives: by the native keeper, which watches for it. */
import { existsSync, readdirSync, readFileSync, readlinkSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import t from 'tap';
import { signalProcess } from '../../../lib/io/processes.ts';
import { eventually } from '../../support/child.ts';
import { bench, KEEPERS, PATIENCE_MS, under } from './support.ts';

/** vLLM's title for its core, on a process that only sleeps. */
const CORE = `bash -c 'exec -a VLLM::EngineCore sleep 98765' & echo $! > core.tmp; mv core.tmp core`;
const UNTIL_RELEASED = 'until [ -e released ]; do sleep 0.02; done';

const hasProcessHandle = (pid: number): boolean =>
  readdirSync(`/proc/${pid}/fd`).some((name) => readlinkSync(`/proc/${pid}/fd/${name}`) === 'anon_inode:[pidfd]');

for (const kind of KEEPERS.filter(({ keeper }) => keeper === 'native')) {
  t.test(...under(kind, 'a core that is killed is told at once, to this agent and to the next'), async (t) => {
    const { launch, root, another } = bench(t, kind);
    const engine = await launch(`${CORE}; ${UNTIL_RELEASED}; exit 7`);
    const file = path.join(root, 'one', 'core');
    await eventually('the core runs', () => existsSync(file), PATIENCE_MS);
    const core = Number(readFileSync(file, 'utf8'));
    let told = false;
    void engine.partDied?.then(() => (told = true));
    await eventually('the keeper has a handle on it', () => hasProcessHandle(engine.keeperPid), PATIENCE_MS);
    t.equal(told, false, 'nothing is told of a core that lives');
    signalProcess(core, 'SIGKILL');
    await eventually('its end is told', () => told, PATIENCE_MS);
    t.equal(engine.ended(), false, 'the first process lives');

    const [found] = await another().adoptable();
    await found?.launched.partDied;
    t.equal(found?.launched.ended(), false, 'a later agent is told as well');
    writeFileSync(path.join(root, 'one', 'released'), '');
    t.match(await engine.exited, { exitCode: 7 });
  });
}
