/**
 * What the settings ask of a zod schema besides parsing: what it allows, in words, and whether it is a boolean, so that
 * its flag needs no value.
 */
import type { z } from 'zod';

interface WrappedSchema {
  readonly def: { readonly innerType?: z.ZodType };
}

/** The description of the schema, or of the one that `.optional()`, `.nullable()` and the like wrap. */
export function describeAllowed(schema: z.ZodType): string {
  let current: z.ZodType | undefined = schema;
  for (let depth = 0; current !== undefined && depth < 8; depth++) {
    if (current.description !== undefined) return current.description;
    current = (current as unknown as WrappedSchema).def.innerType;
  }
  throw new TypeError('The schema of a setting needs a description of what it allows: add .describe().');
}

/** Whether the schema turns the words "true" and "false" into booleans. */
export function takesBareFlag(schema: z.ZodType): boolean {
  const yes = schema.safeParse('true');
  const no = schema.safeParse('false');
  return yes.success && yes.data === true && no.success && no.data === false;
}
