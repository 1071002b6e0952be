/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* members.c -- who belongs to the log and who leads it: changes, and what is told of them. */
#include "pool/log/engine.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "libxapi/base/log.h"
#include "libxapi/base/memory.h"

#define HAND_OVER_EVERY (5 * USEC_PER_SEC)
#define SLOW_LEADER (USEC_PER_SEC)    /* an append that takes longer ends a leadership */
#define LEADERLESS (3 * USEC_PER_SEC) /* without a word from its leader a standby has none */
#define TRANSFER_TRIES (3 * USEC_PER_SEC)
#define CATCH_UP_MSEC 30000

static const struct raft_server *find(const struct raft_configuration *conf, uint64_t id)
{
    for (unsigned i = 0; i < conf->n; i++)
        if (conf->servers[i].id == id)
            return &conf->servers[i];
    return NULL;
}

static const struct raft_server *server_of(const struct raft_log *log, uint64_t id)
{
    return find(&log->raft.configuration, id);
}

unsigned members_other_voters(const struct raft_log *log)
{
    const struct raft_configuration *conf = &log->raft.configuration;
    unsigned n = 0;

    for (unsigned i = 0; i < conf->n; i++)
        n += conf->servers[i].id != log->raft.id && conf->servers[i].role == RAFT_VOTER;
    return n;
}

/* The list. */

static void free_members(struct log_member *members, size_t n)
{
    for (size_t i = 0; i < n; i++)
        free((char *)members[i].address);
    free(members);
}

/* A member that was always alone has something else for an address. */
static const char *address_of(const struct raft_server *server)
{
    return peer_address_ok(server->address) ? server->address : "";
}

static void copy_members(struct raft_log *log)
{
    const struct raft_configuration *conf = &log->raft.configuration;
    struct log_member *list = xcalloc(conf->n + 1, sizeof *list), *old;
    size_t n_old;

    for (unsigned i = 0; i < conf->n; i++)
        list[i] = (struct log_member){.id = conf->servers[i].id,
                                      .role = (enum log_role)conf->servers[i].role,
                                      .address = xstrdup(address_of(&conf->servers[i]))};
    mutex_lock(&log->lock);
    old = log->members;
    n_old = log->n_members;
    log->members = list;
    log->n_members = conf->n;
    mutex_unlock(&log->lock);
    free_members(old, n_old);
}

/* Also those who are to be removed, until that is committed: a leader does it to itself. */
static void allow_members(struct raft_log *log)
{
    const struct raft_configuration *conf = &log->raft.configuration,
                                    *old = &log->raft.configuration_committed;
    struct peer *list;
    size_t n = 0;

    if (!log->opt.peers || conf->n == 0)
        return;
    list = xcalloc(conf->n + old->n, sizeof *list);
    for (unsigned i = 0; i < conf->n; i++)
        list[n++] = (struct peer){conf->servers[i].id, conf->servers[i].address};
    for (unsigned i = 0; i < old->n; i++)
        if (!find(conf, old->servers[i].id))
            list[n++] = (struct peer){old->servers[i].id, old->servers[i].address};
    peers_allow(log->opt.peers, n, list);
    free(list);
}

static void look_at_members(struct raft_log *log)
{
    const struct raft *raft = &log->raft;

    if (raft->configuration_committed_index == log->members_committed &&
        raft->configuration_uncommitted_index == log->members_uncommitted)
        return;
    log->members_committed = raft->configuration_committed_index;
    log->members_uncommitted = raft->configuration_uncommitted_index;
    log->alone = raft->configuration.n == 1 && server_of(log, raft->id);
    log->removed = raft->configuration.n > 0 && !server_of(log, raft->id);
    copy_members(log);
    allow_members(log);
    if (log->running && log->fsm.members)
        log->fsm.members(log->fsm.ctx);
}

