/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xapid/main/members.h"

#include <endian.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "libxapi/base/log.h"
#include "libxapi/base/memory.h"
#include "libxapi/base/seam.h"
#include "libxapi/value/value.h"
#include "pool/peer/stream.h"
#include "xapid/db/db.h"
#include "xapid/db/member.h"
#include "xapid/join/leave.h"
#include "xapid/join/witness.h"
#include "xapid/boot/facts.h"
#include "xapid/main/xapid.h"
#include "xapid/ops/message.h"
#include "xapid/ops/migrate/migrate.h"
#include "xapid/ops/storage/far_disk.h"
#include "xapid/stream/relay.h"
#include "xapid/worker/workers.h"

#define TICK USEC_PER_SEC
#define PINGS 4
#define DIGEST_WITHIN (5 * USEC_PER_SEC)
#define TOLD_WITHIN (3 * USEC_PER_SEC)
#define MAX_TRUSTED 64
/* Characters of why a database has stopped. */
#define STOPPED_MAX 1000

/* A member's answer to a digest. */
enum verdict {
    VERDICT_EQUAL, /* or never to be compared: another schema */
    VERDICT_DIFFERS,
    VERDICT_LATER, /* not known here yet, or no more: with another revision */
};

struct members {
    struct xapid *xapid;
    char *place;   /* of this member, "HOST:PORT"; "" without links */
    char *address; /* the same with the fingerprint it had at its start, for the log */
    struct log_raft_options options;
    struct mutex lock;
    struct cond changed;
    struct thread thread;
    bool stopping, new_members;
    size_t n_trusted; /* those that may be talked to before the log says who is a member */
    char *trusted[MAX_TRUSTED];
    bool asked;    /* a digest was sent and not answered yet */
    uint64_t told; /* the revision of the digest that 'told_to' found equal */
    uint64_t told_to;
    bool differs;    /* one did not find it so */
    bool stop_known; /* the leader has been told why this member's database has stopped */
};

/*** ids and addresses ***/

/* "HOST:PORT" with the port that was bound. */
static struct error *split_address(struct arena *arena, const char *text, const char **host,
                                   int *port)
{
    const char *colon = strrchr(text, ':');
    char *end;
    long n;

    if (!colon || colon == text || !colon[1])
        return error_new(arena, "INVALID_VALUE", 2, "pool-address", text);
    n = strtol(colon + 1, &end, 10);
    if (*end || n < 0 || n > 65535)
        return error_new(arena, "INVALID_VALUE", 2, "pool-address", text);
    *host = arena_strndup(arena, text, (size_t)(colon - text));
    *port = (int)n;
    return OK;
}

/*** whom this member talks to ***/

static uint64_t witness_id(struct members *m)
{
    struct db_snap *snap = db_snapshot(m->xapid->db);
    const struct witness *row = witness_of(snap);
    uint64_t id = 0;

    if (row && !member_id_of(row->member, &id))
        id = 0;
    db_snap_unref(snap);
    return id;
}

void members_others(struct members *m, struct arena *arena, size_t *n, uint64_t **ids)
{
    uint64_t witness = witness_id(m);
    struct log_status status;
    struct log_member *all;
    size_t n_all;

    db_members(m->xapid->db, arena, &n_all, &all);
    db_status(m->xapid->db, &status);
    *ids = arena_array(arena, uint64_t, n_all + 1);
    *n = 0;
    for (size_t i = 0; i < n_all; i++)
        if (all[i].id != status.id && all[i].id != witness)
            (*ids)[(*n)++] = all[i].id;
}

/* The members of the log, and those this one was told to trust until it is a member itself.  These
 * first: the log begins with numbers that some of them have no longer. */
