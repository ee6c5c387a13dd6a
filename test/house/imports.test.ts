/** The import rules hold in the project, and a planted violation of each is seen. */
import t from 'tap';
import { packageRoot } from '../../lib/io/package_root.ts';
import { importViolations, layerOf } from './import_rules.ts';
import { importsOf, readSources } from './sources.ts';

t.test('no file of the project breaks the import table', async (t) => {
  const files = readSources(packageRoot());
  t.ok(files.length > 50, 'the sources were found');
  t.same(importViolations(files), []);
});

/** One planted file per rule: its import, and what must be reported; an empty string must not be reported. */
const PLANTED: readonly (readonly [path: string, statement: string, reason: string])[] = [
  ['lib/a.ts', "import { readFileSync } from 'node:fs';", "lib may not use Node's modules"],
  ['lib/b.ts', "import { z } from 'zod';", 'lib may not use packages'],
  ['lib/c.ts', "import { createLogger } from './io/logger.ts';", 'lib may not import lib/io'],
  ['lib/d.ts', "export { x } from '../agent/core/x.ts';", 'lib may not import core'],
  ['agent/core/a.ts', "import os from 'node:os';", "core may not use Node's modules"],
  ['agent/core/b.ts', "import pino from 'pino';", 'core may not use packages'],
  ['agent/core/c.ts', "import type { Logger } from '../../lib/io/logger.ts';", 'core may not import lib/io'],
  ['agent/core/d.ts', "import { port } from '../ports.ts';", 'core may not import ports'],
  ['agent/core/e.ts', "const x = await import('node:fs');", "core may not use Node's modules"],
  ['agent/core/f.ts', "import 'node:fs';", "core may not use Node's modules"],
  ['agent/core/g.ts', "import {\n  one,\n  two,\n} from 'zod';", 'core may not use packages'],
  ['agent/core/ok.ts', "import { x } from './deep/x.ts';\nimport { CodedError } from '../../lib/errors.ts';", ''],
  ['agent/ports.ts', "import { x } from './core/x.ts';", 'ports may not import core, except types'],
  ['scheduler/ports.ts', "import type { x } from './core/x.ts';", ''],
  ['agent/run_loop.ts', "import { x } from './adapters/x.ts';", 'run_loop may not import adapters'],
  ['agent/adapters/a.ts', "import { x } from './b.ts';", 'adapters/a may not import its sibling adapters/b'],
  ['agent/adapters/c/a.ts', "import { x } from '../d/b.ts';", 'adapters/c may not import its sibling adapters/d'],
  [
    'agent/adapters/e/a.ts',
    "import { x } from './b.ts';\nimport { z } from 'zod';\nimport { y } from '../../ports.ts';",
    '',
  ],
  ['agent/adapters/f.ts', "import { x } from '../workers/y.ts';", 'adapters/f may not import its sibling workers'],
  ['agent/adapters/g.ts', "import { x } from '../wire.ts';", 'adapters may not import wire'],
  [
    'agent/adapters/h.ts',
    "import { x } from '../../scheduler/core/x.ts';",
    'agent/ and scheduler/ never import each other',
  ],
  ['scheduler/wire.ts', "import { x } from '../agent/config.ts';", 'agent/ and scheduler/ never import each other'],
  ['scheduler/main.ts', "import { x } from './adapters/http/x.ts';", 'main may not import adapters'],
  ['scheduler/config.ts', "import { z } from 'zod';\nimport { x } from '../lib/io/settings.ts';", ''],
  ['agent/config.ts', "import { x } from './wire.ts';", 'config may not import wire'],
  ['agent/engines/sim/a.ts', "import { x } from '../surface/y.ts';", ''],
  [
    'agent/engines/sim/b.ts',
    "import { x } from '../llama/y.ts';",
    'engines/sim may not import its sibling engines/llama',
  ],
  ['agent/engines/sim/c.ts', "import { x } from '../../core/y.ts';", 'engines may not import core'],
  ['cli/a.ts', "import { x } from '../scheduler/core/x.ts';", 'tool may not import core'],
  ['bench/sim/a.ts', "import { x } from '../../scheduler/core/x.ts';", ''],
  ['bench/place/a.ts', "import { x } from '../../scheduler/core/x.ts';", ''],
  ['bench/a.ts', "import { x } from '../scheduler/core/x.ts';", 'tool may not import core'],
  ['bench/rollout/a.ts', "import { x } from '../../scheduler/core/x.ts';", ''],
  ['bench/rollout/b.ts', "import { x } from '../../scheduler/wire.ts';", 'rollout may not import wire'],
  ['cli/b.ts', "import { x } from './c.js';", 'a relative import names its file with .ts'],
  ['cli/c.ts', "import { x } from '../../elsewhere/c.ts';", '../elsewhere/c.ts is in no layer of the table'],
  ['agent/stray.ts', '', 'the file is in no layer of the table'],
  ['other/a.ts', '', 'the file is in no layer of the table'],
  ['cli/d.ts', "// import { x } from '../scheduler/core/x.ts';\n/* import 'y'; */", ''],
];

t.test('a planted violation of each rule is reported with its file and line', async (t) => {
  const tree: Record<string, string> = {};
  const folder = t.testdir();
  const { mkdirSync, writeFileSync } = await import('node:fs');
  const { dirname, join } = await import('node:path');
  for (const [path, statement] of PLANTED) {
    tree[path] = `/** A file. */\n${statement}\n`;
    mkdirSync(join(folder, dirname(path)), { recursive: true });
    writeFileSync(join(folder, path), tree[path]);
  }
  const violations = importViolations(readSources(folder));
  for (const [path, statement, reason] of PLANTED) {
    const own = violations.filter((violation) => violation.startsWith(`${path}:`));
    if (reason === '') t.same(own, [], `${path} is sound`);
    else t.match(own.join('\n'), reason, `${path}: ${statement}`);
  }
  t.equal(violations.length, PLANTED.filter(([, , reason]) => reason !== '').length);
  t.match(
    violations.find((violation) => violation.startsWith('lib/a.ts')),
    /^lib\/a\.ts:2: node:fs: /,
  );
});

t.test('imports are found in every form', async (t) => {
  const text = [
    "import a from 'one';",
    "import type { B } from 'two';",
    "import { type C, type D } from 'three';",
    "import { type E, f } from 'four';",
    "import * as g from 'five';",
    "export * from 'six';",
    "export type { H } from 'seven';",
    "import 'eight';",
    "const i = await import('nine');",
    'const notOne = "import x from \'ten\'";',
    "// import j from 'eleven';",
  ].join('\n');
  t.same(
    importsOf(text).map(({ from, typeOnly }) => `${from} ${typeOnly}`),
    [
      'one false',
      'two true',
      'three true',
      'four false',
      'five false',
      'six false',
      'seven true',
      'eight false',
      'nine false',
    ],
  );
  t.equal(importsOf(text)[3]?.line, 4);
  t.equal(layerOf('agent/workers/lane.ts')?.feature, 'workers');
});
