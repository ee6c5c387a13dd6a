/**
 * HTML that cannot be broken out of: whatever is put into a template is escaped, unless it was made by a template
 * itself. Error words and names in a report come from servers and command lines. Pure.
 */

/** Text that is HTML already. */
export class Markup {
  readonly text: string;

  constructor(text: string) {
    this.text = text;
  }
}

export type Piece = Markup | string | number | readonly Piece[];

const ESCAPES: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
  '`': '&#96;',
};
/** No document may hold these, escaped or not: C0 controls beside tab and line ends, and what is no character. */
// oxlint-disable-next-line no-control-regex -- these are the characters that must not come through.
const NO_CHARACTERS = /[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f\ufffe\uffff]/g;

/** Safe between tags and inside a quoted attribute. */
export function escapeText(text: string): string {
  return text.replace(NO_CHARACTERS, '\ufffd').replace(/[&<>"'`]/g, (character) => ESCAPES[character] as string);
}

function pieceText(piece: Piece): string {
  if (piece instanceof Markup) return piece.text;
  if (typeof piece === 'object') return piece.map(pieceText).join('');
  return escapeText(String(piece));
}

/** A template of HTML; every attribute in it must stand in double quotes. */
export function html(strings: TemplateStringsArray, ...pieces: readonly Piece[]): Markup {
  return new Markup(strings.map((text, i) => text + (i < pieces.length ? pieceText(pieces[i] as Piece) : '')).join(''));
}
