/** Which texts are the address of a door, and no more than that. */
import t from 'tap';
import { isHttpsOrigin } from '../../lib/https_origin.ts';

t.test('an address with a scheme, a host and a port, and nothing else', async (t) => {
  for (const sound of ['https://a', 'https://a:8443', 'https://10.0.0.1:1/', 'https://[::1]:9'])
    t.equal(isHttpsOrigin(sound), true, sound);
  const wrong = [
    '',
    'a:8443',
    'http://a',
    'https://a/b',
    'https://a/?b',
    'https://a/#b',
    'https://b@a',
    'https://:c@a',
  ];
  for (const text of [...wrong, `https://${'a'.repeat(2048)}`]) t.equal(isHttpsOrigin(text), false, text.slice(0, 40));
});
