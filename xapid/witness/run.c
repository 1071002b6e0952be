/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * run.c -- the witness at work: a member of the log that votes, has everything, and never stays
 * leader.
 *
 * Its patience is twice a host's, so that a host is elected before it.  It may be elected all the
 * same, where the host that is left lacks an entry that only the witness has: then it brings that
 * host up to date and hands over to it at once.
 */
#include "xapid/witness/witness.h"

#include <endian.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "libxapi/base/log.h"
#include "libxapi/base/memory.h"
#include "libxapi/base/seam.h"
#include "pool/ha/beat.h"
#include "pool/ha/lease.h"
#include "pool/peer/peer.h"
#include "xapid/db/db.h"
#include "xapid/db/member.h"
#include "xapid/join/witness.h"
#include "xapid/ops/faults.h"

#define ELECTION (600 * USEC_PER_MSEC)
#define BEAT_WITHIN (2 * USEC_PER_SEC)
#define HEARD_WITHIN (2 * USEC_PER_SEC)
/* Between two tries to hand over. */
#define AGAIN (50 * USEC_PER_MSEC)
/* One that was removed and does not hear it by the log. */
#define TELL_EVERY (60 * USEC_PER_SEC)
/* How long one that has left votes on, where the log does not go on without it. */
#define LET_GO_WITHIN (30 * USEC_PER_SEC)

struct witness_daemon {
    const struct witness_words *words;
    struct witness_file file;
    struct peers *peers;
    struct db *db;
    struct thread thread;
    struct mutex lock;
    struct cond changed;
    bool stopping, new_members, leads;
    bool transferring;
    struct log_change transfer;
    struct lease_ties ties;

    /* Of the thread. */
    usec_t left_since, told;
};

/*** what the log tells; both only post ***/

static void on_leader(void *ctx, uint64_t leader, uint64_t term, bool me)
{
    struct witness_daemon *w = ctx;

    (void)leader, (void)term;
    MUTEX_GUARD(&w->lock);
    w->leads = me;
    cond_signal(&w->changed);
}

static void on_members(void *ctx)
{
    struct witness_daemon *w = ctx;

    MUTEX_GUARD(&w->lock);
    w->new_members = true;
    cond_signal(&w->changed);
}

/* The members of the log; those it was told of by the pool, until it is one itself.  These first:
 * the log begins with numbers that some of them have no longer. */
static void allow(struct witness_daemon *w)
{
    AUTO(arena) arena = {0};
    struct log_member *all;
    struct peer *peers;
    size_t n_all, n = 0;
    bool member = false;

    db_members(w->db, &arena, &n_all, &all);
    peers = arena_array(&arena, struct peer, n_all + w->file.members.n + 1);
    for (size_t i = 0; i < n_all; i++)
        member |= all[i].id == w->file.id;
    for (size_t i = 0; i < w->file.members.n && !member; i++)
        peers[n++] = (struct peer){0, w->file.members.v[i]};
    for (size_t i = 0; i < n_all; i++)
        if (*all[i].address)
            peers[n++] = (struct peer){all[i].id, all[i].address};
    peers_allow(w->peers, n, peers);
}

/* Those that have renewed their certificate. */
static void learn_identities(struct witness_daemon *w)
{
    AUTO(arena) arena = {0};
    struct db_snap *snap = db_snapshot(w->db);
    const char *const *fingerprints;
    const uint64_t *ids;
    size_t n = members_renewed(snap, &arena, &ids, &fingerprints);

    if (n)
        peers_renewed(w->peers, n, ids, fingerprints);
    db_snap_unref(snap);
}

/*** leadership is handed on ***/

static void on_handed_over(struct log_change *change, const struct error *e)
{
    struct witness_daemon *w = container_of(change, struct witness_daemon, transfer);
    AUTO(arena) arena = {0};

    if (e)
        log_info("leadership was not handed over yet: %s", error_line(&arena, e));
    MUTEX_GUARD(&w->lock);
    w->transferring = false;
    cond_signal(&w->changed);
}

/* The voter that was heard last; 0: nobody is there. */
static uint64_t heir(struct witness_daemon *w)
{
    AUTO(arena) arena = {0};
    struct log_member *all;
    usec_t best = clock_mono() - HEARD_WITHIN;
    uint64_t id = 0;
    size_t n;

    db_members(w->db, &arena, &n, &all);
    for (size_t i = 0; i < n; i++) {
        usec_t heard = all[i].id == w->file.id ? 0 : peer_heard(w->peers, all[i].id);

        if (all[i].role != LOG_VOTER || heard < best)
            continue;
        best = heard;
        id = all[i].id;
    }
    return id;
}

