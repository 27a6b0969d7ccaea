/* proto/rpc/accept_guard.h - accept4 for the whole process: running out of file descriptors is survived.
 *
 * gRPC 1.51 closes its listener for good when accept4 fails with EMFILE (CVE-2023-4785): a hundred idle
 * connections of strangers could make a node deaf. This accept4 stands in front of libc's: when descriptors
 * run out it takes the waiting connections with a spare one and closes them, and it never reports the error
 * that kills the listener. It also gives the connection cap that gRPC lacks. */
#pragma once

#include <stdint.h>

/* accept_guard_limit closes sockets at once whose number is `fd_max` or above: the numbers from there on are
 * left to files. */
void accept_guard_limit(int fd_max);

/* accept_guard_seen counts the calls of accept4 that came through here: it moves when somebody connects, if
 * the guard is live. */
uint64_t accept_guard_seen(void);

struct accept_guard_counters {
    uint64_t accepted, refused_files;          /* totals */
};
void accept_guard_counters(struct accept_guard_counters *out);
