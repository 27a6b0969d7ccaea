/* tests/disk/trace.h - what disk.so writes down of a process: one record per call that changes files under a
 * folder, in the order in which the calls ended. replay.h makes folders of it. */
#pragma once

#include <stdint.h>

enum trace_kind {
    TRACE_PROCESS = 1,           /* another process begins: no file is open */
    TRACE_OPEN,                  /* path, fd; offset: open's flags */
    TRACE_CLOSE,                 /* fd */
    TRACE_WRITE,                 /* fd, offset, data */
    TRACE_RESIZE,                /* fd; offset: the new length */
    TRACE_GROW,                  /* fd; offset: the length is at least that from now on (fallocate) */
    TRACE_SYNC,                  /* fd, of a file or of a folder */
    TRACE_RENAME,                /* path, to data */
    TRACE_UNLINK,                /* path */
    TRACE_MKDIR,                 /* path */
    TRACE_NOTE,                  /* data: a word of the test's own, "this was acknowledged" */
};

/* In front of each record; path and data follow. */
struct trace_head {
    uint32_t kind;
    int32_t fd;
    uint64_t offset;
    uint32_t path_len, data_len;
};

/* The environment that disk.so reads. */
#define DISK_ROOT "CHARTMESH_DISK_ROOT"          /* the folder; absolute */
#define DISK_TRACE "CHARTMESH_DISK_TRACE"        /* the trace is appended to this file; unset: none */
#define DISK_LIES "CHARTMESH_DISK_LIES"          /* fsync and fdatasync of files whose name ends so do nothing */
#define DISK_CLOCK "CHARTMESH_DISK_CLOCK"        /* so many seconds are added to the machine's clock */
#define DISK_FAULT                                                                                                \
    "CHARTMESH_DISK_FAULT"        /* while this file is there, calls fail as it says: "CALL ERRNO",                      \
CALL one of write, half (a write that stops half way), sync */
