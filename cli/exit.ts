/**
 * How a command asks for an exit code of its own: doctor with findings, up after a signal. What is to be said has been
 * said already.
 */
export class ExitRequest extends Error {
  readonly exitCode: number;

  constructor(exitCode: number) {
    super(`exit ${exitCode}`);
    this.exitCode = exitCode;
  }
}