static void allow(struct members *m)
{
    AUTO(arena) arena = {0};
    struct log_member *all;
    struct log_status status;
    struct peer *peers;
    size_t n_all, n = 0;
    bool member = false;

    db_members(m->xapid->db, &arena, &n_all, &all);
    db_status(m->xapid->db, &status);
    peers = arena_array(&arena, struct peer, n_all + MAX_TRUSTED);
    for (size_t i = 0; i < n_all; i++)
        member |= all[i].id == status.id;
    mutex_lock(&m->lock);
    for (size_t i = 0; i < m->n_trusted && !member; i++)
        peers[n++] = (struct peer){0, arena_strdup(&arena, m->trusted[i])};
    mutex_unlock(&m->lock);
    for (size_t i = 0; i < n_all; i++)
        if (*all[i].address)
            peers[n++] = (struct peer){all[i].id, all[i].address};
    peers_allow(m->xapid->peers, n, peers);
}

/* Of members that have renewed theirs. */
static void learn_identities(struct members *m)
{
    AUTO(arena) arena = {0};
    struct db_snap *snap = db_snapshot(m->xapid->db);
    const char *const *fingerprints;
    const uint64_t *ids;
    size_t n = members_renewed(snap, &arena, &ids, &fingerprints);

    if (n)
        peers_renewed(m->xapid->peers, n, ids, fingerprints);
    db_snap_unref(snap);
}

static bool is_fingerprint(const char *text)
{
    return strlen(text) == PEER_FINGERPRINT_SIZE - 1 &&
           strspn(text, "0123456789abcdefABCDEF") == PEER_FINGERPRINT_SIZE - 1;
}

static struct error *trust(struct members *m, struct arena *arena, const char *address)
{
    if (!peer_address_ok(address) && !is_fingerprint(address))
        return error_new(arena, "INVALID_VALUE", 2, "address", address);
    MUTEX_GUARD(&m->lock);
    if (m->n_trusted == MAX_TRUSTED)
        return error_internal(arena, "more members than that cannot be trusted in advance");
    m->trusted[m->n_trusted++] = xstrdup(address);
    m->new_members = true;
    cond_signal(&m->changed);
    return OK;
}

void members_changed(void *ctx)
{
    struct members *m = ctx;

    MUTEX_GUARD(&m->lock);
    m->new_members = true;
    cond_signal(&m->changed);
}

/*** members whose database has stopped ***/

struct trouble {
    struct xapid *xapid;
    uint64_t member;
    char *text; /* what administrators are told */
};

/* On a worker of the leader. */
static void report_trouble(void *arg)
{
    struct trouble *t = arg;
    AUTO(arena) arena = {0};
    const char *member = member_id_text(&arena, t->member);
    const struct host_state *state;
    const struct host *host = NULL;
    struct db_walk walk;
    struct call call;

    call_init_internal(&call, t->xapid, &arena);
    db_walk(call.snap, CLASS_host_state, &walk);
    while ((state = db_walk_next(&walk)))
        if (strcmp(state->member, member) == 0)
            host = db_find(&call, CLASS_host, state->host);
    log_error("member %s (%s): %s", member, host ? host->name_label : "a host without a record",
              t->text);
    if (host)
        alert_create(&call, "HOST_SYNC_DATA_FAILED", CLS_HOST, host->uuid, t->text);
    call_release(&call);
    free(t->text);
    free(t);
}

/* Takes over the text. */
static void report(struct members *m, uint64_t member, char *text)
{
    struct trouble *t = xmalloc(sizeof *t);

    *t = (struct trouble){m->xapid, member, text};
    if (workers_run(m->xapid->workers, report_trouble, t))
        return;
    log_error("%s", text);
    free(text);
    free(t);
}

static void serve_stopped(void *ctx, struct peer_request *request)
{
    struct members *m = ctx;
    bool mine = db_leads(m->xapid->db);

    if (mine)
        report(m, request->from,
               xasprintf("The database of this host has stopped: %.*s",
                         (int)MIN(request->size, (size_t)STOPPED_MAX),
                         (const char *)request->data));
    peer_answer(request, mine ? "1" : "0", 1);
}

static void stopped_answered(void *ctx, enum peer_outcome outcome, const void *data, size_t size)
{
    struct members *m = ctx;

    MUTEX_GUARD(&m->lock);
    m->stop_known |= outcome == PEER_ANSWERED && size == 1 && *(const char *)data == '1';
    cond_signal(&m->changed);
}

