/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* witness.h -- the parts of xapi-witness. */
#pragma once

#include "libxapi/base/arena.h"
#include "libxapi/value/type.h"

struct faults;

/* What a witness knows of itself: <dir>/witness, written before each step that rests on it. */
struct witness_file {
    bool in;    /* the pool has said that it is its witness; else it was asked, perhaps */
    bool begun; /* its log has been there: without it this number never votes again */
    uint64_t id;
    const char *name;        /* of this machine */
    const char *address;     /* of pool/peer: where the hosts reach it */
    const char *pool;        /* the host that was asked, */
    int port;                /* its port, */
    const char *fingerprint; /* and its certificate */
    struct strings members;  /* addresses of pool/peer */
};

/* *found is false where there is none. */
MUST_CHECK struct error *witness_file_read(struct arena *arena, const char *dir,
                                           struct witness_file *out, bool *found);
/* Durable when it returns. */
MUST_CHECK struct error *witness_file_write(struct arena *arena, const char *dir,
                                            const struct witness_file *file);
/* The end of this witness: its log is kept as <dir>/db.of-ID, its identity goes, then the file. */
MUST_CHECK struct error *witness_forget(struct arena *arena, const char *dir,
                                        const struct witness_file *file, struct faults *faults);

/* The directory, made if absent, for one process at a time; given back with the guard. */
struct witness_lock {
    int fd; /* 0: not held */
};
MUST_CHECK struct error *witness_lock_take(struct arena *arena, const char *dir, usec_t within,
                                           struct witness_lock *out);
void witness_lock_release(struct witness_lock *lock);

/* What the command line says: above all whom the administrator is, and where the pool. */
struct witness_words {
    const char *dir;
    const char *pool; /* "HOST", "HOST:PORT"; NULL: the one that was asked before */
    const char *user, *password;
    const char *fingerprint; /* the pool's certificate must have; NULL: any */
    const char *address;     /* "HOST[:PORT]" where the hosts reach this machine; NULL: as the pool
                                is reached from here, port 7400 */
    const char *listen;      /* the local address to listen at; NULL: all */
    unsigned level;          /* of the database, that it understands (xapid/db/level.h) */
    struct faults *faults;   /* of tests; else NULL */
};

MUST_CHECK struct error *witness_join(struct arena *arena, const struct witness_words *words);
MUST_CHECK struct error *witness_leave(struct arena *arena, const struct witness_words *words);
MUST_CHECK struct error *witness_drop(struct arena *arena, const struct witness_words *words);

/* The daemon: returns when it was asked to end (SIGTERM, SIGINT, blocked by the caller), or when
 * its pool has removed it. */
MUST_CHECK struct error *witness_run(struct arena *arena, const struct witness_words *words);
