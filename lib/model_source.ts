/** How a model's source is named: agents tell what they have on disk by it, and placement looks for it there. */

/** Its address, with @ and the revision where it has one. */
export const sourceName = ({ url, revision = '' }: { readonly url: string; readonly revision?: string }): string =>
  revision === '' ? url : `${url}@${revision}`;
