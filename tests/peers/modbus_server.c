/* A Modbus server on libmodbus, driven by the tests through stdin.
 *
 *     modbus_server                      Modbus TCP on a free port of 127.0.0.1
 *     modbus_server --serial /dev/pts/N  RTU on a serial line, unit 1
 *
 * Prints `ready PORT`, then answers each line with `ok` or `error ...`:
 *
 *     set hr|ir|co|di OFFSET VALUE...      registers (0..65535) or bits (0 or 1), offset from 0
 *     setv AREA OFFSET ORDER TYPE VALUE    ORDER one of ABCD CDAB BADC DCBA; TYPE INT16 ... FLOAT64,
 *                                          STRING, BCD16, BCD32
 *     seta AREA OFFSET ORDER TYPE VALUE... an array, one element after the other
 *     quit
 *
 * Ends when stdin closes. libmodbus makes the registers; their orders are made here, as
 * docs/profiles.md tells them.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <modbus.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ENTRIES 16384
#define LINE_MAX_BYTES 65536
#define CLIENTS_MAX 8

static modbus_mapping_t *map;

static uint16_t *table(const char *area) {
  return strcmp(area, "hr") == 0 ? map->tab_registers
       : strcmp(area, "ir") == 0 ? map->tab_input_registers : NULL;
}

static void swap_words(uint16_t *words, int count) {
  for (int low = 0, high = count - 1; low < high; low++, high--) {
    uint16_t word = words[low];
    words[low] = words[high];
    words[high] = word;
  }
}

static void swap_bytes(uint16_t *words, int count) {
  for (int at = 0; at < count; at++) words[at] = (uint16_t)(words[at] << 8 | words[at] >> 8);
}

static void arrange(uint16_t *words, int count, const char *order) {
  if (strcmp(order, "CDAB") == 0 || strcmp(order, "DCBA") == 0) swap_words(words, count);
  if (strcmp(order, "BADC") == 0 || strcmp(order, "DCBA") == 0) swap_bytes(words, count);
}

/* libmodbus changed from release to release what its functions with four letters mean, so only the
 * oldest one is used, which has put the low register first in all of them. */
static void put_float(uint16_t *words, const char *order, float value) {
  modbus_set_float(value, words);
  swap_words(words, 2);
  arrange(words, 2, order);
}

/* Puts a number; gives how many registers it has, 0 for an unknown type. */
static int put(uint16_t *words, const char *order, const char *type, const char *text) {
  int is_signed = text[0] == '-';
  uint64_t number = is_signed ? (uint64_t)strtoll(text, NULL, 0) : strtoull(text, NULL, 0);
  int count = 0;
  if (strcmp(type, "FLOAT32") == 0) {
    put_float(words, order, strtof(text, NULL));
    return 2;
  }
  if (strcmp(type, "FLOAT64") == 0) {
    double value = strtod(text, NULL);
    memcpy(&number, &value, sizeof number);
    type = "UINT64";
  }
  if (strcmp(type, "BCD16") == 0 || strcmp(type, "BCD32") == 0) number = strtoull(text, NULL, 16);
  if (strstr(type, "16")) {
    words[0] = (uint16_t)number;
    count = 1;
  } else if (strstr(type, "32")) {
    MODBUS_SET_INT32_TO_INT16(words, 0, (uint32_t)number);
    count = 2;
  } else if (strstr(type, "64")) {
    MODBUS_SET_INT64_TO_INT16(words, 0, number);
    count = 4;
  }
  arrange(words, count, order);
  return count;
}

static int put_text(uint16_t *words, const char *order, const char *text) {
  int count = ((int)strlen(text) + 1) / 2;
  for (int at = 0; at < count; at++) {
    uint8_t high = (uint8_t)text[2 * at], low = high ? (uint8_t)text[2 * at + 1] : 0;
    words[at] = (uint16_t)(high << 8 | low);
  }
  if (strcmp(order, "BADC") == 0 || strcmp(order, "DCBA") == 0) swap_bytes(words, count);
  return count;
}

static const char *set(char *rest, const char *area, int offset) {
  uint8_t *bits = strcmp(area, "co") == 0 ? map->tab_bits : strcmp(area, "di") == 0 ? map->tab_input_bits : NULL;
  uint16_t *words = table(area);
  char *value;
  while ((value = strsep(&rest, " "))) {
    if (offset >= ENTRIES) return "error outside of the table";
    long number = strtol(value, NULL, 0);
    if (bits) bits[offset++] = number != 0;
    else if (words) words[offset++] = (uint16_t)number;
    else return "error unknown area";
  }
  return "ok";
}