static void hand_over(struct witness_daemon *w)
{
    AUTO(arena) arena = {0};
    uint64_t id = heir(w);
    struct error *e;

    if (!id)
        return;
    mutex_lock(&w->lock);
    w->transfer = (struct log_change){.what = LOG_TRANSFER, .id = id, .done = on_handed_over};
    w->transferring = true;
    mutex_unlock(&w->lock);
    log_info("this witness was elected: leadership goes to member %016" PRIx64, id);
    e = db_change_members(w->db, &arena, &w->transfer);
    if (e)
        on_handed_over(&w->transfer, e);
}

/*** heartbeats: the leader's majority may rest on this one ***/

struct asked {
    struct witness_daemon *witness;
    uint64_t term;
};

static void on_answer(void *ctx, enum peer_outcome outcome, const void *data, size_t size)
{
    struct asked *a = ctx;
    struct witness_daemon *w = a->witness;
    struct beat_answer answer;

    if (outcome == PEER_ANSWERED && size == sizeof answer) {
        memcpy(&answer, data, sizeof answer);
        MUTEX_GUARD(&w->lock);
        lease_ties_answered(&w->ties, a->term, (usec_t)le64toh(answer.now), clock_mono());
    }
    free(a);
}

static void beat(struct witness_daemon *w, const struct log_status *status)
{
    struct asked *a;
    struct beat beat;

    if (!status->leader || status->leader == status->id)
        return;
    mutex_lock(&w->lock);
    beat = beat_make(&w->ties, status->term, status->led_before, 0, clock_mono());
    mutex_unlock(&w->lock);
    a = xmalloc(sizeof *a);
    *a = (struct asked){w, status->term};
    peer_ask(w->peers, status->leader, PEER_HEARTBEAT, &beat, sizeof beat, BEAT_WITHIN, on_answer,
             a);
}

/*** brought up to date ***/

/* What this program understands, where the pool knows it otherwise: it was installed anew. */
static void tell_level(struct witness_daemon *w, const struct log_status *status)
{
    struct db_snap *snap = db_snapshot(w->db);
    const struct witness *row = witness_of(snap);
    bool known = !row || row->level == w->words->level;
    uint64_t level = htole64(w->words->level);

    db_snap_unref(snap);
    if (!known && status->leader && status->leader != status->id)
        peer_ask(w->peers, status->leader, PEER_WITNESS_LEVEL, &level, sizeof level, BEAT_WITHIN,
                 NULL, NULL);
}

/*** the end of a membership ***/

static bool has_left(struct witness_daemon *w)
{
    struct db_snap *snap = db_snapshot(w->db);
    const struct departed *row;
    struct db_walk walk;
    bool found = false;
    uint64_t id;

    db_walk(snap, CLASS_departed, &walk);
    while (!found && (row = db_walk_next(&walk)))
        found = member_id_of(row->member, &id) && id == w->file.id;
    db_snap_unref(snap);
    return found;
}

/* True where there is nothing more to do.  One that has left votes until the log goes on without
 * it. */
static bool look(struct witness_daemon *w, const struct log_status *status)
{
    usec_t now = clock_mono();

    if (has_left(w)) {
        w->left_since = w->left_since ? w->left_since : now;
        return status->removed || now - w->left_since > LET_GO_WITHIN;
    }
    if ((status->removed || status->failure) && now >= w->told) {
        w->told = now + TELL_EVERY;
        log_warning(
            "%s%s", status->failure ? status->failure : "the pool does not know this witness.",
            status->removed ? "  If it was removed there, \"xapi-witness leave\" ends it here"
                            : "");
    }
    return false;
}

/*** the thread ***/

