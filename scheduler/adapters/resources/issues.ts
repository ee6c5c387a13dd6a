/** What zod finds, in words for the author of a file: the path as in the file, what is wrong, what is allowed there. */
import type { z } from 'zod';
import { nearest } from '../../../lib/nearest.ts';
import type { Problem } from '../../core/resources/rules.ts';

type Issue = z.core.$ZodIssue;

/** The parts of a schema's definition that lead to what is inside. */
interface Inside {
  readonly type: string;
  readonly shape?: Readonly<Record<string, Schema>>;
  readonly element?: Schema;
  readonly innerType?: Schema;
  readonly valueType?: Schema;
  readonly in?: Schema;
}
type Schema = { readonly def: Inside };

/** The schema itself, without what makes it optional, gives it a default or transforms it. */
function bare(schema: Schema): Inside {
  let { def } = schema;
  for (let inner = def.innerType ?? def.in; inner !== undefined; inner = def.innerType ?? def.in) def = inner.def;
  return def;
}

/** Members that are allowed at a path. */
function membersAt(schema: z.ZodType, path: readonly PropertyKey[]): string[] {
  let at = bare(schema);
  for (const step of path) {
    const next = typeof step === 'number' ? at.element : (at.shape?.[String(step)] ?? at.valueType);
    if (next === undefined) return [];
    at = bare(next);
  }
  return Object.keys(at.shape ?? {});
}

const PLAIN = /^[A-Za-z_][A-Za-z0-9_]{0,63}$/;

/** A path as it is read in the file: spec.rollout.steps[1]; what is no plain word is quoted and cut. */
export function pathText(prefix: string, path: readonly PropertyKey[]): string {
  return path.reduce<string>((text, step) => {
    if (typeof step === 'number') return `${text}[${step}]`;
    const key = String(step);
    if (!PLAIN.test(key)) return `${text}[${JSON.stringify(key.slice(0, 64))}]`;
    return text === '' ? key : `${text}.${key}`;
  }, prefix);
}

function unknownMember(key: string, allowed: readonly string[]): string {
  const close = nearest(key, allowed);
  const hint = close === undefined ? '' : `did you mean ${close}? `;
  return `is not a member that is known here; ${hint}allowed: ${allowed.join(', ')}`;
}

const lowerFirst = (text: string): string => text.charAt(0).toLowerCase() + text.slice(1);

function messageOf(issue: Issue): string {
  if (issue.code === 'invalid_type' && issue.message.endsWith('received undefined')) return 'is required';
  if (issue.code === 'invalid_key') return issue.issues[0]?.message ?? 'is not a key that may stand here';
  if (issue.code === 'invalid_value') return `must be one of ${issue.values.map(String).join(', ')}`;
  if (issue.message.startsWith('must be')) return issue.message;
  return lowerFirst(issue.message.replace(/^Invalid input: /, ''));
}

/** All that zod has found; an issue with several unknown members becomes one problem for each. */
export function problemsOf(schema: z.ZodType, issues: readonly Issue[], prefix: string): Problem[] {
  return issues.flatMap((issue): Problem[] => {
    if (issue.code !== 'unrecognized_keys') return [{ path: pathText(prefix, issue.path), message: messageOf(issue) }];
    const allowed = membersAt(schema, issue.path);
    return issue.keys.map((key) => ({
      path: pathText(prefix, [...issue.path, key]),
      message: unknownMember(key, allowed),
    }));
  });
}
