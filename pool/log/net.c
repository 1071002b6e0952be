/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* net.c -- the filter between the library's consensus part and the others.  See net.h. */
#include "pool/log/net.h"

#include <inttypes.h>
#include <stdlib.h>

#include "libxapi/base/log.h"
#include "libxapi/base/memory.h"
#include "pool/log/engine.h"
#include "pool/log/snapshot.h"

#define MAX_OUT 256
#define MAX_BYTES_OUT ((size_t)64 << 20)

static struct raft_log *log_of(struct raft_io *io)
{
    return container_of(io, struct raft_log, disk.io);
}

/* Made if new, in the place of one that is not used if there are many; NULL if there are too many.
 */
static struct net_dest *dest_of(struct net *net, uint64_t id)
{
    struct net_dest *d = NULL;

    for (unsigned i = 0; i < net->n_dests; i++) {
        if (net->dests[i].id == id)
            return &net->dests[i];
        if (net->dests[i].n_out == 0)
            d = &net->dests[i];
    }
    if (net->n_dests < NET_MAX_DESTS)
        d = &net->dests[net->n_dests++];
    if (d)
        *d = (struct net_dest){.id = id};
    return d;
}

/* Sending. */

struct send {
    struct raft_io_send below;
    struct raft_io_send *above;
    struct raft_log *log;
    uint64_t id;
    size_t size;
    bool snapshot, again;
    struct raft_message message; /* if it is worth repeating */
};

static size_t message_size(const struct raft_message *m)
{
    size_t n = 256;

    if (m->type == RAFT_INSTALL_SNAPSHOT)
        n += m->install_snapshot.data.len;
    else if (m->type == RAFT_APPEND_ENTRIES)
        for (unsigned i = 0; i < m->append_entries.n_entries; i++)
            n += m->append_entries.entries[i].buf.len;
    return n;
}

/* What carries entries is sent anew by the library, and the next heartbeat is never far. */
static bool worth_repeating(const struct raft_message *m)
{
    return m->type != RAFT_APPEND_ENTRIES && m->type != RAFT_INSTALL_SNAPSHOT;
}

static const char *address_of(const struct raft_log *log, uint64_t id)
{
    const struct raft_configuration *conf = &log->raft.configuration;

    for (unsigned i = 0; i < conf->n; i++)
        if (conf->servers[i].id == id)
            return conf->servers[i].address;
    return NULL;
}

static void on_sent(struct raft_io_send *below, int status);

/*
 * The library learns that a stream is broken when it writes to it, and what it wrote is lost.
 * Followers have nothing to say to each other until their leader is gone, so this would be a vote,
 * and an election would take a second round.  True if it is on its way once more, over a new
 * stream.
 */
static bool repeat(struct send *s)
{
    struct raft_log *log = s->log;

    if (s->again || !worth_repeating(&s->message) || log->failed || log->raft_closing)
        return false;
    s->again = true;
    s->message.server_address = address_of(log, s->id);
    return s->message.server_address &&
           log->net.below.send(&log->disk.io, &s->below, &s->message, on_sent) == 0;
}

static void on_sent(struct raft_io_send *below, int status)
{
    struct send *s = below->data;
    struct raft_io_send *above = s->above;
    struct net_dest *d = dest_of(&s->log->net, s->id);

    if (status == RAFT_IOERR && repeat(s))
        return;
    d->n_out--;
    d->bytes_out -= s->size;
    if (s->snapshot)
        d->snapshot_out = false;
    free(s);
    above->cb(above, status);
}

static bool too_much(const struct net_dest *d, const struct raft_message *m)
{
    if (m->type == RAFT_INSTALL_SNAPSHOT)
        return d->snapshot_out;
    return d->n_out >= MAX_OUT || d->bytes_out > MAX_BYTES_OUT;
}

static void note_entries(struct net_dest *d, const struct raft_append_entries *args)
{
    uint64_t known = MIN(args->leader_commit, args->prev_log_index + args->n_entries);

    if (d->term != args->term) {
        d->term = args->term;
        d->told = 0;
        d->asked = 0;
    }
    d->told = MAX(d->told, known);
    if (args->n_entries == 0 && !d->asked)
        d->asked = clock_mono();
    else if (args->n_entries)
        d->asked = 0;
}

/* What the library fills in wrongly. */
static void amend(struct net *net, struct raft_message *m)
{
    if (m->type == RAFT_APPEND_ENTRIES_RESULT && net->stale) {
        m->append_entries_result.rejected = UINT64_MAX;
        m->append_entries_result.last_log_index = 0;
    }
    if (m->type == RAFT_INSTALL_SNAPSHOT && m->install_snapshot.last_index == net->got_index)
        m->install_snapshot.last_term = net->got_term;
}

