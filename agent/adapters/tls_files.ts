/**
 * Reads the certificates of the agent and refuses what no scheduler could accept, before anything is started: a wrong
 * file would otherwise show as a session that is refused again and again.
 */
import { X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { CodedError } from '../../lib/errors.ts';
import type { TlsMaterial } from '../workers/relay_messages.ts';

export interface TlsFiles {
  readonly caFile: string;
  readonly certFile: string;
  readonly keyFile: string;
}

function readPem(key: string, file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch (cause) {
    const why = (cause as NodeJS.ErrnoException).code ?? 'unknown reason';
    throw new CodedError('invalid_config', `Setting ${key}: the file ${file} cannot be read (${why}).`, {
      param: key,
      cause,
    });
  }
}

/** @throws CodedError invalid_config, with the setting in `param` */
export function loadTls(config: TlsFiles, nowMs: number): TlsMaterial {
  const caPem = readPem('caFile', config.caFile);
  const certPem = readPem('certFile', config.certFile);
  const keyPem = readPem('keyFile', config.keyFile);
  for (const [key, pem] of [
    ['caFile', caPem],
    ['certFile', certPem],
  ] as const) {
    let certificate: X509Certificate;
    try {
      certificate = new X509Certificate(pem);
    } catch (cause) {
      throw new CodedError('invalid_config', `Setting ${key}: the file holds no certificate in PEM form.`, {
        param: key,
        cause,
      });
    }
    if (Date.parse(certificate.validTo) < nowMs) {
      throw new CodedError('invalid_config', `Setting ${key}: the certificate expired on ${certificate.validTo}.`, {
        param: key,
      });
    }
  }
  if (!/-----BEGIN (EC |RSA )?PRIVATE KEY-----/.test(keyPem)) {
    throw new CodedError('invalid_config', 'Setting keyFile: the file holds no unencrypted private key in PEM form.', {
      param: 'keyFile',
    });
  }
  return { caPem, certPem, keyPem };
}
