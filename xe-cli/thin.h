/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * thin.h -- xe for a client that only types, shows and carries files: the thin protocol.
 *
 * No file of this host is ever read or written for it.
 */
#pragma once

#include "xe-cli/xe.h"

/* The client, at the other end of 'fd'. */
struct thin {
    int fd;
    bool broken;       /* it has gone, or does not keep to the protocol: nothing more is said */
    struct buf line;   /* printed, but not to the end of a line yet */
    struct buf answer; /* typed, and read up to 'taken' */
    size_t taken;
};

/* The client's screen and keyboard as streams, closed with fclose. */
FILE *thin_output(struct thin *thin);
FILE *thin_errors(struct thin *thin);
FILE *thin_input(struct thin *thin);
/* The rest of what was printed, and the exit code. */
void thin_exit(struct thin *thin, int code);
void thin_release(struct thin *thin);

/* Its files; for a run whose connect_ctx is the struct thin. */
extern const struct xe_io xe_there;

/*
 * "xe --thin SOCKET [ADDRESS]": serves one client, as the daemon starts it: the request is standard
 * input, the client descriptor 3, and the daemon listens on the socket.  With an address the calls
 * are made for that client, and the socket itself gives no rights.
 */
int thin_main(const char *socket, const char *forwarded_for);
