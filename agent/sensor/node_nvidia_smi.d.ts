/** The package node-nvidia-smi 1.0 has no types of its own. */
declare module 'node-nvidia-smi' {
  /** Runs `nvidia-smi -q -x` and gives its XML as an object: no deadline, any output on standard error is an error. */
  export default function smi(callback: (error: unknown, data?: unknown) => void): void;
}
