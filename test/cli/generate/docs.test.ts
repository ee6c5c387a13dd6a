/** The generator of the pages: it writes what the source says, and notices a page that is not. */
import { cpSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { homedir, hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { configPage } from '../../../cli/generate/docs_config.ts';
import { errorsPage } from '../../../cli/generate/docs_errors.ts';
import { DEFAULT_WORDS, DEFINITIONS } from '../../../cli/generate/pages.ts';
import { flag, text } from '../../../lib/io/setting_types.ts';
import { defineSettings } from '../../../lib/io/settings.ts';
import { packageRoot } from '../../../lib/io/package_root.ts';
import { startChild } from '../../support/child.ts';

t.test('the page of settings has every key with its names, what is allowed and its default', async (t) => {
  const page = configPage(
    [
      defineSettings('agent', {
        apiKey: { schema: text({ allowed: 'sk-a|sk-b' }).optional(), default: undefined, doc: 'Key.', secret: true },
        pretty: { schema: flag(), default: true, doc: 'Lines for a person.' },
        name: { schema: text(), default: 'h', doc: 'Name.' },
        engines: { schema: text(), doc: 'Engines.', fileOnly: true },
      }),
    ],
    { 'agent.name': 'the host name' },
  );
  t.match(page, '## agent');
  t.match(page, '| `apiKey` | `--api-key`<br>`SOPHIA_AGENT_API_KEY` | sk-a\\|sk-b | unset | Key. Secret:');
  t.match(page, '| `pretty` | `--pretty`<br>`SOPHIA_AGENT_PRETTY` | true or false | `true` | Lines for a person. |');
  t.match(page, '| the host name | Name. |');
  t.match(page, '| `engines` | file only | text of 1 to 1024 characters | required | Engines. |');
});

t.test('the page of settings is the same on every machine', async (t) => {
  const page = configPage(DEFINITIONS, DEFAULT_WORDS);
  const known = new Set(DEFINITIONS.flatMap(({ processName, rows }) => rows.map(({ key }) => `${processName}.${key}`)));
  for (const key of Object.keys(DEFAULT_WORDS)) t.ok(known.has(key), `${key} is a setting`);
  for (const own of [homedir(), tmpdir(), `\`"${hostname()}"\``])
    t.notOk(page.includes(own), 'nothing of this machine is in it');
});

t.test('the page of errors is sorted and complete', async (t) => {
  const codes = [...errorsPage().matchAll(/^\| `([a-z0-9_]+)` \|/gm)].map((match) => match[1] as string);
  t.ok(codes.length > 30);
  t.same(codes, codes.toSorted());
});

/** A copy of the compiled code in a package of its own, whose pages may be spoiled. */
function copyOfPackage(folder: string): string {
  const built = fileURLToPath(new URL('../../../', import.meta.url));
  for (const part of ['agent', 'cli', 'lib', 'scheduler', 'proto'])
    cpSync(join(built, part), join(folder, 'build', part), { recursive: true });
  mkdirSync(join(folder, 'docs'));
  writeFileSync(join(folder, 'package.json'), readFileSync(join(packageRoot(), 'package.json')));
  return join(folder, 'build/cli/generate/main.js');
}

t.test('--write makes the pages, --check compares them, anything else is refused', async (t) => {
  // Inside the package, so that packages are found, and in a folder that is not part of the sources.
  const folder = t.testdir();
  const main = copyOfPackage(folder);
  const run = async (...args: string[]) => {
    const child = startChild(t, { args: [main, ...args] });
    const { code } = await child.exited;
    return { code, out: child.stdout() + child.stderr() };
  };
  t.match(await run('--check'), { code: 1, out: /docs\/ERRORS\.md, docs\/CONFIG\.md/ });
  t.match(await run('--write'), { code: 0, out: /wrote docs\/ERRORS\.md\nwrote docs\/CONFIG\.md/ });
  t.equal(readFileSync(join(folder, 'docs/ERRORS.md'), 'utf8'), errorsPage());
  t.match(await run('--check'), { code: 0, out: '' });
  writeFileSync(join(folder, 'docs/ERRORS.md'), 'old');
  t.match(await run('--check'), { code: 1, out: /ERRORS\.md\. Run npm run generate/ });
  t.match(await run(), { code: 2, out: /--write/ });
});
