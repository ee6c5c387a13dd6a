/*
 * The keeper's socket. A request is one word on a line, an answer one JSON object on a line; the first line of a
 * connection is a greeting. Whoever sends anything else gets an error and loses the connection, and nothing more.
 */
#define _GNU_SOURCE
#include "keeper.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum { MAX_CLIENTS = SERVER_POLLS - 1, LINE_BYTES = 64, MAX_PENDING_BYTES = TEXT_LIMIT };

struct client {
  int socket;
  bool subscribed;
  bool closing;
  uint64_t since; /* counts connections, to find the oldest */
  char line[LINE_BYTES];
  size_t line_length;
  struct text pending;
};

static int listener = -1;
static struct client clients[MAX_CLIENTS];
static uint64_t connections;

bool server_open(void) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  // Relative to the life's folder, so that a long path does not matter: sun_path holds 108 bytes.
  memcpy(address.sun_path, SOCKET_NAME, sizeof SOCKET_NAME);
  for (size_t i = 0; i < MAX_CLIENTS; i++) clients[i].socket = -1;
  unlink(SOCKET_NAME);
  listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (listener < 0) return false;
  mode_t before = umask(0177);
  bool bound = bind(listener, (struct sockaddr *)&address, sizeof address) == 0;
  umask(before);
  return bound && listen(listener, 128) == 0;
}

static void drop_client(struct client *client) {
  close(client->socket);
  text_free(&client->pending);
  memset(client, 0, sizeof *client);
  client->socket = -1;
}

/* Writes what the socket takes now; the rest waits for it, up to a bound. */
static void flush(struct client *client) {
  size_t done = 0;
  while (done < client->pending.length) {
    ssize_t count = send(client->socket, client->pending.bytes + done, client->pending.length - done, MSG_NOSIGNAL);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0 && errno == EAGAIN) break;
    if (count <= 0) {
      // It has gone. What it asked for before that is still to be read, and the end of the connection after it.
      text_free(&client->pending);
      return;
    }
    done += (size_t)count;
  }
  client->pending.length -= done;
  if (client->pending.length > 0) memmove(client->pending.bytes, client->pending.bytes + done, client->pending.length);
  else text_free(&client->pending);
  if (client->closing && client->pending.length == 0) drop_client(client);
}

static void say(struct client *client, const struct text *answer) {
  text_add(&client->pending, answer->bytes, answer->length);
  text_add(&client->pending, "\n", 1);
  // Half a line would be worse than none.
  if (client->pending.cut || client->pending.length > MAX_PENDING_BYTES) drop_client(client);
  else flush(client);
}

static void say_report(struct client *client, const char *what) {
  struct text report = {0};
  keeper_report(&report, what);
  say(client, &report);
  text_free(&report);
}

static void say_plain(struct client *client, const char *what, const char *key, const char *value) {
  struct text answer = {0};
  text_format(&answer, "{\"t\":\"%s\",\"%s\":\"%s\"}", what, key, value);
  say(client, &answer);
  text_free(&answer);
}

static void on_status(struct client *client) { say_report(client, "status"); }

static void on_subscribe(struct client *client) {
  const struct engine *engine = keeper_engine();
  client->subscribed = true;
  const char *running = parts_lost() ? "part_died" : "status";
  say_report(client, engine->phase == PHASE_SWEEPING ? "died" : engine->phase == PHASE_RUNNING ? running : "ended");
}

static void on_term(struct client *client) {
  const struct engine *engine = keeper_engine();
  // Until it is reaped its number cannot be another's.
  if (engine->phase == PHASE_RUNNING) kill(engine->pid, SIGTERM);
  say_plain(client, "ok", "did", "term");
}

static void on_kill(struct client *client) {
  struct engine *engine = keeper_engine();
  engine->killed = true;
  engine_kill_tree(engine);
  say_plain(client, "ok", "did", "kill");
}

static void on_pids(struct client *client) {
  struct engine *engine = keeper_engine();
  struct text answer = {0};
  text_format(&answer, "{\"t\":\"pids\",\"pids\":[");
  if (list_descendants(&engine->tree))
    for (size_t i = 0; i < engine->tree.count; i++)
      text_format(&answer, "%s%d", i == 0 ? "" : ",", (int)engine->tree.items[i].pid);
  text_format(&answer, "]}");
  say(client, &answer);
  text_free(&answer);
}