/* Who leads it does not hear any more: it asks all. */
static void tell_stopped(struct members *m)
{
    AUTO(arena) arena = {0};
    struct error *e = db_failure(m->xapid->db, &arena);
    const char *why = e ? e->params[0] : "";
    uint64_t *ids;
    size_t n;
    bool known;

    mutex_lock(&m->lock);
    known = m->stop_known;
    mutex_unlock(&m->lock);
    if (!e || known)
        return;
    members_others(m, &arena, &n, &ids);
    for (size_t i = 0; i < n; i++)
        peer_ask(m->xapid->peers, ids[i], PEER_STOPPED, why, strlen(why), TICK, stopped_answered,
                 m);
}

/*** digests ***/

struct report {
    uint64_t revision, digest[2], schema;
};

static void digest_answered(void *ctx, enum peer_outcome outcome, const void *data, size_t size)
{
    struct members *m = ctx;
    char verdict = VERDICT_LATER;

    MUTEX_GUARD(&m->lock);
    m->asked = false;
    if (outcome == PEER_ANSWERED && size == 1)
        memcpy(&verdict, data, 1);
    if (verdict == VERDICT_LATER)
        m->told = 0;
    if (verdict != VERDICT_DIFFERS)
        return;
    m->differs = true;
    cond_signal(&m->changed);
}

static void tell_digest(struct members *m)
{
    struct log_status status;
    struct db_snap *snap;
    struct report r;
    bool needed;

    db_status(m->xapid->db, &status);
    if (!status.leader || status.leader == status.id)
        return;
    snap = db_snapshot(m->xapid->db);
    r = (struct report){htole64(snap_root(snap)->revision),
                        {htole64(snap_root(snap)->digest[0]), htole64(snap_root(snap)->digest[1])},
                        htole64(api_schema_hash)};
    mutex_lock(&m->lock);
    needed = !m->asked && !m->differs && snap_root(snap)->revision &&
             (m->told != snap_root(snap)->revision || m->told_to != status.leader);
    if (needed) {
        m->asked = true;
        m->told = snap_root(snap)->revision;
        m->told_to = status.leader;
    }
    mutex_unlock(&m->lock);
    db_snap_unref(snap);
    if (needed)
        peer_ask(m->xapid->peers, status.leader, PEER_DIGEST, &r, sizeof r, DIGEST_WITHIN,
                 digest_answered, m);
}

static enum verdict judge(struct members *m, const struct peer_request *request)
{
    struct report r;
    uint64_t mine[2];

    if (request->size != sizeof r)
        return VERDICT_EQUAL; /* of a version that says it otherwise */
    memcpy(&r, request->data, sizeof r);
    if (le64toh(r.schema) != api_schema_hash)
        return VERDICT_EQUAL;
    if (!db_leads(m->xapid->db) || !db_digest_at(m->xapid->db, le64toh(r.revision), mine))
        return VERDICT_LATER;
    if (le64toh(r.digest[0]) == mine[0] && le64toh(r.digest[1]) == mine[1])
        return VERDICT_EQUAL;
    report(m, request->from,
           xasprintf("The database of this host differs from the coordinator's at revision %" PRIu64
                     ". The host has stopped using it.",
                     le64toh(r.revision)));
    return VERDICT_DIFFERS;
}

static void serve_digest(void *ctx, struct peer_request *request)
{
    char verdict = (char)judge(ctx, request);

    peer_answer(request, &verdict, 1);
}

/*** the thread ***/

static void stop_database(struct members *m)
{
    db_fail(m->xapid->db,
            "its content differs from that of the pool's coordinator.  Keep a copy of the state "
            "directory, remove this member from the pool, and let it join again with an empty one");
}

/* Makes links that are not there, so that it is known who can be reached; those that are there keep
 * themselves alive.  A few at a time: where many were lost because a machine has too much to do,
 * making them all again at once would be what it cannot do either. */