/* Never returns an error, which would abort the process: a message may always be lost. */
static int net_send(struct raft_io *io, struct raft_io_send *req, const struct raft_message *m,
                    raft_io_send_cb cb)
{
    struct raft_log *log = log_of(io);
    struct net_dest *d = dest_of(&log->net, m->server_id);
    struct send *s;
    int rc;

    req->cb = cb;
    if (log->failed || log->disk.broken || log->raft_closing || !d || too_much(d, m)) {
        cb(req, RAFT_NOCONNECTION);
        return 0;
    }
    amend(&log->net, (struct raft_message *)m);
    if (m->type == RAFT_APPEND_ENTRIES)
        note_entries(d, &m->append_entries);
    s = xcalloc(1, sizeof *s);
    *s = (struct send){.above = req,
                       .log = log,
                       .id = d->id,
                       .size = message_size(m),
                       .snapshot = m->type == RAFT_INSTALL_SNAPSHOT,
                       .message = *m};
    s->below.data = s;
    d->n_out++;
    d->bytes_out += s->size;
    d->snapshot_out |= s->snapshot;
    rc = log->net.below.send(io, &s->below, m, on_sent);
    if (rc)
        on_sent(&s->below, rc);
    return 0;
}

/* A heartbeat of our own making. */
struct tell {
    struct raft_io_send req;
    struct raft_message message;
};

static void on_told(struct raft_io_send *req, int status)
{
    (void)status;
    free(container_of(req, struct tell, req));
}

/* Says that the entries up to 'index', which the member has, are committed. */
static void tell(struct raft_log *log, const struct raft_server *server, uint64_t index)
{
    uint64_t term = disk_term_of(&log->disk, index);
    struct tell *t;

    if (!term)
        return;
    t = xcalloc(1, sizeof *t);
    t->message.type = RAFT_APPEND_ENTRIES;
    t->message.server_id = server->id;
    t->message.server_address = server->address;
    t->message.append_entries.term = raft_current_term(&log->raft);
    t->message.append_entries.prev_log_index = index;
    t->message.append_entries.prev_log_term = term;
    t->message.append_entries.leader_commit = raft_commit_index(&log->raft);
    net_send(&log->disk.io, &t->req, &t->message, on_told);
}

void net_tell(struct raft_log *log)
{
    const struct raft_configuration *conf = &log->raft.configuration;
    uint64_t commit = raft_commit_index(&log->raft);

    if (log->alone || raft_state(&log->raft) != RAFT_LEADER)
        return;
    for (unsigned i = 0; i < conf->n; i++) {
        const struct raft_server *server = &conf->servers[i];
        struct net_dest *d;
        raft_index match;

        if (server->id == log->raft.id || server->role == RAFT_SPARE ||
            raft_match_index(&log->raft, server->id, &match) != 0)
            continue;
        d = dest_of(&log->net, server->id);
        match = MIN(match, commit);
        if (d && match > (d->term == raft_current_term(&log->raft) ? d->told : 0))
            tell(log, server, match);
    }
}

/* Receiving. */

static void drop(struct raft_message *m)
{
    if (m->type == RAFT_APPEND_ENTRIES && m->append_entries.n_entries) {
        raft_free(m->append_entries.entries[0].batch);
        raft_free(m->append_entries.entries);
    } else if (m->type == RAFT_INSTALL_SNAPSHOT) {
        raft_configuration_close(&m->install_snapshot.conf);
        raft_free(m->install_snapshot.data.base);
    }
}

static void drop_held(struct net *net)
{
    if (!net->have_held)
        return;
    net->have_held = false;
    drop(&net->held);
    free((char *)net->held.server_address);
}

static bool snapshot_good(struct raft_log *log, const struct raft_install_snapshot *args)
{
    const char *fault;
    const uint8_t *data;
    uint64_t index;
    size_t size;

    fault = snapshot_check(args->data.base, args->data.len, &index, &data, &size);
    if (!fault && index != args->last_index)
        fault = "it is of another entry";
    if (fault)
        log_error("%s: a snapshot that the leader sent was dropped: %s", log->dir_name, fault);
    return !fault;
}

static bool snapshot_must_wait(const struct raft_log *log)
{
    return log->raft.legacy.snapshot_taking || log->raft.snapshot.installing || log->restoring.base;
}

/* One that is to lead at once, but has entries still on their way to its disk, would not: the
 * library ignores the request, and writes stop for an election time-out. */
static bool must_wait(const struct raft_log *log, const struct raft_message *m)
{
    return m->type == RAFT_INSTALL_SNAPSHOT
               ? snapshot_must_wait(log)
               : log->raft.last_stored < raft_last_index((struct raft *)&log->raft);
}