void members_list(struct log *base, struct arena *arena, size_t *n, struct log_member **out)
{
    struct raft_log *log = container_of(base, struct raft_log, base);

    MUTEX_GUARD(&log->lock);
    *n = log->n_members;
    *out = arena_array(arena, struct log_member, log->n_members + 1);
    for (size_t i = 0; i < log->n_members; i++) {
        (*out)[i] = log->members[i];
        (*out)[i].address = arena_strdup(arena, log->members[i].address);
    }
}

/* The leader. */

static void on_barrier(struct raft_barrier *req, int status)
{
    (void)req, (void)status;
}

/* The library begins a term with an entry of its own only where it has to; the others want one
 * always, to know that they are current. */
static void begin_term(struct raft_log *log)
{
    log->lead_term = raft_current_term(&log->raft);
    if (!log->alone && disk_term_of(&log->disk, raft_last_index(&log->raft)) != log->lead_term) {
        memset(&log->barrier_req, 0, sizeof log->barrier_req);
        raft_barrier(&log->raft, &log->barrier_req, on_barrier);
    }
    log->lead_from = raft_last_index(&log->raft);
}

uint64_t members_leader(const struct raft_log *log)
{
    const struct raft_server *own = server_of(log, log->raft.id);
    const char *address;
    raft_id leader;

    raft_leader((struct raft *)&log->raft, &leader, &address);
    if (own && own->role != RAFT_VOTER &&
        clock_mono() > net_led_at((struct raft_log *)log) + LEADERLESS)
        return 0;
    return leader;
}

/* A leader knows what was committed before once something of its own term is. */
static bool leads(struct raft_log *log)
{
    if (raft_state(&log->raft) != RAFT_LEADER)
        return false;
    if (log->lead_term != raft_current_term(&log->raft))
        begin_term(log);
    return apply_last(log) >= log->lead_from;
}

static void look_at_leader(struct raft_log *log)
{
    struct place now = {.term = raft_current_term(&log->raft), .leads = leads(log)};

    now.leader = members_leader(log);
    log->current |= now.leads || (log->current_from && apply_last(log) >= log->current_from);
    if (now.leader == log->place.leader && now.term == log->place.term &&
        now.leads == log->place.leads)
        return;
    if (now.leader != log->place.leader || now.term != log->place.term)
        forward_leader_changed(log);
    log->place = now;
    log->forward_at = 0;
    engine_update_status(log);
    if (log->fsm.leader)
        log->fsm.leader(log->fsm.ctx, now.leader, now.term, now.leads);
}

static void on_transferred(struct raft_transfer *req)
{
    struct raft_log *log = container_of(req, struct raft_log, transfer_req);

    log->transferring = false;
}

static int start_transfer(struct raft_log *log, uint64_t id)
{
    int rc;

    memset(&log->transfer_req, 0, sizeof log->transfer_req);
    rc = raft_transfer(&log->raft, &log->transfer_req, id, on_transferred);
    log->transferring = rc == 0;
    return rc;
}

bool members_hand_over(struct raft_log *log)
{
    return !log->transferring && engine_can_submit(log) && members_other_voters(log) &&
           start_transfer(log, 0) == 0;
}

/* A leader whose own disk does not answer holds up all the others. */
static void look_at_disk(struct raft_log *log)
{
    usec_t now = clock_mono();

    if (log->alone || disk_waits(&log->disk) < MAX(SLOW_LEADER, 3 * log->timing.election * 1000) ||
        now - log->transfer_at < HAND_OVER_EVERY)
        return;
    log->transfer_at = now;
    if (members_hand_over(log))
        log_warning("%s: leadership is handed over, since this host's disk does not answer",
                    log->dir_name);
}

/* A member that was removed while it was away hears from nobody but this: it is a stranger. */
static bool refused_by_most(struct raft_log *log)
{
    const struct raft_configuration *conf = &log->raft.configuration;
    unsigned refuse = 0, voters = 0;

    for (unsigned i = 0; i < conf->n; i++)
        if (conf->servers[i].id != log->raft.id && conf->servers[i].role == RAFT_VOTER) {
            voters++;
            refuse += peer_refuses(log->opt.peers, conf->servers[i].id);
        }
    return voters > 0 && refuse > voters / 2;
}

