/**
 * Server credentials whose certificates can be replaced while the listener is open. The library applies what
 * `updateSecureContextOptions` is given to its TLS server by setSecureContext: handshakes from then on use the new set,
 * connections that stand are left alone. The library's own FileWatcherCertificateProvider is not used: it takes files
 * in whatever state it finds them, and a file that is absent for a moment makes its server drop every new connection;
 * it also hands on authority and certificate one after the other instead of together.
 */
import { ServerCredentials } from '@grpc/grpc-js';
import type { SecureContextOptions } from 'node:tls';
import type { TlsMaterial } from '../../../lib/io/tls_files.ts';

const contextOf = ({ caPem, certPem, keyPem }: TlsMaterial): SecureContextOptions => ({
  cert: certPem,
  key: keyPem,
  ...(caPem === '' ? {} : { ca: caPem }),
});

/** With an authority in `material`, only peers with a certificate of it get past the handshake. */
export class ReloadingCredentials extends ServerCredentials {
  constructor(material: TlsMaterial) {
    const mutual = material.caPem !== '';
    super({ requestCert: mutual, rejectUnauthorized: mutual }, contextOf(material));
  }

  /** @param material a set that was checked: of one that TLS does not accept the library drops all new connections */
  use(material: TlsMaterial): void {
    this.updateSecureContextOptions(contextOf(material));
  }

  _equals(other: ServerCredentials): boolean {
    return this === other;
  }
}