static void hold(struct net *net, const struct raft_message *m)
{
    drop_held(net);
    net->held = *m;
    net->held.server_address = xstrdup(m->server_address);
    net->have_held = true;
}

/* The library takes some things for impossible, and aborts. */
static bool append_good(struct raft_log *log, const struct raft_append_entries *args)
{
    if (!args->prev_log_index != !args->prev_log_term)
        return false;
    for (unsigned i = 0; i < args->n_entries; i++)
        if (args->entries[i].term == 0)
            return false;
    if (args->term != raft_current_term(&log->raft) || raft_state(&log->raft) != RAFT_LEADER)
        return true;
    log_error("%s: another member claims to lead in this member's own term", log->dir_name);
    return false;
}

static bool takes_entries(const struct raft_log *log)
{
    return !log->closing_since;
}

/* A leader knows everything that is committed once an entry of its own term is. */
static void note_commit(struct raft_log *log, const struct raft_append_entries *args)
{
    uint64_t commit = args->leader_commit;

    if (log->current || log->current_from || commit == 0)
        return;
    if (disk_term_of(&log->disk, commit) == args->term)
        log->current_from = commit;
}

/* A member that was stopped hears at once, when it goes on, what was sent to it before: only this
 * tells afterwards that it was away. */
static void note_contact(struct raft_log *log, usec_t before)
{
    usec_t now = net_led_at(log);

    if (now > before + LOG_PAUSE)
        log->net.contact = now;
}

static void note_leader(struct raft_log *log, const struct raft_append_entries *args)
{
    usec_t now = clock_mono(), before = net_led_at(log);

    if (args->term < raft_current_term(&log->raft))
        return;
    if (log->net.leader_term == args->term)
        timing_gap(&log->timing, now - log->net.leader_heard);
    else
        log->net.led_before = log->net.leader_heard;
    log->net.leader_term = args->term;
    log->net.leader_heard = now;
    note_contact(log, before);
}

static void note_result(struct raft_log *log, uint64_t id)
{
    struct net_dest *d = dest_of(&log->net, id);
    usec_t before = net_led_at(log);

    if (!d)
        return;
    d->heard = clock_mono();
    if (d->asked)
        timing_round_trip(&log->timing, d->heard - d->asked);
    d->asked = 0;
    note_contact(log, before);
}

static usec_t heard_of(const struct net *net, uint64_t id)
{
    for (unsigned i = 0; i < net->n_dests; i++)
        if (net->dests[i].id == id)
            return net->dests[i].heard;
    return 0;
}

/* Since when a majority of the voters was heard, this one among them.  It is asked with each answer
 * of each member. */
static usec_t majority_heard(const struct raft_log *log)
{
    const struct raft_configuration *conf = &log->raft.configuration;
    usec_t latest[NET_MAX_DESTS + 1];
    unsigned n = 0;

    for (unsigned i = 0; i < conf->n && n < NET_MAX_DESTS + 1; i++) {
        uint64_t id = conf->servers[i].id;
        usec_t heard = id == log->raft.id ? clock_mono() : heard_of(&log->net, id);
        unsigned at = n;

        if (conf->servers[i].role != RAFT_VOTER)
            continue;
        for (n++; at > 0 && latest[at - 1] < heard; at--)
            latest[at] = latest[at - 1];
        latest[at] = heard;
    }
    return n ? latest[n / 2] : 0;
}

usec_t net_led_at(struct raft_log *log)
{
    if (log->alone)
        return clock_mono();
    if (raft_state(&log->raft) == RAFT_LEADER)
        return majority_heard(log);
    return log->net.leader_term == raft_current_term(&log->raft) ? log->net.leader_heard : 0;
}

usec_t net_led_before(const struct raft_log *log)
{
    const struct net *net = &log->net;

    return net->leader_term == raft_current_term((struct raft *)&log->raft) ? net->led_before
                                                                            : net->leader_heard;
}

/*
 * A member that has a leader refuses others its vote; the library takes a leader for lost only when
 * this member's own patience, of which each draws its own, is over.  Then an election would wait
 * for the most patient of a majority.  A leader that was silent for the shortest patience that
 * anybody may draw protects no longer: the first to lose patience may be elected.
 */
static bool leader_is_silent(const struct raft_log *log)
{
    const struct net *net = &log->net;

    return raft_state((struct raft *)&log->raft) == RAFT_FOLLOWER &&
           clock_mono() - net->leader_heard > (usec_t)log->timing.election * USEC_PER_MSEC;
}

