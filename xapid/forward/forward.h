/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * forward.h -- calls that another host of the pool must run.
 *
 * An operation finds out itself that it is not for this host (host_is_here), and refuses before it
 * has changed anything.  The call then goes to that host's daemon, with who made it, its task and
 * its arguments.  The other daemon waits until its database is as new as the one that the decision
 * rests on, runs the operation, and says how it ended and which revision shows it; that revision is
 * waited for here before the answer is given, so a client sees here what it did there.
 *
 * Between members (pool/peer, JSON):
 *   PEER_CALL         {"id","message","args","revision","hops","session","task"}; args is a call in
 *                     XML-RPC.  Answered at once, {} or {"error": [code, ...]}
 *   PEER_CALL_DONE    back, again until it is answered: {"id","revision"} with "error", or with
 *                     "result", an XML-RPC value
 *   PEER_CALL_STATUS  {"ids"}, every few seconds; answered with those of them that are known
 * A call is lost, and fails with CANNOT_CONTACT_HOST, where the other daemon does not know it any
 * more (it was started again, and recovery settles what the operation had begun), or was not
 * reached for half a minute.
 */
#pragma once

#include "xapid/db/db.h"

struct forward;
struct wire;

/* A call that came from another member. */
struct forward_came {
    struct call call; /* its arena is the call's own */
    const struct message_desc *message;
    void *args; /* as message->params lay out */
    struct forward *forward;
    uint64_t id, member;
};

/* With sessions, workers and peers.  'run' runs a call that came, on a worker; it ends with
 * forward_finish. */
struct forward *forward_new(struct xapid *xapid, void (*run)(struct forward_came *came));
/* Before the server and the workers end: calls that wait are answered CANNOT_CONTACT_HOST, and none
 * is taken any more. */
void forward_stop(struct forward *forward);
/* After the links were closed. */
void forward_free(struct forward *forward);

/* A call on its way; lives until 'done', as all that it points to. */
struct forward_sent {
    struct call *call;
    const struct message_desc *message;
    const void *args;
    /* Once, on a worker.  'value' is the result, in the call's arena; NULL with an error. */
    void (*done)(struct forward_sent *sent, struct error *e, const struct wire *value);
    struct forward *forward; /* the rest is forward.c's */
    struct forward_sent *next;
    uint64_t id, member;
    usec_t heard;
    bool under_way; /* the member has it, or may have it */
    bool over;
    void *answer;
};

/*
 * Sends a call whose operation has failed with 'e', where that says that it is for another host
 * (call->elsewhere) and nothing was changed.  True: it is on its way, and 'done' will be called, at
 * any time from now on.  False: it is not for another host, or cannot be sent.
 */
bool forward_send(struct forward_sent *sent, const struct error *e);

/*
 * For operations that are made of messages (an appliance's start): runs a message on this thread,
 * here or on the host that must run it, and waits for its end.  'result' is of the message's type.
 */
MUST_CHECK struct error *forward_run(struct call *call, int message, const void *args,
                                     void *result);

/* The end of a call that came; it is gone afterwards.  'value': its result in XML-RPC. */
void forward_finish(struct forward_came *came, const struct error *e, const char *value);
