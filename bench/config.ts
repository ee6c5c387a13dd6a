/**
 * The only file of bench/ that reads the environment: what the started processes inherit.
 */
export function benchEnvironment(): NodeJS.ProcessEnv {
  return process.env;
}