/* True if the library may see it; else it is dropped or held. */
static bool admit(struct raft_log *log, struct raft_message *m)
{
    bool good = true;

    switch (m->type) {
    case RAFT_APPEND_ENTRIES:
        good = append_good(log, &m->append_entries) &&
               (takes_entries(log) || m->append_entries.n_entries == 0);
        if (good) {
            note_leader(log, &m->append_entries);
            if (m->append_entries.term == raft_current_term(&log->raft))
                note_commit(log, &m->append_entries);
        }
        break;
    case RAFT_APPEND_ENTRIES_RESULT:
        note_result(log, m->server_id);
        break;
    case RAFT_REQUEST_VOTE:
        m->request_vote.disrupt_leader |= leader_is_silent(log);
        break;
    case RAFT_REQUEST_VOTE_RESULT:
        good = raft_state(&log->raft) == RAFT_CANDIDATE;
        break;
    case RAFT_INSTALL_SNAPSHOT:
        good = takes_entries(log) && snapshot_good(log, &m->install_snapshot);
        if (good && must_wait(log, m)) {
            hold(&log->net, m);
            return false;
        }
        break;
    case RAFT_TIMEOUT_NOW:
        if (must_wait(log, m)) {
            hold(&log->net, m);
            return false;
        }
        break;
    default:
        break;
    }
    if (!good)
        drop(m);
    return good;
}

static bool is_stale(const struct raft_log *log, const struct raft_message *m)
{
    uint64_t term = raft_current_term(&log->raft);

    return (m->type == RAFT_APPEND_ENTRIES && m->append_entries.term < term) ||
           (m->type == RAFT_INSTALL_SNAPSHOT && m->install_snapshot.term < term);
}

static void pass_on(struct raft_log *log, struct raft_message *m)
{
    log->net.stale = is_stale(log, m);
    log->net.recv(&log->disk.io, m);
    log->net.stale = false;
}

static void net_recv(struct raft_io *io, struct raft_message *m)
{
    struct raft_log *log = log_of(io);

    if (log->failed || log->raft_closing) {
        drop(m);
        return;
    }
    if (admit(log, m))
        pass_on(log, m);
}

void net_turn(struct raft_log *log)
{
    struct raft_message m = log->net.held;

    if (!log->net.have_held || must_wait(log, &m))
        return;
    log->net.have_held = false;
    if (log->closing_since)
        drop(&m);
    else
        pass_on(log, &m);
    free((char *)m.server_address);
}

/* Reading a snapshot to send it. */

struct net_get {
    struct raft_io_snapshot_get below;
    struct raft_io_snapshot_get *above;
    struct raft_log *log;
    struct net_get *next;
};

static void on_got(struct raft_io_snapshot_get *below, struct raft_snapshot *snapshot, int status)
{
    struct net_get *get = below->data;
    struct net *net = &get->log->net;
    struct raft_io_snapshot_get *above = get->above;

    if (status) {
        if (!net->failed_gets)
            log_warning("%s: a snapshot could not be read to be sent and will be tried again: %s",
                        get->log->dir_name, raft_strerror(status));
        get->next = net->failed_gets;
        net->failed_gets = get;
        return;
    }
    free(get);
    net->got_index = snapshot->index;
    net->got_term = snapshot->term;
    above->cb(above, snapshot, 0);
}

static void start_get(struct net_get *get)
{
    struct raft_log *log = get->log;
    int rc = log->net.below.snapshot_get(&log->disk.io, &get->below, on_got);

    if (rc)
        on_got(&get->below, NULL, rc);
}

static int net_snapshot_get(struct raft_io *io, struct raft_io_snapshot_get *req,
                            raft_io_snapshot_get_cb cb)
{
    struct net_get *get = xcalloc(1, sizeof *get);

    req->cb = cb;
    get->log = log_of(io);
    get->above = req;
    get->below.data = get;
    start_get(get);
    return 0;
}

void net_check(struct raft_log *log)
{
    struct net_get *list = log->net.failed_gets;

    log->net.failed_gets = NULL;
    while (list) {
        struct net_get *next = list->next;

        start_get(list);
        list = next;
    }
}

/* The library's own clock is not used: see timing.c. */
static int net_start(struct raft_io *io, unsigned msecs, raft_io_tick_cb tick, raft_io_recv_cb recv)
{
    struct raft_log *log = log_of(io);

    (void)msecs;
    log->net.tick = tick;
    log->net.recv = recv;
    return log->net.below.start(io, 24 * 3600 * 1000, tick, net_recv);
}

void net_init(struct raft_log *log)
{
    log->net.below = log->disk.io;
    log->disk.io.start = net_start;
    log->disk.io.send = net_send;
    log->disk.io.snapshot_get = net_snapshot_get;
}

void net_end(struct raft_log *log)
{
    drop_held(&log->net);
    while (log->net.failed_gets) {
        struct net_get *next = log->net.failed_gets->next;

        free(log->net.failed_gets);
        log->net.failed_gets = next;
    }
}
