/**
 * The table of who may import whom, as docs/ARCHITECTURE.md gives it, in a form that can be checked. A file that
 * belongs to no layer is reported too, so that nothing stands outside of the table.
 */
import { posix } from 'node:path';
import type { ImportStatement, SourceFile } from './sources.ts';

/** Where an import leads: a layer of ours, Node's own modules, or a package. */
interface Target {
  readonly layer: string;
  /** For files of ours: agent, scheduler, cli, ... */
  readonly area: string;
  readonly path: string;
  /** The part of an adapter or worker folder that must not know its siblings. */
  readonly feature: string;
}

interface Rule {
  /** Layers of the same area that may be imported; `*` is all of them. */
  readonly own: readonly string[];
  /** Layers of any area, and `node` and `package`. */
  readonly any: readonly string[];
  /** Layers that may be imported for their types only. */
  readonly types?: readonly string[];
}

const TOOLS: Rule = { own: ['*'], any: ['lib', 'lib/io', 'proto', 'node', 'package', 'native'] };
const APART: Rule = { own: [], any: ['lib', 'lib/io', 'node', 'package'] };
const FEATURE: Rule = {
  own: ['ports', 'core', 'config'],
  any: ['lib', 'lib/io', 'proto', 'node', 'package', 'native'],
};

const RULES: Readonly<Record<string, Rule>> = {
  lib: { own: ['lib'], any: [] },
  'lib/io': { own: ['lib', 'lib/io'], any: ['node', 'package'] },
  proto: { own: ['proto'], any: ['lib', 'lib/io', 'node', 'package'] },
  // A type is gone after compilation, so a core that names one stays pure.
  core: { own: ['core'], any: ['lib'], types: ['ports', 'proto'] },
  ports: { own: [], any: [], types: ['core', 'ports', 'lib', 'lib/io', 'proto'] },
  run_loop: { own: ['core', 'ports', 'run_loop'], any: ['lib'], types: ['lib/io', 'proto'] },
  adapters: FEATURE,
  workers: FEATURE,
  wire: { own: ['*'], any: ['lib', 'lib/io', 'proto', 'node', 'package', 'native'] },
  main: { own: ['wire', 'config'], any: ['lib', 'lib/io', 'node'] },
  config: { own: ['core'], any: ['lib', 'lib/io', 'zod', 'node:os', 'node:path'] },
  engines: APART,
  // It speaks the protocol of the core with the agent, and is a process of its own.
  keeper: { ...APART, own: ['core'] },
  // The only process that touches the GPU driver; the addon is its way there.
  sensor: { own: [], any: ['lib', 'lib/io', 'node', 'package', 'native'] },
  native: APART,
  tool: TOOLS,
  generate: { own: ['*', 'config'], any: ['lib', 'lib/io', 'proto', 'node', 'package', 'config', 'core'] },
  // It measures parts of the agent without the agent around them.
  micro: { own: ['*'], any: ['lib', 'lib/io', 'proto', 'node', 'package', 'core', 'workers'] },
  // They work on the store itself, past any scheduler.
  audit: {
    own: ['*', 'config'],
    any: ['lib', 'lib/io', 'node', 'core', 'adapters'],
    types: ['ports'],
  },
  // It applies deployments, in the words of the core, to a fleet of processes.
  rollout: {
    own: ['*', 'config'],
    any: ['lib', 'lib/io', 'proto', 'node', 'package', 'core', 'config'],
  },
  simulator: { own: ['*'], any: ['lib', 'lib/io', 'proto', 'node', 'package', 'core'] },
};

const AREAS_WITH_LAYERS = new Set(['agent', 'scheduler']);
const ROOT_FILES = new Set(['main', 'wire', 'config', 'ports', 'run_loop']);
const FOLDERS = new Set(['core', 'adapters', 'workers', 'engines', 'sensor', 'keeper', 'wire', 'run_loop']);
const FEATURE_LAYERS = new Set(['adapters', 'workers', 'engines', 'sensor', 'keeper']);
const TOOL_AREAS = new Set(['cli', 'console', 'bench']);
const STORE_TOOLS = new Set(['audit', 'store_faults', 'leaders']);

