/** Small questions about the texts of a specification: whether a path stays where it may, names by hash, bytes of a text. */

/** True when `path` is absolute, has no `.` or `..` step, and lies under one of `roots` (any place when there is none). */
export function isConfined(path: string, roots: readonly string[]): boolean {
  if (!path.startsWith('/')) return false;
  if (path.split('/').some((step) => step === '..' || step === '.')) return false;
  if (roots.length === 0) return true;
  return roots.some((root) => path === root || path.startsWith(root.endsWith('/') ? root : `${root}/`));
}

/** 64 bits of FNV-1a as 16 hexadecimal digits: tells one specification from another, no protection against an attacker. */
export function hashText(text: string): string {
  let low = 0x811c9dc5;
  let high = 0x01000193;
  for (let i = 0; i < text.length; i++) {
    const unit = text.charCodeAt(i);
    low = Math.imul(low ^ unit, 0x01000193) >>> 0;
    high = Math.imul(high ^ unit ^ (low >>> 13), 0x85ebca6b) >>> 0;
  }
  return high.toString(16).padStart(8, '0') + low.toString(16).padStart(8, '0');
}

/** Bytes of `text` in UTF-8. */
export function utf8Length(text: string): number {
  let bytes = 0;
  for (const character of text) {
    const point = character.codePointAt(0) as number;
    bytes += point < 0x80 ? 1 : point < 0x800 ? 2 : point < 0x10000 ? 3 : 4;
  }
  return bytes;
}
