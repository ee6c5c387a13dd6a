/** The certificates of the scheduler's doors: read and checked at the start, handed to the doors again when they change. */
import { CodedError } from '../../lib/errors.ts';
import { certificateFigures } from '../../lib/io/certificate_metrics.ts';
import type { Logger } from '../../lib/io/logger.ts';
import type { Metrics } from '../../lib/io/metrics.ts';
import { systemClock } from '../../lib/io/system.ts';
import type { TlsMaterial } from '../../lib/io/tls_files.ts';
import { createTlsWatch, type TlsWatch } from '../../lib/io/tls_watch.ts';

export interface CertificateSettings {
  readonly fleetCertFile: string;
  readonly fleetKeyFile: string;
  readonly fleetCaFile: string;
  readonly grpcCertFile?: string | undefined;
  readonly grpcKeyFile?: string | undefined;
  readonly tlsReloadMs: number;
}

/** A door that takes new certificates while it is open. */
interface TlsDoor {
  setTls(tls: TlsMaterial): void;
}

export interface Certificates {
  readonly fleet: TlsWatch;
  /** Absent: the gRPC door speaks plain text. */
  readonly grpc: TlsWatch | undefined;
  start(metrics: Metrics, doors: { readonly fleet: TlsDoor; readonly grpc: TlsDoor }): void;
  stop(): Promise<void>;
}

/** @throws CodedError invalid_config, with the setting in `param` */
export function openCertificates(config: CertificateSettings, logger: Logger): Certificates {
  const { grpcCertFile, grpcKeyFile, tlsReloadMs: reloadMs } = config;
  if ((grpcCertFile === undefined) !== (grpcKeyFile === undefined)) {
    throw new CodedError('invalid_config', 'Give both grpcCertFile and grpcKeyFile, or neither.', {
      param: 'grpcCertFile',
    });
  }
  const common = { reloadMs, clock: systemClock, logger };
  const grpc =
    grpcCertFile === undefined || grpcKeyFile === undefined
      ? undefined
      : createTlsWatch({
          ...common,
          certificate: 'grpc',
          files: {
            cert: { setting: 'grpcCertFile', file: grpcCertFile },
            key: { setting: 'grpcKeyFile', file: grpcKeyFile },
          },
        });
  const fleet = createTlsWatch({
    ...common,
    certificate: 'fleet',
    files: {
      ca: { setting: 'fleetCaFile', file: config.fleetCaFile },
      cert: { setting: 'fleetCertFile', file: config.fleetCertFile },
      key: { setting: 'fleetKeyFile', file: config.fleetKeyFile },
    },
  });
  return {
    fleet,
    grpc,
    start(metrics, doors) {
      fleet.start({ onChange: (set) => doors.fleet.setTls(set), ...certificateFigures(metrics, 'fleet') });
      grpc?.start({ onChange: (set) => doors.grpc.setTls(set), ...certificateFigures(metrics, 'grpc') });
    },
    async stop() {
      await Promise.all([fleet.stop(), grpc?.stop()]);
    },
  };
}
