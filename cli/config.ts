/**
 * What the command line takes from outside: the settings of `sophia up`, the place of the user's own files, and the few
 * environment variables of the client commands. The only file of cli/ that reads the environment.
 */
import { homedir } from 'node:os';
import path from 'node:path';
import { durationMs, integer, list, oneOf, port, text } from '../lib/io/setting_types.ts';
import { defineSettings } from '../lib/io/settings.ts';

const environment = process.env;

/** Where this user's files lie, by the XDG base directory rules. */
export const userFolders = Object.freeze({
  config: path.join(environment['XDG_CONFIG_HOME'] ?? path.join(homedir(), '.config'), 'sophia-fleet'),
  data: path.join(environment['XDG_DATA_HOME'] ?? path.join(homedir(), '.local', 'share'), 'sophia-fleet'),
  cache: path.join(environment['XDG_CACHE_HOME'] ?? path.join(homedir(), '.cache'), 'sophia-fleet'),
});

/** Settings of `sophia up`. */
export const settings = defineSettings('up', {
  engine: {
    schema: oneOf(['auto', 'vllm', 'llama', 'sim']),
    default: 'auto',
    doc: 'Which engine to run: auto takes vLLM when it is on PATH and a model folder is given, else the embedded llama, else the simulation.',
  },
  model: {
    schema: text(),
    default: undefined,
    doc: 'Model folder (vllm), GGUF file or hub id (llama); unset: the small default model.',
  },
  servedModelName: {
    schema: text({ pattern: /^[\w.:/-]{1,128}$/, allowed: '1 to 128 letters, digits and ._:/-' }),
    default: undefined,
    doc: 'Name under which clients ask for the model; unset: derived from the model.',
  },
  engines: {
    schema: integer({ min: 1, max: 64 }),
    default: undefined,
    doc: 'How many engines to start on this machine; unset: two, or one per GPU for vllm.',
  },
  extraFlags: {
    schema: list(text()),
    default: [],
    doc: 'Further flags for each engine, as in an engine specification, such as --dtype,float32.',
  },
  dataDir: {
    schema: text(),
    default: path.join(userFolders.data, 'up'),
    doc: 'Folder for keys, certificates, logs and engine state.',
  },
  cacheDir: { schema: text(), default: userFolders.cache, doc: 'Folder for downloaded weights.' },
  httpHost: { schema: text(), default: '127.0.0.1', doc: 'Address of the HTTP door.' },
  httpPort: { schema: port(), default: 8080, doc: 'Port of the HTTP door; 0 takes a free one.' },
  grpcPort: {
    schema: port(),
    default: 8081,
    doc: 'Port of the gRPC door for gateways and operators; 0 takes a free one.',
  },
  fleetPort: { schema: port(), default: 8443, doc: 'Port of the door for agents; 0 takes a free one.' },
  directPort: {
    schema: port(),
    default: undefined,
    doc: 'Port of the agent for `sophia chat --direct` and others that Route sends there; 0 takes a free one; unset: none.',
  },
  readyTimeoutMs: {
    schema: durationMs({ min: 1000 }),
    default: 900_000,
    doc: 'How long engines may take to become ready before up gives up.',
  },
  logLevel: {
    schema: oneOf(['trace', 'debug', 'info', 'warn', 'error']),
    default: 'info',
    doc: 'Log level of scheduler and agent.',
  },
});

/** The environment as loadSettings takes it, and as child processes inherit it. */
export function processEnvironment(): NodeJS.ProcessEnv {
  return environment;
}

/** Defaults of the client commands' global flags. */
export const clientDefaults = Object.freeze({
  context: environment['SOPHIA_CONTEXT'],
  endpoint: environment['SOPHIA_ENDPOINT'],
  /** A key in the environment is seen by fewer eyes than one in an argument, which every `ps` shows. */
  key: environment['SOPHIA_KEY'],
});
