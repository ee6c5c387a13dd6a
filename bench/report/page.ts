/**
 * The frame of a report: one HTML file that needs nothing else, so that it opens on a machine without a network and can
 * be sent by mail. It has no script, and its policy forbids it to fetch anything. Pure.
 */
import { html, Markup, type Piece } from './markup.ts';

const STYLE = new Markup(`
:root { color-scheme: light dark; --ink: #1c2330; --dim: #5b6577; --line: #d9dee7; --ground: #ffffff; --tile: #f4f6fa;
  --s0: #2563c9; --s1: #d9642c; --s2: #23876a; --s3: #9646b8; --s4: #b58a09; --s5: #c2355d; --s6: #5b6577; }
@media (prefers-color-scheme: dark) { :root { --ink: #e7ebf2; --dim: #9aa5b8; --line: #333c4b; --ground: #141922; --tile: #1d2430;
  --s0: #6fa3f5; --s1: #f19566; --s2: #5cc3a2; --s3: #c78be0; --s4: #dcb94d; --s5: #ee7f9d; --s6: #9aa5b8; } }
body { margin: 0 auto; max-width: 64rem; padding: 1.5rem; background: var(--ground); color: var(--ink);
  font: 15px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.5rem; margin: 0; } h2 { font-size: 1.1rem; margin: 2rem 0 .5rem; }
p { margin: .4rem 0; } .dim { color: var(--dim); }
.tiles { display: flex; flex-wrap: wrap; gap: .6rem; margin: 1rem 0; padding: 0; list-style: none; }
.tiles li { background: var(--tile); border-radius: .5rem; padding: .6rem .9rem; min-width: 7rem; }
.tiles b { display: block; font-size: 1.25rem; font-variant-numeric: tabular-nums; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { text-align: right; padding: .25rem .7rem; border-bottom: 1px solid var(--line); white-space: nowrap; }
th:first-child, td:first-child { text-align: left; } th { color: var(--dim); font-weight: 600; }
figure { margin: 1rem 0; } figcaption { font-weight: 600; } svg { width: 100%; height: auto; display: block; }
svg text { fill: var(--dim); font: 11px system-ui, sans-serif; } svg .axis { stroke: var(--line); stroke-width: 1; }
svg .label { fill: var(--ink); }
`);

const POLICY = "default-src 'none'; style-src 'unsafe-inline'";

/** The whole document, ready to be written to a file. */
export function page(title: string, subtitle: string, body: Piece): string {
  return html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="${POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${title}</title>
<style>${STYLE}</style>
</head>
<body>
<h1>${title}</h1>
<p class="dim">${subtitle}</p>
${body}
</body>
</html>
`.text;
}

/** Headline figures side by side. */
export function tiles(entries: readonly (readonly [name: string, value: string])[]): Markup {
  return html`<ul class="tiles">${entries.map(([name, value]) => html`<li><b>${value}</b><span class="dim">${name}</span></li>`)}</ul>`;
}

/** A table whose first row is its head. */
export function table(rows: readonly (readonly (string | number)[])[]): Markup {
  const [head = [], ...body] = rows;
  const cells = (row: readonly (string | number)[]): Markup[] => row.map((cell) => html`<td>${shown(cell)}</td>`);
  return html`<div class="wide"><table><thead><tr>${head.map((cell) => html`<th scope="col">${cell}</th>`)}</tr></thead>
<tbody>${body.map((row) => html`<tr>${cells(row)}</tr>\n`)}</tbody></table></div>`;
}

/** A figure that was not measured is a dash. */
export function shown(cell: string | number): string {
  if (typeof cell === 'string') return cell;
  return Number.isFinite(cell) ? String(cell) : '-';
}

export function section(heading: string, ...content: readonly Piece[]): Markup {
  return html`<section><h2>${heading}</h2>\n${content}</section>\n`;
}
