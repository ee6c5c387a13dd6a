/** The address of a door that is reached by TLS: scheme, host and port, and nothing that a path or a query could smuggle in. */

const MAX_CHARACTERS = 2048;

export function isHttpsOrigin(text: string): boolean {
  if (text.length > MAX_CHARACTERS || !URL.canParse(text)) return false;
  const { protocol, pathname, search, hash, username, password } = new URL(text);
  return protocol === 'https:' && pathname === '/' && `${search}${hash}${username}${password}` === '';
}
