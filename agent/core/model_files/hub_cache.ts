/**
 * The hub's cache on a host, as its client lays it out: `models--OWNER--NAME` with `refs/BRANCH`, which holds a commit, and
 * `snapshots/COMMIT`, whose files are links. Source: huggingface_hub's guide on its cache, and its environment variables
 * HF_HUB_CACHE, HF_HOME and their presets.
 */

const PART = /^[A-Za-z0-9][A-Za-z0-9._-]{0,95}$/;

type Environment = Readonly<Record<string, string | undefined>>;

const filled = (text: string | undefined): string | undefined => (text === undefined || text === '' ? undefined : text);

/** Where an engine with this environment looks for models of the hub; undefined: nowhere that can be said. */
export function hubCacheOf({ HF_HUB_CACHE, HF_HOME, HOME }: Environment): string | undefined {
  const home = filled(HF_HOME) ?? (filled(HOME) === undefined ? undefined : `${HOME}/.cache/huggingface`);
  const cache = filled(HF_HUB_CACHE) ?? (home === undefined ? undefined : `${home}/hub`);
  return cache?.startsWith('/') === true ? cache : undefined;
}

/** The model that a folder of the cache is about, such as Qwen/Qwen3-8B; undefined: it is none. */
export function hubModelOf(folder: string): string | undefined {
  const [kind, ...parts] = folder.split('--');
  const isName =
    kind === 'models' && (parts.length === 1 || parts.length === 2) && parts.every((part) => PART.test(part));
  return isName ? parts.join('/') : undefined;
}

/** Whether an engine would ask the hub's cache for its model. */
export const isHubModel = (spec: { readonly model: string; readonly modelSource?: unknown }): boolean =>
  spec.modelSource === undefined && hubModelOf(`models--${spec.model.replaceAll('/', '--')}`) === spec.model;

/** The commit in a file of `refs`; undefined: it holds none. */
export const commitIn = (text: string): string | undefined => /^[0-9a-f]{40}(?=\s*$)/.exec(text)?.[0];
