/*
 * sd_notify(3) without libsystemd: Node has no datagram sockets of the Unix family. The protocol is a datagram of
 * NAME=value lines to the socket that systemd names.
 */
#define _GNU_SOURCE
#include "nvml.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

int notify_send(const char *path, const char *message) {
  struct sockaddr_un address;
  size_t length = strlen(path);
  if (length < 2 || (path[0] != '/' && path[0] != '@')) return EINVAL;
  if (length >= sizeof address.sun_path) return ENAMETOOLONG;
  memset(&address, 0, sizeof address);
  address.sun_family = AF_UNIX;
  memcpy(address.sun_path, path, length);
  /* An abstract name begins with a zero byte and is as long as it says; a path ends with one. */
  socklen_t size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length + (path[0] == '/' ? 1 : 0));
  if (path[0] == '@') address.sun_path[0] = 0;
  int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return errno;
  size_t bytes = strlen(message);
  ssize_t sent = sendto(fd, message, bytes, MSG_NOSIGNAL, (struct sockaddr *)&address, size);
  int failure = sent == (ssize_t)bytes ? 0 : errno;
  close(fd);
  return failure;
}
