/* Text for answers and for the state file, and the names of signals and errors in it. */
#define _GNU_SOURCE
#include "keeper.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void text_add(struct text *text, const char *bytes, size_t length) {
  if (text->length + length + 1 > text->room) {
    size_t room = text->room == 0 ? 512 : text->room;
    while (room < text->length + length + 1) room *= 2;
    char *grown = room > TEXT_LIMIT ? NULL : realloc(text->bytes, room);
    if (grown == NULL) {
      text->cut = true;
      return;
    }
    text->bytes = grown;
    text->room = room;
  }
  memcpy(text->bytes + text->length, bytes, length);
  text->length += length;
  text->bytes[text->length] = '\0';
}

void text_format(struct text *text, const char *format, ...) {
  char line[512];
  va_list arguments;
  va_start(arguments, format);
  int length = vsnprintf(line, sizeof line, format, arguments);
  va_end(arguments);
  if (length < 0) return;
  text_add(text, line, (size_t)length < sizeof line ? (size_t)length : sizeof line - 1);
}

/* The length of the UTF-8 sequence at `at`, or 0 where there is none (RFC 3629, section 4). */
static size_t sequence_length(const unsigned char *at, size_t left) {
  unsigned char first = at[0];
  size_t length = first < 0x80 ? 1 : first >= 0xc2 && first < 0xe0 ? 2 : first >= 0xe0 && first < 0xf0 ? 3
                : first >= 0xf0 && first < 0xf5 ? 4 : 0;
  if (length == 0 || length > left) return 0;
  for (size_t i = 1; i < length; i++)
    if ((at[i] & 0xc0) != 0x80) return 0;
  if (first == 0xe0 && at[1] < 0xa0) return 0;
  if (first == 0xed && at[1] > 0x9f) return 0;
  if (first == 0xf0 && at[1] < 0x90) return 0;
  if (first == 0xf4 && at[1] > 0x8f) return 0;
  return length;
}

void text_add_json(struct text *text, const char *bytes, size_t length) {
  const unsigned char *at = (const unsigned char *)bytes;
  size_t left = length;
  text_add(text, "\"", 1);
  while (left > 0) {
    size_t step = sequence_length(at, left);
    if (step == 0) {
      text_add(text, "?", 1);
      step = 1;
    } else if (*at == '"' || *at == '\\') {
      char escaped[2] = {'\\', (char)*at};
      text_add(text, escaped, 2);
    } else if (*at == '\n') {
      text_add(text, "\\n", 2);
    } else if (*at < 0x20 || *at == 0x7f) {
      text_format(text, "\\u%04x", *at);
    } else {
      text_add(text, (const char *)at, step);
    }
    at += step;
    left -= step;
  }
  text_add(text, "\"", 1);
}

void text_free(struct text *text) {
  free(text->bytes);
  memset(text, 0, sizeof *text);
}

struct name {
  int number;
  const char *name;
};

#define NAMED(what) {what, #what}

static const struct name SIGNALS[] = {
    NAMED(SIGHUP),  NAMED(SIGINT),  NAMED(SIGQUIT), NAMED(SIGILL),    NAMED(SIGTRAP), NAMED(SIGABRT),   NAMED(SIGBUS),
    NAMED(SIGFPE),  NAMED(SIGKILL), NAMED(SIGUSR1), NAMED(SIGSEGV),   NAMED(SIGUSR2), NAMED(SIGPIPE),   NAMED(SIGALRM),
    NAMED(SIGTERM), NAMED(SIGXCPU), NAMED(SIGXFSZ), NAMED(SIGVTALRM), NAMED(SIGPROF), NAMED(SIGSYS),    NAMED(SIGIO),
    NAMED(SIGPWR),  NAMED(SIGSTKFLT),
};

static const struct name ERRORS[] = {
    NAMED(ENOENT),  NAMED(EACCES), NAMED(ENOEXEC), NAMED(E2BIG), NAMED(ENOMEM), NAMED(ENOTDIR),
    NAMED(EAGAIN),  NAMED(EPERM),  NAMED(ETXTBSY), NAMED(ELOOP), NAMED(EISDIR), NAMED(ENAMETOOLONG),
    NAMED(ELIBBAD), NAMED(EIO),    NAMED(EMFILE),  NAMED(ENFILE), NAMED(EINVAL),
};

static const char *name_in(const struct name *names, size_t count, int number, const char *prefix) {
  static char other[32];
  for (size_t i = 0; i < count; i++)
    if (names[i].number == number) return names[i].name;
  snprintf(other, sizeof other, "%s%d", prefix, number);
  return other;
}

const char *signal_name(int number) { return name_in(SIGNALS, sizeof SIGNALS / sizeof *SIGNALS, number, "SIG"); }

const char *errno_name(int number) { return name_in(ERRORS, sizeof ERRORS / sizeof *ERRORS, number, "E"); }