static void on_ack(struct client *client) {
  const struct engine *engine = keeper_engine();
  bool over = engine->phase == PHASE_ENDED || engine->phase == PHASE_FAILED;
  say_plain(client, over ? "ok" : "error", over ? "did" : "message", over ? "ack" : "the engine has not ended");
  if (over) keeper_acknowledge();
}

static const struct {
  const char *word;
  void (*answer)(struct client *client);
} REQUESTS[] = {
    {"status", on_status}, {"subscribe", on_subscribe}, {"term", on_term},
    {"kill", on_kill},     {"pids", on_pids},           {"ack", on_ack},
};

static void answer_line(struct client *client) {
  client->line[client->line_length] = '\0';
  client->line_length = 0;
  for (size_t i = 0; i < sizeof REQUESTS / sizeof *REQUESTS; i++)
    if (strcmp(client->line, REQUESTS[i].word) == 0) {
      REQUESTS[i].answer(client);
      return;
    }
  client->closing = true;
  say_plain(client, "error", "message", "unknown request");
}

static void read_client(struct client *client) {
  char bytes[512];
  ssize_t count = recv(client->socket, bytes, sizeof bytes, 0);
  if (count < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (count <= 0) {
    drop_client(client);
    return;
  }
  for (ssize_t i = 0; i < count && client->socket >= 0 && !client->closing; i++) {
    if (bytes[i] == '\n') answer_line(client);
    else if (client->line_length + 1 < LINE_BYTES) client->line[client->line_length++] = bytes[i];
    else {
      client->closing = true;
      say_plain(client, "error", "message", "the line is too long");
    }
  }
}

/* A free place; when all are taken, the oldest one that does not wait for the end, else the oldest of all. */
static struct client *place(void) {
  struct client *oldest = NULL;
  for (size_t i = 0; i < MAX_CLIENTS; i++) {
    struct client *client = &clients[i];
    if (client->socket < 0) return client;
    if (oldest == NULL || (oldest->subscribed && !client->subscribed) ||
        (oldest->subscribed == client->subscribed && client->since < oldest->since))
      oldest = client;
  }
  drop_client(oldest);
  return oldest;
}

/* False when nobody waits. */
static bool accept_client(void) {
  int socket = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
  if (socket < 0) return false;
  struct client *client = place();
  client->socket = socket;
  client->since = ++connections;
  say_report(client, "hello");
  return true;
}

void server_polls(struct pollfd *polls) {
  polls[0] = (struct pollfd){.fd = listener, .events = POLLIN};
  for (size_t i = 0; i < MAX_CLIENTS; i++) {
    const struct client *client = &clients[i];
    short events = (short)((client->closing ? 0 : POLLIN) | (client->pending.length > 0 ? POLLOUT : 0));
    polls[i + 1] = (struct pollfd){.fd = client->socket, .events = events};
  }
}

void server_handle(const struct pollfd *polls) {
  for (size_t i = 0; i < MAX_CLIENTS; i++) {
    struct client *client = &clients[i];
    short events = polls[i + 1].revents;
    if (events == 0 || client->socket != polls[i + 1].fd) continue;
    if ((events & POLLOUT) != 0) flush(client);
    if (client->socket < 0) continue;
    if ((events & POLLIN) != 0) read_client(client);
    else if ((events & (POLLHUP | POLLERR | POLLNVAL)) != 0) drop_client(client);
  }
  for (int i = 0; polls[0].revents != 0 && i < 2 * MAX_CLIENTS && accept_client(); i++) continue;
}

void server_publish(const char *what) {
  for (size_t i = 0; i < MAX_CLIENTS; i++)
    if (clients[i].socket >= 0 && clients[i].subscribed) say_report(&clients[i], what);
}

bool server_has_subscriber(void) {
  for (size_t i = 0; i < MAX_CLIENTS; i++)
    if (clients[i].socket >= 0 && clients[i].subscribed) return true;
  return false;
}

void server_close(void) {
  for (size_t i = 0; i < MAX_CLIENTS; i++)
    if (clients[i].socket >= 0) drop_client(&clients[i]);
  close(listener);
}