void members_check(struct raft_log *log)
{
    const struct raft_configuration *conf = &log->raft.configuration;

    if (log->opt.peers && conf->n > 0)
        log->removed =
            !server_of(log, log->raft.id) || (!members_leader(log) && refused_by_most(log));
}

/* Changes. */

static void change_end(struct raft_log *log, const char *why)
{
    struct log_change *change = log->change;
    struct arena arena = {0};

    log->change = NULL;
    change->done(change, why ? error_internal(&arena, "%s", why) : OK);
    arena_release(&arena);
}

static void on_changed(struct raft_change *req, int status)
{
    struct raft_log *log = container_of(req, struct raft_log, change_req);

    raft_set_capacity_threshold(&log->raft, log->change_capacity);
    if (log->change)
        change_end(log, status ? raft_strerror(status) : NULL);
}

/* True once it has ended the change.  The library tries for one election time-out, in which a
 * member that is a little behind, or has a slow disk, does not come along. */
static bool is_transfer_over(struct raft_log *log)
{
    usec_t now = clock_mono();
    const char *address;
    raft_id leader;

    if (log->transferring && now - log->change_since < log->opt.answer_within)
        return false;
    raft_leader(&log->raft, &leader, &address);
    if (log->change->id ? leader == log->change->id : leader && leader != log->raft.id)
        change_end(log, NULL);
    else if (leader == log->raft.id && now - log->change_since < TRANSFER_TRIES &&
             start_transfer(log, log->change->id) == 0)
        return false;
    else
        change_end(log, "The other member did not take the leadership over in time.");
    return true;
}

/* A log that was founded by a host without a pool has no address for it yet. */
static const char *give_own_address(struct raft_log *log)
{
    struct raft_server *own = (struct raft_server *)server_of(log, log->raft.id);
    size_t size;
    char *copy;

    if (!own || peer_address_ok(own->address))
        return NULL;
    if (!log->opt.peers || !log->opt.address || !peer_address_ok(log->opt.address) || !log->alone)
        return "This host has no pool address.";
    size = strlen(log->opt.address) + 1;
    copy = raft_malloc(size);
    if (!copy)
        abort();
    memcpy(copy, log->opt.address, size);
    raft_free(own->address);
    own->address = copy;
    return NULL;
}

/* What speaks against it, NULL if nothing does; *done if it is so already. */
static const char *change_fault(struct raft_log *log, const struct log_change *c, bool *done)
{
    const struct raft_server *server = c->id ? server_of(log, c->id) : NULL;
    bool last_voter = server && server->role == RAFT_VOTER && server->id == log->raft.id &&
                      members_other_voters(log) == 0;

    *done = false;
    switch (c->what) {
    case LOG_ADD:
        if (c->id == 0 || !c->address || !peer_address_ok(c->address))
            return "The member's id or address is not valid.";
        *done = server && strcmp(server->address, c->address) == 0;
        if (server && !*done)
            return "There is a member with this id at another address.";
        if (log->raft.configuration.n >= LOG_MAX_MEMBERS)
            return "There are as many members as there may be.";
        return *done ? NULL : give_own_address(log);
    case LOG_ASSIGN:
        if (!server)
            return "There is no member with this id.";
        *done = server->role == (int)c->role;
        return last_voter && !*done ? "It is the only voter." : NULL;
    case LOG_REMOVE:
        *done = !server;
        return last_voter ? "It is the only voter." : NULL;
    case LOG_TRANSFER:
        *done = c->id == log->raft.id;
        if (c->id && (!server || server->role != RAFT_VOTER))
            return "There is no voter with this id.";
        return !*done && members_other_voters(log) == 0 ? "There is no other voter." : NULL;
    }
    return "Unknown change.";
}