static void *witness_thread(void *arg)
{
    struct witness_daemon *w = arg;
    usec_t next = 0, again = 0;

    mutex_lock(&w->lock);
    while (!w->stopping) {
        bool new_members = w->new_members, leads = w->leads && !w->transferring;
        usec_t now = clock_mono(), due = leads ? MIN(next, again) : next;
        struct log_status status;

        w->new_members = false;
        if (!new_members && now < due) {
            cond_wait_until(&w->changed, &w->lock, due);
            continue;
        }
        mutex_unlock(&w->lock);
        if (new_members)
            allow(w);
        if (leads && now >= again) {
            hand_over(w);
            again = now + AGAIN;
        }
        if (now >= next) {
            db_status(w->db, &status);
            beat(w, &status);
            learn_identities(w);
            tell_level(w, &status);
            next = now + LEASE_BEAT;
            if (look(w, &status)) {
                log_info("the pool goes on without this witness");
                kill(getpid(), SIGTERM);
                next = INT64_MAX;
            }
        }
        mutex_lock(&w->lock);
    }
    mutex_unlock(&w->lock);
    return NULL;
}

/*** life ***/

/* Of "HOST:PORT/FINGERPRINT". */
static int port_of(const char *address)
{
    const char *slash = strchr(address, '/');

    while (slash > address && slash[-1] != ':')
        slash--;
    return atoi(slash);
}

/* What this number has voted for is in its log: without it, it must not vote. */
static struct error *check_directory(struct arena *arena, struct witness_daemon *w)
{
    const char *mark = arena_printf(arena, "%s/db/raft/mark", w->words->dir);
    bool found;

    TRY(witness_file_read(arena, w->words->dir, &w->file, &found));
    if (!found || !w->file.in)
        return error_internal(arena,
                              "%s is no witness's directory: xapi-witness join HOST makes "
                              "this machine the witness of HOST's pool",
                              w->words->dir);
    if (w->file.begun && access(mark, F_OK) < 0)
        return error_internal(arena,
                              "the log of this witness is gone from %s, and with it what it has "
                              "voted for: it does not vote again.  xapi-witness leave, then join",
                              w->words->dir);
    return OK;
}

static struct error *open_all(struct arena *arena, struct witness_daemon *w)
{
    struct peers_options links = {
        .dir = w->words->dir, .listen_address = w->words->listen, .port = port_of(w->file.address)};
    struct log_raft_options raft = {
        .address = w->file.address, .id = w->file.id, .joining = true, .election = ELECTION};
    struct db_options options = {.dir = arena_printf(arena, "%s/db", w->words->dir),
                                 .raft = &raft,
                                 .level = w->words->level,
                                 .leader = on_leader,
                                 .members = on_members,
                                 .watcher = w};

    TRY(peers_open(arena, &links, &w->peers));
    raft.peers = w->peers;
    if (!strstr(w->file.address, peers_fingerprint(w->peers)))
        return error_internal(arena,
                              "%s/peer.pem is not what this witness joined with: "
                              "xapi-witness leave, then join",
                              w->words->dir);
    TRY(db_open(arena, &options, &w->db));
    if (w->file.begun)
        return OK;
    faults_in(w->words->faults, "witness_run", "opened");
    /* Before it can be a voter: that takes words with the leader, who has yet to hear of it. */
    w->file.begun = true;
    TRY(witness_file_write(arena, w->words->dir, &w->file));
    faults_in(w->words->faults, "witness_run", "begun");
    return OK;
}

static void wait_for_end(void)
{
    sigset_t set;
    int sig;

    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    while (sigwait(&set, &sig) != 0)
        ;
}

struct error *witness_run(struct arena *arena, const struct witness_words *words)
{
    struct witness_daemon w = {.words = words, .new_members = true};
    AUTO(witness_lock) lock = {0};
    struct error *e;

    TRY(witness_lock_take(arena, words->dir, 0, &lock));
    TRY(check_directory(arena, &w));
    mutex_init(&w.lock);
    lease_ties_begin(&w.ties, clock_mono());
    cond_init(&w.changed);
    e = open_all(arena, &w);
    if (!e) {
        thread_start(&w.thread, "witness", witness_thread, &w);
        log_info("the witness, member %016" PRIx64 ", is at work at %.*s", w.file.id,
                 (int)strcspn(w.file.address, "/"), w.file.address);
        wait_for_end();
        mutex_lock(&w.lock);
        w.stopping = true;
        cond_signal(&w.changed);
        mutex_unlock(&w.lock);
        thread_join(&w.thread);
    }
    if (w.db)
        db_close(w.db);
    if (w.peers)
        peers_close(w.peers);
    cond_release(&w.changed);
    mutex_release(&w.lock);
    return e;
}
