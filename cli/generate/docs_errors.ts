/**
 * Writes docs/ERRORS.md from the registry of errors, so that the page can neither lack a code nor describe one that is
 * gone.
 */
import { ERRORS, type ErrorSpec } from '../../lib/errors.ts';

/** A cell of a Markdown table: bars would end it. */
function cell(text: string): string {
  return text.replaceAll('|', '\\|');
}

function anchorRow([code, spec]: [string, ErrorSpec]): string {
  const { http, grpc, type, retry, when, next } = spec;
  return `| \`${code}\` | ${http} | ${grpc} | ${type} | ${retry ? 'yes' : 'no'} | ${cell(when)} | ${cell(next)} |\n`;
}

/** The whole page. */
export function errorsPage(): string {
  const rows = Object.entries<ErrorSpec>(ERRORS)
    .toSorted(([left], [right]) => (left < right ? -1 : 1))
    .map(anchorRow);
  return [
    '# Errors\n\n',
    'Generated from `lib/errors.ts` by `npm run generate`; do not edit.\n\n',
    'Over HTTP and WebSocket an error is `{"error": {"message", "type", "param", "code"}}`, with `x-request-id` and\n',
    '`x-should-retry` among the headers; inside a stream it is one `data:` event, after which the stream ends. Over gRPC\n',
    'it is the status below with a `google.rpc.ErrorInfo` whose `reason` is the code, and a `google.rpc.RetryInfo` where\n',
    'it is known when to come back. "Retry" says whether the same request may be sent again unchanged.\n\n',
    '| code | HTTP | gRPC | type | retry | when | what to do |\n',
    '|---|---|---|---|---|---|---|\n',
    ...rows,
  ].join('');
}