/* The library aborts on what it does not expect; so it is only asked when it can. */
static bool library_can_change(const struct raft_log *log)
{
    return !log->raft.legacy.change && log->raft.configuration_uncommitted_index == 0 &&
           log->raft.leader_state.promotee_id == 0 && !log->transferring;
}

static int start_change(struct raft_log *log, const struct log_change *c)
{
    struct raft *raft = &log->raft;
    int rc;

    memset(&log->change_req, 0, sizeof log->change_req);
    switch (c->what) {
    case LOG_ADD:
        return raft_add(raft, &log->change_req, c->id, c->address, on_changed);
    case LOG_REMOVE:
        return raft_remove(raft, &log->change_req, c->id, on_changed);
    case LOG_TRANSFER:
        return start_transfer(log, c->id);
    case LOG_ASSIGN:
        /* A full disk at the end of the catching up would abort the process. */
        raft_set_capacity_threshold(raft, 0);
        rc = raft_assign(raft, &log->change_req, c->id, (int)c->role, on_changed);
        if (rc) {
            raft_set_capacity_threshold(raft, log->change_capacity);
            raft->legacy.change = NULL; /* the library forgets to */
        }
        return rc;
    }
    return RAFT_INVALID;
}

static struct log_change *next_change(struct raft_log *log)
{
    struct log_change *change;

    MUTEX_GUARD(&log->lock);
    change = log->changes;
    if (!change)
        return NULL;
    log->changes = change->next;
    if (!log->changes)
        log->last_change = &log->changes;
    return change;
}

/* Begins the change, or ends it at once, or leaves it for a later turn. */
static void try_change(struct raft_log *log)
{
    const char *fault;
    bool done;
    int rc;

    if (raft_state(&log->raft) != RAFT_LEADER) {
        change_end(log, "This host does not lead the write log.");
        return;
    }
    if (!log->place.leads || !library_can_change(log)) {
        if (clock_mono() - log->change_since > log->opt.answer_within)
            change_end(log, "Another change of the members is under way.");
        else
            engine_turn_again(log, 10 * USEC_PER_MSEC);
        return;
    }
    fault = change_fault(log, log->change, &done);
    if (fault || done) {
        change_end(log, fault);
        return;
    }
    log->change_begun = true;
    rc = start_change(log, log->change);
    if (rc)
        change_end(log, raft_strerror(rc));
}

static void do_changes(struct raft_log *log)
{
    for (;;) {
        if (!log->change) {
            log->change = next_change(log);
            log->change_begun = false;
            log->change_since = clock_mono();
        }
        if (!log->change)
            return;
        if (!log->change_begun)
            try_change(log);
        else if (log->change->what != LOG_TRANSFER || !is_transfer_over(log))
            return;
        if (log->change && !log->change_begun)
            return;
    }
}

void members_change(struct log *base, struct log_change *change)
{
    struct raft_log *log = container_of(base, struct raft_log, base);

    change->next = NULL;
    MUTEX_GUARD(&log->lock);
    *log->last_change = change;
    log->last_change = &change->next;
    if (log->no_loop)
        cond_broadcast(&log->changed);
    else
        uv_async_send(&log->wake);
}

/* All together. */

void members_init(struct raft_log *log)
{
    log->members_committed = UINT64_MAX;
    log->change_capacity = log->raft.capacity_threshold;
    raft_set_max_catch_up_round_duration(&log->raft, CATCH_UP_MSEC);
}

void members_turn(struct raft_log *log)
{
    look_at_members(log);
    look_at_leader(log);
    look_at_disk(log);
    do_changes(log);
    look_at_members(log);
}

void members_end(struct raft_log *log, const char *why)
{
    if (log->change)
        change_end(log, why);
    while ((log->change = next_change(log)) != NULL)
        change_end(log, why);
}
