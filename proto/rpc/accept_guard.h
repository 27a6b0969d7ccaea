/* proto/rpc/accept_guard.h - accept4 for the whole process: what strangers may take before anybody knows them.
 *
 * gRPC 1.51 closes its listener for good when accept4 fails with EMFILE (CVE-2023-4785): a hundred idle
 * connections of strangers could make a node deaf. This accept4 stands in front of libc's: when descriptors
 * run out it takes the waiting connections with a spare one and closes them, and it never reports the error
 * that kills the listener. It also gives what gRPC lacks: caps on connections, together and by address, and a way
 * to cut one off. Descriptors are capped for every listener of the process; the rest holds for guarded ports. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

enum { ACCEPT_GUARD_FD_MAX = 1 << 16 };      /* descriptors from here on are never taken for connections */

/* accept_guard_limit closes sockets at once whose number is `fd_max` or above: the numbers from there on are
 * left to files. */
void accept_guard_limit(int fd_max);

/* accept_guard_caps: connections of guarded ports at once, all together and of one address; more are closed at
 * once.
 */
void accept_guard_caps(unsigned total_max, unsigned source_max);

/* accept_guard_port begins and ends guarding a listener, by its port. */
void accept_guard_port(int port, bool guarded);

/* accept_guard_seen counts the calls of accept4 that came through here: it moves when somebody connects, if
 * the guard is live. */
uint64_t accept_guard_seen(void);

struct accept_guard_socket {     /* a connection; its number alone may be another's by now */
    int fd;                      /* -1: none */
    uint64_t cookie;
};

/* accept_guard_find returns the connection of a peer as gRPC writes it ("ipv4:127.0.0.1:4711"), and takes note
 * that it was good for something. */
struct accept_guard_socket accept_guard_find(const char *peer);

/* accept_guard_is_open: it has not been closed. */
bool accept_guard_is_open(struct accept_guard_socket connection);

/* accept_guard_cut ends it, whatever is under way on it; false: it was closed before. */
bool accept_guard_cut(struct accept_guard_socket connection);

/* accept_guard_heard returns how many bytes were read from it so far. */
uint64_t accept_guard_heard(struct accept_guard_socket connection);

/* accept_guard_sweep forgets connections that were closed (caps count them until then) and cuts off those that
 * have sent a lot without accept_guard_find: a handshake and a greeting are short. */
void accept_guard_sweep(void);

struct accept_guard_counters {
    uint64_t open;               /* now, as of the last sweep */
    uint64_t accepted, refused_files, refused_total, refused_source;           /* totals */
    uint64_t silent, babbling; /* totals: closed without accept_guard_find; of them, cut off for what they sent */
};
void accept_guard_counters(struct accept_guard_counters *out);
