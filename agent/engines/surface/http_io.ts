/**
 * Reading request bodies and writing plain answers: the small part of a web framework that an engine needs,
 * kept here because the engine is also the load generator of the benchmarks and must stay cheap.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { ApiError } from './api_error.ts';

/** Reads a whole body of at most `maxBytes`; an ApiError 413 beyond it, an Error when the client goes away. */
export function readBody(req: IncomingMessage, maxBytes: number): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const parts: Buffer[] = [];
    let bytes = 0;
    req.on('data', (part: Buffer) => {
      bytes += part.length;
      if (bytes > maxBytes) {
        req.pause();
        reject(new ApiError(413, `Request body is larger than ${maxBytes} bytes.`));
        return;
      }
      parts.push(part);
    });
    req.on('end', () => resolve(parts.length === 1 ? (parts[0] ?? Buffer.alloc(0)) : Buffer.concat(parts)));
    req.on('error', reject);
    req.on('close', () => {
      if (!req.complete) reject(new Error('client went away while its body was read'));
    });
  });
}

const STRICT_UTF8 = new TextDecoder('utf-8', { fatal: true });

/** Reads and parses a JSON object body. Bad JSON and bad UTF-8 are 400 in the words of vLLM's validation handler. */
export async function readJson(req: IncomingMessage, maxBytes: number): Promise<Record<string, unknown>> {
  const mime = (req.headers['content-type'] ?? '').split(';', 1)[0]?.trim().toLowerCase();
  if (mime !== 'application/json') {
    throw new ApiError(415, "Unsupported Media Type: Only 'application/json' is allowed");
  }
  const body = await readBody(req, maxBytes);
  let value: unknown;
  try {
    value = JSON.parse(STRICT_UTF8.decode(body));
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new ApiError(
      400,
      `[{'type': 'json_invalid', 'loc': ('body', 0), 'msg': 'JSON decode error', 'ctx': '${reason}'}]`,
    );
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new ApiError(
      400,
      "[{'type': 'model_attributes_type', 'loc': ('body',), 'msg': 'Input should be a valid dictionary'}]",
    );
  }
  return value as Record<string, unknown>;
}

/** Answers with a whole text body. Does nothing when the client is already gone. */
export function sendText(res: ServerResponse, status: number, type: string, text: string): void {
  if (res.headersSent || res.destroyed) return;
  res.writeHead(status, { server: 'uvicorn', 'content-type': type, 'content-length': Buffer.byteLength(text) });
  res.end(text);
}

/** Answers with a JSON text that is already built. */
export function sendJson(res: ServerResponse, status: number, json: string): void {
  sendText(res, status, 'application/json', json);
}
