/**
 * How resources are called. A name stands in URLs, tables, file names and labels, so it is an RFC 1123 label as in
 * Kubernetes; a node has the name of its certificate, which may be a host name with dots. Kinds are taken in the
 * spellings that people type.
 */
import { nearest } from '../../../lib/nearest.ts';
import { RESOURCE_KINDS, type ResourceKind } from './contract.ts';

const LABEL = /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/;
const SUBDOMAIN = /^(?=.{1,253}$)[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)*$/;

const WORDS: Readonly<Record<string, ResourceKind>> = {
  node: 'Node',
  nodes: 'Node',
  no: 'Node',
  engine: 'Engine',
  engines: 'Engine',
  deployment: 'Deployment',
  deployments: 'Deployment',
  deploy: 'Deployment',
  pool: 'Pool',
  pools: 'Pool',
  alias: 'Alias',
  aliases: 'Alias',
  quarantine: 'Quarantine',
  quarantines: 'Quarantine',
};

/** The kind that a person means by a word, whatever its case or number; undefined when it is none. */
export const kindNamed = (word: string): ResourceKind | undefined => {
  const lower = word.toLowerCase();
  return Object.hasOwn(WORDS, lower) ? WORDS[lower] : undefined;
};

/** What to say of a word that names no kind. */
export function kindProblem(word: string): string {
  const close = nearest(word, RESOURCE_KINDS);
  const hint = close === undefined ? '' : `; did you mean ${close}?`;
  return `there is no kind ${JSON.stringify(word.slice(0, 63))}, only ${RESOURCE_KINDS.join(', ')}${hint}`;
}

/** What is wrong with the name of a resource, or undefined. */
export function nameProblem(kind: ResourceKind, name: string): string | undefined {
  const shown = JSON.stringify(name.slice(0, 63));
  if (kind === 'Node')
    return SUBDOMAIN.test(name)
      ? undefined
      : `${shown} is not an RFC 1123 subdomain: lower-case letters, digits, - and ., up to 253, as in gpu-1.example.org`;
  return LABEL.test(name)
    ? undefined
    : `${shown} is not an RFC 1123 label: up to 63 lower-case letters, digits and -, with a letter or digit at both ends`;
}

/** As Kubernetes prints it: `deployment/chat`. */
export const resourceText = (kind: string, name: string): string => `${kind.toLowerCase()}/${name}`;
