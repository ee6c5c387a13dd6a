/**
 * Changes a few top-level members of a JSON body and keeps every other byte of the caller, so that an engine sees what
 * the client wrote: number spellings, key order, white space and escapes included.
 */
import type { TopLevelMember } from './json_scan.ts';

export interface MemberEdits {
  /** Key to JSON text: replaces the value of the member, or adds the member at the end. The text is not checked. */
  readonly set?: Readonly<Record<string, string>>;
  /** Keys to take out; those that are absent are passed over. A key that is also in `set` is set. */
  readonly remove?: readonly string[];
}

const encoder = new TextEncoder();
const COMMA = encoder.encode(',');
const OPEN_BRACE = 0x7b;

function concat(parts: readonly Uint8Array[]): Uint8Array {
  let total = 0;
  for (const part of parts) total += part.length;
  const out = new Uint8Array(total);
  let at = 0;
  for (const part of parts) {
    out.set(part, at);
    at += part.length;
  }
  return out;
}

/**
 * A new body with the edits applied. `members` is what `scanJson` found in the same `bytes`. With nothing to change the
 * given bytes come back themselves.
 */
export function spliceMembers(bytes: Uint8Array, members: readonly TopLevelMember[], edits: MemberEdits): Uint8Array {
  const set = new Map(Object.entries(edits.set ?? {}));
  const removed = new Set((edits.remove ?? []).filter((key) => !set.has(key)));
  if (set.size === 0 && !members.some((member) => removed.has(member.key))) return bytes;

  const [first] = members;
  const last = members[members.length - 1];
  const bodyStart = first === undefined ? bytes.indexOf(OPEN_BRACE) + 1 : first.keyStart;
  const bodyEnd = last === undefined ? bodyStart : last.valueEnd;
  const parts: Uint8Array[] = [bytes.subarray(0, bodyStart)];
  let neighbour: TopLevelMember | undefined;
  let needsComma = false;
  for (const member of members) {
    if (!removed.has(member.key)) {
      // The bytes before a kept member stay as they are; where members before it went, their commas went with them.
      if (needsComma && neighbour !== undefined) parts.push(bytes.subarray(neighbour.valueEnd, member.keyStart));
      needsComma = true;
      const text = set.get(member.key);
      set.delete(member.key);
      if (text === undefined) parts.push(bytes.subarray(member.keyStart, member.valueEnd));
      else parts.push(bytes.subarray(member.keyStart, member.valueStart), encoder.encode(text));
    }
    neighbour = member;
  }
  for (const [key, text] of set) {
    if (needsComma) parts.push(COMMA);
    needsComma = true;
    parts.push(encoder.encode(`${JSON.stringify(key)}:${text}`));
  }
  parts.push(bytes.subarray(bodyEnd));
  return concat(parts);
}
