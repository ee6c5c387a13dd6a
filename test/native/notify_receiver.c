/* A socket such as systemd's: binds the given name (`@` first: abstract), says "bound", prints one datagram, ends. */
#define _GNU_SOURCE
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

int main(int count, char **words) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  char buffer[8192];
  if (count != 2 || strlen(words[1]) >= sizeof address.sun_path) return 2;
  size_t length = strlen(words[1]);
  memcpy(address.sun_path, words[1], length);
  if (words[1][0] == '@') address.sun_path[0] = 0;
  int fd = socket(AF_UNIX, SOCK_DGRAM, 0);
  if (bind(fd, (struct sockaddr *)&address, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length)) != 0) return 1;
  puts("bound");
  fflush(stdout);
  ssize_t bytes = recv(fd, buffer, sizeof buffer, 0);
  if (bytes < 0) return 1;
  fwrite(buffer, 1, (size_t)bytes, stdout);
  return 0;
}