static const char *run(char *line) {
  char *command = strsep(&line, " "), *area = strsep(&line, " "), *offset = strsep(&line, " ");
  if (!offset || !line) return "error too few words";
  int at = atoi(offset);
  if (at < 0 || at >= ENTRIES - 256) return "error outside of the table";
  if (strcmp(command, "set") == 0) return set(line, area, at);
  char *order = strsep(&line, " "), *type = strsep(&line, " ");
  uint16_t *words = table(area);
  if (!words || !type || !line) return "error setv and seta are for registers";
  if (strcmp(type, "STRING") == 0) {
    put_text(words + at, order, line);
    return "ok";
  }
  char *value;
  while ((value = strsep(&line, " "))) {
    int count = put(words + at, order, type, value);
    if (count == 0) return "error unknown type";
    at += count;
  }
  return "ok";
}

/* Reads what stdin has; 0 when it is over. */
static int commands(void) {
  static char buffer[LINE_MAX_BYTES];
  static size_t have;
  ssize_t more = read(STDIN_FILENO, buffer + have, sizeof buffer - have - 1);
  if (more <= 0) return 0;
  have += (size_t)more;
  buffer[have] = 0;
  char *end;
  while ((end = strchr(buffer, '\n'))) {
    *end = 0;
    int quit = strcmp(buffer, "quit") == 0;
    puts(quit ? "ok" : run(buffer));
    fflush(stdout);
    if (quit) return 0;
    have -= (size_t)(end + 1 - buffer);
    memmove(buffer, end + 1, have + 1);
  }
  return 1;
}

static int serve(modbus_t *modbus, int socket) {
  uint8_t query[MODBUS_TCP_MAX_ADU_LENGTH];
  modbus_set_socket(modbus, socket);
  int length = modbus_receive(modbus, query);
  if (length < 0) return 0;
  /* 0 bytes are a request for another unit. */
  if (length > 0) modbus_reply(modbus, query, length, map);
  return 1;
}

int main(int argc, char **argv) {
  const char *serial = argc == 3 && strcmp(argv[1], "--serial") == 0 ? argv[2] : NULL;
  modbus_t *modbus = serial ? modbus_new_rtu(serial, 115200, 'N', 8, 1) : modbus_new_tcp("127.0.0.1", 0);
  map = modbus_mapping_new(ENTRIES, ENTRIES, ENTRIES, ENTRIES);
  struct pollfd sockets[2 + CLIENTS_MAX] = {{.fd = STDIN_FILENO, .events = POLLIN}};
  int listener = -1, clients = 0, port = 0;
  if (!modbus || !map) return 1;
  if (serial) {
    modbus_set_slave(modbus, 1);
    if (modbus_connect(modbus) < 0) return 1;
    sockets[1] = (struct pollfd){.fd = modbus_get_socket(modbus), .events = POLLIN};
  } else {
    struct sockaddr_in address;
    socklen_t length = sizeof address;
    listener = modbus_tcp_listen(modbus, CLIENTS_MAX);
    if (listener < 0 || getsockname(listener, (struct sockaddr *)&address, &length) < 0) return 1;
    port = ntohs(address.sin_port);
    sockets[1] = (struct pollfd){.fd = listener, .events = POLLIN};
  }
  printf("ready %d\n", port);
  fflush(stdout);
  while (poll(sockets, (nfds_t)(2 + clients), -1) > 0) {
    if (sockets[0].revents && !commands()) break;
    if (sockets[1].revents & POLLIN) {
      if (serial) {
        serve(modbus, sockets[1].fd);
      } else if (clients < CLIENTS_MAX) {
        int client = modbus_tcp_accept(modbus, &listener);
        if (client >= 0) sockets[2 + clients++] = (struct pollfd){.fd = client, .events = POLLIN};
      }
    }
    for (int at = 2; at < 2 + clients; at++) {
      if (sockets[at].revents && !serve(modbus, sockets[at].fd)) {
        close(sockets[at].fd);
        sockets[at--] = sockets[2 + --clients];
        sockets[2 + clients] = (struct pollfd){.fd = -1};
      }
    }
  }
  return 0;
}