static void ping_others(struct members *m)
{
    usec_t since = clock_mono() - TICK * 3 / 2;
    AUTO(arena) arena = {0};
    struct log_member *all;
    struct log_status status;
    size_t n, start, asked = 0;

    db_members(m->xapid->db, &arena, &n, &all);
    db_status(m->xapid->db, &status);
    start = random_u64() % MAX(n, (size_t)1);
    for (size_t i = 0; i < n && asked < PINGS; i++) {
        uint64_t id = all[(start + i) % n].id;

        if (id == status.id || peer_heard(m->xapid->peers, id) >= since)
            continue;
        peer_ask(m->xapid->peers, id, PEER_PING, NULL, 0, TICK, NULL, NULL);
        asked++;
    }
}

static void *members_run(void *arg)
{
    struct members *m = arg;
    usec_t tick = 0;
    bool stopped = false;

    mutex_lock(&m->lock);
    while (!m->stopping) {
        bool new_members = m->new_members, differs = m->differs && !stopped;
        usec_t now = clock_mono();

        m->new_members = false;
        if (!new_members && !differs && now < tick) {
            cond_wait_until(&m->changed, &m->lock, tick);
            continue;
        }
        mutex_unlock(&m->lock);
        if (new_members)
            allow(m);
        if (differs)
            stop_database(m);
        stopped |= differs;
        if (now >= tick) {
            ping_others(m);
            tell_digest(m);
            tell_stopped(m);
            learn_identities(m);
            tick = now + TICK;
        }
        mutex_lock(&m->lock);
    }
    mutex_unlock(&m->lock);
    return NULL;
}

/*** /internal/pool ***/

static void reply_json(struct http_request *request, json_t *json)
{
    char *text = json_dumps(json, JSON_COMPACT);
    struct http_response response = {
        .status = 200, .content_type = "application/json", .data = text, .size = strlen(text)};

    json_decref(json);
    http_reply(request, &response);
    free(text);
}

static void reply_outcome(struct http_request *request, const struct error *e)
{
    reply_json(request,
               e ? json_pack("{s:s}", "error", error_line(request->arena, e)) : json_object());
}

/* It is no business of the network. */
static bool is_local(struct http_request *request)
{
    if (request->via == VIA_UNIX)
        return true;
    http_error(request, 404, NULL);
    return false;
}

static const char *const role_names[] = {
    [LOG_STANDBY] = "standby", [LOG_VOTER] = "voter", [LOG_SPARE] = "spare"};

static json_t *members_json(struct members *m, struct arena *arena)
{
    json_t *list = json_array();
    struct log_member *all;
    size_t n;

    db_members(m->xapid->db, arena, &n, &all);
    for (size_t i = 0; i < n; i++)
        json_array_append_new(list, json_pack("{s:s, s:s, s:s}", "id",
                                              member_id_text(arena, all[i].id), "role",
                                              role_names[all[i].role], "address", all[i].address));
    return list;
}

void members_get(struct http_request *request, void *ctx)
{
    struct xapid *x = ctx;
    struct members *m = x->members;
    struct log_status status;
    struct db_snap *snap;
    const struct db_root *root;
    json_t *json;

    if (!is_local(request))
        return;
    db_status(x->db, &status);
    snap = db_snapshot(x->db);
    root = snap_root(snap);
    json = json_pack(
        "{s:s, s:s, s:s, s:s, s:b, s:I, s:I, s:s, s:I, s:o}", "id",
        member_id_text(request->arena, status.id), "address", members_address(request->arena, m),
        "fingerprint", x->peers ? peers_fingerprint(x->peers) : "", "leader",
        member_id_text(request->arena, status.leader), "leads", db_leads(x->db), "term",
        (json_int_t)status.term, "revision", (json_int_t)root->revision, "digest",
        arena_printf(request->arena, "%016" PRIx64 "%016" PRIx64, root->digest[1], root->digest[0]),
        "applied_index", (json_int_t)root->log_index, "members", members_json(m, request->arena));
    db_snap_unref(snap);
    reply_json(request, json);
}

struct changing {
    struct log_change change;
    struct http_request *request;
};

static void change_done(struct log_change *change, const struct error *e)
{
    reply_outcome(((struct changing *)change)->request, e);
}

