/** From what stands in a file to a resource, or to all that is wrong with it. */
import { z } from 'zod';
import { CodedError } from '../../../lib/errors.ts';
import { RESOURCE_KINDS, type Resource, type ResourceKind } from '../../core/resources/contract.ts';
import { kindProblem, nameProblem } from '../../core/resources/names.ts';
import { type Problem, specProblems } from '../../core/resources/rules.ts';
import { problemsOf } from './issues.ts';
import { metadataSchema, SPEC_SCHEMAS } from './schemas.ts';

export type Parsed =
  | { readonly ok: true; readonly resource: Resource }
  | { readonly ok: false; readonly problems: readonly Problem[] };

const API_VERSION = 'sophia/v1';
const MEMBERS = ['apiVersion', 'kind', 'metadata', 'spec'] as const;
/** What a scheduler adds when it is asked; passed over, so that what was got can be applied. */
const TOLD = 'status';
/** Most problems that one refusal names; the others are counted. */
const MAX_TOLD = 10;

const isObject = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

function envelopeProblems(value: Readonly<Record<string, unknown>>): Problem[] {
  const problems: Problem[] = Object.keys(value)
    .filter((key) => key !== TOLD && !(MEMBERS as readonly string[]).includes(key))
    .map((key) => ({
      path: key.slice(0, 64),
      message: `is not a member that is known here; allowed: ${MEMBERS.join(', ')}`,
    }));
  if (value['apiVersion'] !== API_VERSION) problems.push({ path: 'apiVersion', message: `must be ${API_VERSION}` });
  return problems;
}

function kindOf(value: unknown): ResourceKind | Problem {
  const kind = RESOURCE_KINDS.find((known) => known === value);
  if (kind !== undefined) return kind;
  return { path: 'kind', message: typeof value === 'string' ? kindProblem(value) : 'is required' };
}

/** The parsed part, or undefined with the problems added. */
function parsePart<Schema extends z.ZodType>(
  schema: Schema,
  value: unknown,
  prefix: string,
  problems: Problem[],
): z.output<Schema> | undefined {
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  problems.push(...problemsOf(schema, parsed.error.issues, prefix));
  return undefined;
}

/** Reads one resource; every problem is found at once, with its path. */
export function parseResource(value: unknown): Parsed {
  if (!isObject(value)) return { ok: false, problems: [{ path: '', message: 'must be an object with kind and spec' }] };
  const problems = envelopeProblems(value);
  const kind = kindOf(value['kind']);
  const metadata = parsePart(metadataSchema, value['metadata'] ?? {}, 'metadata', problems);
  if (typeof kind !== 'string') return { ok: false, problems: [...problems, kind] };
  const wrongName = metadata === undefined ? undefined : nameProblem(kind, metadata.name);
  if (wrongName !== undefined) problems.push({ path: 'metadata.name', message: wrongName });
  const spec = parsePart(SPEC_SCHEMAS[kind], value['spec'] ?? {}, 'spec', problems);
  if (metadata === undefined || spec === undefined) return { ok: false, problems };
  const { name, labels, version } = metadata;
  const named = kind === 'Deployment' || kind === 'Engine' ? { servedModelName: name, ...spec } : spec;
  const resource = {
    apiVersion: API_VERSION,
    kind,
    metadata: { name, labels, ...(version === undefined ? {} : { version }) },
    spec: named as unknown as Resource['spec'],
  } as const;
  problems.push(...specProblems(resource));
  return problems.length > 0 ? { ok: false, problems } : { ok: true, resource };
}

/** One refusal for all problems; `param` is the first one's path. */
export function refusalOf(problems: readonly Problem[]): CodedError {
  const told = problems.slice(0, MAX_TOLD).map(({ path, message }) => `${path}: ${message}`);
  const rest = problems.length > MAX_TOLD ? `\nand ${problems.length - MAX_TOLD} more` : '';
  const param = problems[0]?.path ?? '';
  return new CodedError('invalid_resource', `${told.join('\n')}${rest}`, { param });
}

/** The JSON Schema of a kind, for the OpenAPI document. */
export function jsonSchemaOf(kind: ResourceKind): object {
  const shape = z.strictObject({
    apiVersion: z.literal(API_VERSION),
    kind: z.literal(kind),
    metadata: metadataSchema,
    spec: SPEC_SCHEMAS[kind],
    status: z.unknown().optional(),
  });
  const { $schema: _dialect, ...schema } = z.toJSONSchema(shape, { io: 'input', unrepresentable: 'any' });
  return schema;
}
