/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * qmp.h -- within storage-repos/datapath: talking to a qemu-storage-daemon.
 *
 * One conversation: connect, some commands one after the other, close.  Every step has a deadline
 * and every answer a limit, for the other side may hang.  What it says is JSON that is checked and
 * then read with jansson; nothing in it is trusted to have the form that was asked for.
 */
#pragma once

#include <jansson.h>

#include "libxapi/base/buf.h"
#include "storage-repos/common/sr_error.h"

struct call;

/* A conversation; zero is none. */
struct qmp {
    int fd;
    struct buf in;   /* what came and was not taken yet */
    const char *who; /* the socket's path, for errors; the arena's */
};

/* What a line of the server is.  Others are not for us and are skipped. */
enum qmp_kind { QMP_OTHER, QMP_GREETING, QMP_RETURN, QMP_ERROR, QMP_BROKEN };

/*
 * Judges one line without its end.  '*out' is what it carries, for the caller to json_decref: the
 * value of QMP_RETURN, or the object of QMP_ERROR; NULL for the rest.
 */
enum qmp_kind qmp_judge(const char *line, size_t n, json_t **out);

/* Connects and greets.  *refused (may be NULL): nobody listens there, so its server is dead. */
MUST_CHECK struct error *qmp_open(struct call *call, const char *path, usec_t timeout,
                                  struct qmp *out, bool *refused);
void qmp_release(struct qmp *qmp);
/*
 * One command.  Takes 'args' (NULL: none) from the caller.  *answer (may be NULL) is for the caller
 * to json_decref.  A command that was not answered in time may still be carried out.
 */
MUST_CHECK struct error *qmp_command(struct call *call, struct qmp *qmp, const char *command,
                                     json_t *args, usec_t timeout, json_t **answer);