static bool role_of(const char *name, enum log_role *role)
{
    for (size_t i = 0; name && i < ARRAY_SIZE(role_names); i++) {
        if (strcmp(name, role_names[i]) == 0) {
            *role = (enum log_role)i;
            return true;
        }
    }
    return false;
}

/* What is asked for, from the one member of the object. */
static bool read_change(struct arena *arena, const char *what, const json_t *args,
                        struct log_change *out)
{
    const char *address = json_string_value(json_object_get(args, "address"));

    if (!member_id_of(json_string_value(json_object_get(args, "id")), &out->id) &&
        strcmp(what, "transfer") != 0)
        return false;
    if (strcmp(what, "add") == 0) {
        out->what = LOG_ADD;
        out->address = address ? arena_strdup(arena, address) : "";
        return peer_address_ok(out->address);
    }
    if (strcmp(what, "assign") == 0) {
        out->what = LOG_ASSIGN;
        return role_of(json_string_value(json_object_get(args, "role")), &out->role);
    }
    out->what = strcmp(what, "remove") == 0 ? LOG_REMOVE : LOG_TRANSFER;
    return strcmp(what, "remove") == 0 || strcmp(what, "transfer") == 0;
}

/* OK where 'done' will answer. */
static struct error *post(struct members *m, struct http_request *request, json_t *json,
                          bool *answered)
{
    struct changing *c = arena_new(request->arena, struct changing);
    void *first = json_object_iter(json);
    const char *what = first ? json_object_iter_key(first) : "";
    json_t *args = first ? json_object_iter_value(first) : NULL;

    *answered = false;
    if (!m->xapid->peers)
        return error_internal(
            request->arena,
            "this host is alone: it has no address where others reach it (--pool-address)");
    if (json_object_size(json) != 1)
        return error_internal(request->arena, "an object with one member is expected");
    if (strcmp(what, "trust") == 0)
        return trust(m, request->arena, json_is_string(args) ? json_string_value(args) : "");
    c->change.done = change_done;
    c->request = request;
    if (!read_change(request->arena, what, args, &c->change))
        return error_internal(request->arena, "this cannot be read: '%s'", what);
    TRY(db_change_members(m->xapid->db, request->arena, &c->change));
    *answered = true;
    return OK;
}

void members_post(struct http_request *request, void *ctx)
{
    struct xapid *x = ctx;
    struct error *e;
    bool answered;
    json_t *json;

    if (!is_local(request))
        return;
    json = json_loadb(request->body, request->body_size, 0, NULL);
    e = post(x->members, request, json, &answered);
    json_decref(json);
    if (!answered)
        reply_outcome(request, e);
}

/*** life ***/

/* Words between commas: addresses, or fingerprints alone. */
static struct error *read_trust(struct members *m, struct arena *arena, const char *text)
{
    while (*(text += strspn(text, ", "))) {
        size_t n = strcspn(text, ", ");

        TRY(trust(m, arena, arena_strndup(arena, text, n)));
        text += n;
    }
    return OK;
}

static struct error *open_links(struct arena *arena, struct members *m, const char *address)
{
    struct xapid_options *o = &m->xapid->options;
    struct peers_options options = {.dir = o->state_dir, .listen_address = o->listen_address};
    const char *host = "";

    TRY(split_address(arena, address, &host, &options.port));
    TRY(peers_open(arena, &options, &m->xapid->peers));
    free(m->place);
    free(m->address);
    m->place = xasprintf("%s:%d", host, peers_port(m->xapid->peers));
    m->address = xstrdup(members_address(arena, m));
    if (!peer_address_ok(m->address))
        return error_new(arena, "INVALID_VALUE", 2, "pool-address", address);
    return o->pool_trust ? read_trust(m, arena, o->pool_trust) : OK;
}

/* At the management interface's address.  A host that has none, or whose port somebody else has,
 * works as well, but alone. */