/** The layer of a file of ours, or undefined when the table does not know it. */
export function layerOf(path: string): Target | undefined {
  const [area = '', second = '', third = ''] = path.split('/');
  const target = (layer: string, feature = ''): Target => ({ layer, area, path, feature });
  if (area === 'lib') return target(second === 'io' ? 'lib/io' : 'lib');
  if (area === 'proto') return target('proto');
  if (area === 'native') return target('native', 'native');
  if (area === 'cli' && second === 'generate') return target('generate');
  if (area === 'bench' && (second === 'sim' || second === 'place')) return target('simulator');
  if (area === 'bench' && second === 'rollout') return target('rollout');
  if (area === 'bench' && second === 'micro') return target('micro');
  if (TOOL_AREAS.has(area) && STORE_TOOLS.has(second)) return target('audit');
  if (TOOL_AREAS.has(area)) return target(second === 'config.ts' ? 'config' : 'tool');
  if (!AREAS_WITH_LAYERS.has(area)) return undefined;
  const name = second.replace(/\.ts$/, '');
  if (second.endsWith('.ts')) return ROOT_FILES.has(name) ? target(name) : undefined;
  if (!FOLDERS.has(second)) return undefined;
  // A file right in adapters/ is a feature of its own; the files of workers/ are one program.
  const isProgram = second === 'workers' || second === 'sensor' || second === 'keeper';
  const isFeature = FEATURE_LAYERS.has(second);
  if (!isFeature) return target(second);
  const feature = isProgram ? second : `${second}/${third.replace(/\.ts$/, '')}`;
  return target(second, feature);
}

/** A rule's answer: undefined when the import is allowed, else the reason. */
function refusal(from: Target, statement: ImportStatement): string | undefined {
  const rule = RULES[from.layer] as Rule;
  const allowed = (layer: string): boolean =>
    rule.any.includes(layer) || (statement.typeOnly && rule.types?.includes(layer) === true);
  const spec = statement.from;
  if (spec.startsWith('node:'))
    return allowed('node') || allowed(spec) ? undefined : `${from.layer} may not use Node's modules`;
  if (!spec.startsWith('.')) {
    return allowed('package') || allowed(spec) ? undefined : `${from.layer} may not use packages`;
  }
  if (!/\.(ts|tsx|css|json)$/.test(spec)) return 'a relative import names its file with .ts';
  const path = posix.join(posix.dirname(from.path), spec);
  const to = layerOf(path);
  if (to === undefined) return `${path} is in no layer of the table`;
  if (AREAS_WITH_LAYERS.has(from.area) && AREAS_WITH_LAYERS.has(to.area) && from.area !== to.area) {
    return 'agent/ and scheduler/ never import each other';
  }
  if (allowed(to.layer)) return undefined;
  if (from.area === to.area) {
    if (from.feature !== '' && from.feature === to.feature) return undefined;
    if (rule.own.includes('*') || rule.own.includes(to.layer)) return undefined;
    // What a worker is told and what it answers is its port, for whoever owns it.
    if (from.layer === 'adapters' && /\/(workers|sensor)\/\w*messages\.ts$/.test(to.path)) return undefined;
    if (from.layer === 'engines' && to.feature === 'engines/surface') return undefined;
    if (from.feature !== '' && FEATURE_LAYERS.has(to.layer))
      return `${from.feature} may not import its sibling ${to.feature}`;
  }
  const typed = rule.types?.includes(to.layer) === true ? ', except types' : '';
  return `${from.layer} may not import ${to.layer}${typed}`;
}

/** Every violation of the table, as `path:line: import: reason`. Tests may import anything. */
export function importViolations(files: readonly SourceFile[]): string[] {
  const violations: string[] = [];
  for (const file of files) {
    if (file.path.startsWith('test/')) continue;
    const from = layerOf(file.path);
    if (from === undefined) {
      violations.push(`${file.path}: the file is in no layer of the table`);
      continue;
    }
    for (const statement of file.imports) {
      const reason = refusal(from, statement);
      if (reason !== undefined) violations.push(`${file.path}:${statement.line}: ${statement.from}: ${reason}`);
    }
  }
  return violations;
}