static void open_usual_links(struct arena *arena, struct members *m)
{
    int port = m->xapid->options.pool_port;
    struct facts facts;
    struct error *e;

    facts_read(arena, &facts);
    if (!port || !*facts.nic.ip)
        return;
    e = open_links(arena, m, arena_printf(arena, "%s:%d", facts.nic.ip, port));
    if (e)
        log_warning("other hosts cannot reach this one: %s", error_line(arena, e));
}

struct error *members_new(struct arena *arena, struct xapid *xapid, struct members **out)
{
    struct members *m = xcalloc(1, sizeof *m);

    m->xapid = xapid;
    m->place = xstrdup("");
    m->address = xstrdup("");
    mutex_init(&m->lock);
    cond_init(&m->changed);
    *out = m;
    if (xapid->options.pool_address)
        TRY(open_links(arena, m, xapid->options.pool_address));
    else
        open_usual_links(arena, m);
    m->options = (struct log_raft_options){.peers = xapid->peers,
                                           .address = m->address,
                                           .id = xapid->options.member_id,
                                           .joining = xapid->options.joining};
    return OK;
}

const char *members_address(struct arena *arena, const struct members *m)
{
    return *m->place ? arena_printf(arena, "%s/%s", m->place, peers_fingerprint(m->xapid->peers))
                     : "";
}

const struct log_raft_options *members_log_options(struct members *m)
{
    return &m->options;
}

void members_start(struct members *m)
{
    if (!m->xapid->peers)
        return;
    peers_serve(m->xapid->peers, PEER_DIGEST, serve_digest, m);
    peers_serve(m->xapid->peers, PEER_STOPPED, serve_stopped, m);
    peers_serve(m->xapid->peers, PEER_WITNESS_LEVEL, witness_serve_level, m->xapid);
    peers_serve_streams(m->xapid->peers, PEER_STREAM_MIGRATE, migrate_serve, m->xapid);
    peers_serve_streams(m->xapid->peers, PEER_STREAM_RELAY, relay_serve, m->xapid);
    peers_serve_streams(m->xapid->peers, PEER_STREAM_DISK, far_disk_serve, m->xapid);
    members_changed(m); /* the log may have told before */
    thread_start(&m->thread, "members", members_run, m);
}

/* One that ends because its database has stopped leaves no riddle.  Who has left the pool has
 * nobody to tell. */
static void let_others_know(struct members *m)
{
    usec_t deadline = clock_mono() + TOLD_WITHIN;
    AUTO(arena) arena = {0};
    struct log_status status;

    if (!db_failure(m->xapid->db, &arena) || !db_has_others(m->xapid->db))
        return;
    db_status(m->xapid->db, &status);
    if (status.removed || leave_is_departed(m->xapid, member_id_text(&arena, status.id)))
        return;
    MUTEX_GUARD(&m->lock);
    while (!m->stop_known && cond_wait_until(&m->changed, &m->lock, deadline))
        ;
}

void members_stop(struct members *m)
{
    if (!m || !m->thread.running)
        return;
    peers_serve(m->xapid->peers, PEER_DIGEST, NULL, NULL);
    peers_serve(m->xapid->peers, PEER_STOPPED, NULL, NULL);
    peers_serve(m->xapid->peers, PEER_WITNESS_LEVEL, NULL, NULL);
    peers_serve_streams(m->xapid->peers, PEER_STREAM_MIGRATE, NULL, NULL);
    peers_serve_streams(m->xapid->peers, PEER_STREAM_RELAY, NULL, NULL);
    peers_serve_streams(m->xapid->peers, PEER_STREAM_DISK, NULL, NULL);
    let_others_know(m);
    mutex_lock(&m->lock);
    m->stopping = true;
    cond_signal(&m->changed);
    mutex_unlock(&m->lock);
    thread_join(&m->thread);
}

void members_free(struct members *m)
{
    if (!m)
        return;
    peers_close(m->xapid->peers);
    m->xapid->peers = NULL;
    for (size_t i = 0; i < m->n_trusted; i++)
        free(m->trusted[i]);
    free(m->place);
    free(m->address);
    cond_release(&m->changed);
    mutex_release(&m->lock);
    free(m);
}
