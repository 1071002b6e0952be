/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xapid/join/join.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "libxapi/base/log.h"
#include "libxapi/base/memory.h"
#include "libxapi/base/seam.h"
#include "libxapi/include/xapi/session.h"
#include "libxapi/value/value.h"
#include "pool/peer/peer.h"
#include "xapid/db/dump.h"
#include "xapid/join/file.h"
#include "xapid/join/leave.h"
#include "xapid/join/link.h"
#include "xapid/main/members.h"
#include "xapid/main/xapid.h"
#include "xapid/ops/faults.h"
#include "xapid/ops/host/here.h"
#include "xapid/ops/storage/shared.h"

#define USUAL_PORT 443
#define PIECE ((size_t)256 << 10)
/* For one exchange with the pool. */
#define PATIENCE (60 * USEC_PER_SEC)
#define ASK_PATIENCE (10 * USEC_PER_SEC)
/* How long pool.join itself asks for an answer that was lost. */
#define ASK_WITHIN (5 * USEC_PER_SEC)
#define ASK_AGAIN USEC_PER_SEC
/* So that the client has its answer. */
#define RESTART_DELAY (200 * USEC_PER_MSEC)
#define TELL_AGAIN (60 * USEC_PER_SEC)

struct joiner {
    struct xapid *xapid;
    struct mutex lock;
    struct cond changed;
    struct thread thread;
    bool busy; /* a call joins, or the thread asks */
    bool stopping;
};

/*** the pool's word ***/

enum fate { FATE_IN, FATE_REFUSED, FATE_UNKNOWN };

static enum fate ask_host(struct arena *arena, const struct join_host *host, const char *token)
{
    enum fate fate = FATE_UNKNOWN;
    const char *state;
    json_t *json;

    if (join_ask_host(arena, host, ASK_PATIENCE, arena_printf(arena, "ask=%s", token), &json))
        return FATE_UNKNOWN;
    state = json_string_value(json_object_get(json, "state"));
    if (state && strcmp(state, "in") == 0)
        fate = FATE_IN;
    if (state && strcmp(state, "no") == 0)
        fate = FATE_REFUSED;
    json_decref(json);
    return fate;
}

/* Whoever of them answers knows. */
static enum fate ask_all(const struct join_file *file)
{
    for (size_t i = 0; i < file->n_hosts; i++) {
        AUTO(arena) arena = {0};
        enum fate fate = ask_host(&arena, &file->hosts[i], file->token);

        if (fate != FATE_UNKNOWN)
            return fate;
    }
    return FATE_UNKNOWN;
}

/* What follows from it.  The file says so before anything is done. */
static struct error *settle(struct arena *arena, struct xapid *x, struct join_file *file,
                            enum fate fate)
{
    if (fate == FATE_REFUSED) {
        TRY(join_file_remove(arena, x->options.state_dir));
        db_thaw(x->db);
        return OK;
    }
    file->in = true;
    TRY(join_file_write(arena, x->options.state_dir, file));
    xapid_restart_soon(x, RESTART_DELAY);
    return OK;
}

/*** in doubt: a thread asks until it is told ***/

static void report_doubt(const struct join_file *file, const char *state_dir)
{
    log_warning(
        "this host was joining the pool of %s and does not know whether it is a member: "
        "until somebody there answers nothing can be changed here.  If that pool is lost for "
        "ever, end xapid, remove %s/joining, and start it again",
        file->n_hosts ? file->hosts[0].address : "a host", state_dir);
}

/* FATE_UNKNOWN: to be asked again. */
static enum fate settle_by_asking(struct joiner *j, const struct join_file *file)
{
    enum fate fate = ask_all(file);
    struct join_file settled = *file;
    AUTO(arena) arena = {0};
    struct error *e;

    if (fate == FATE_UNKNOWN)
        return fate;
    e = settle(&arena, j->xapid, &settled, fate);
    if (e) {
        log_error("%s", error_line(&arena, e));
        return FATE_UNKNOWN;
    }
    log_info(fate == FATE_IN ? "the pool says: this host is a member"
                             : "the pool says: this host is no member; it goes on alone");
    return fate;
}

static void *ask_run(void *arg)
{
    struct joiner *j = arg;
    AUTO(arena) arena = {0};
    struct join_file file;
    enum fate fate = FATE_UNKNOWN;
    usec_t tell = 0;
    bool found = false;
    struct error *e = join_file_read(&arena, j->xapid->options.state_dir, &file, &found);

    if (e || !found)
        return NULL;
    mutex_lock(&j->lock);
    while (!j->stopping && fate == FATE_UNKNOWN) {
        mutex_unlock(&j->lock);
        fate = settle_by_asking(j, &file);
        if (fate == FATE_UNKNOWN && clock_mono() >= tell) {
            report_doubt(&file, j->xapid->options.state_dir);
            tell = clock_mono() + TELL_AGAIN;
        }
        mutex_lock(&j->lock);
        if (fate == FATE_UNKNOWN && !j->stopping)
            cond_wait_until(&j->changed, &j->lock, clock_mono() + ASK_AGAIN);
    }
    /* A member to be stays busy until it starts again. */
    j->busy = fate != FATE_REFUSED;
    mutex_unlock(&j->lock);
    return NULL;
}

static void ask_on(struct joiner *j)
{
    thread_join(&j->thread);
    thread_start(&j->thread, "joining", ask_run, j);
}

/*** pool.join ***/

/* What a call has taken hold of. */
struct attempt {
    struct joiner *joiner; /* busy with this call */
    struct xapi_session *session;
    bool frozen;
};

static void attempt_release(struct attempt *a)
{
    xapi_disconnect(a->session);
    if (!a->joiner)
        return;
    if (a->frozen)
        db_thaw(a->joiner->xapid->db);
    MUTEX_GUARD(&a->joiner->lock);
    a->joiner->busy = false;
}

static struct error *begin_attempt(struct call *call, struct attempt *a)
{
    struct joiner *j = call->xapid->joiner;

    if (db_has_others(call->xapid->db) || snap_root(call->snap)->tables[CLASS_host].count > 1)
        return err_joining_host_cannot_be_master_of_other_hosts(call);
    if (!*members_address(call->arena, call->xapid->members))
        return err_operation_not_allowed(
            call, "This host has no address where the pool's hosts could reach it: give its "
                  "management interface one, or xapid a --pool-address.");
    MUTEX_GUARD(&j->lock);
    if (j->busy)
        return err_operation_not_allowed(call, "This host is joining a pool already.");
    j->busy = true;
    a->joiner = j;
    return OK;
}

/* "host", "host:port", "[v6]:port"; "/" and the fingerprint of its certificate may follow. */
static struct error *read_address(struct call *call, const char *whole, struct join_host *out)
{
    const char *slash = strchr(whole, '/');
    const char *text = arena_strndup(call->arena, whole, strcspn(whole, "/"));
    const char *colon = strrchr(text, ':'), *end = text + strlen(text);
    int64_t port = USUAL_PORT;
    bool v6 = *text == '[';

    if (colon && (v6 ? colon[-1] == ']' : strchr(text, ':') == colon)) {
        if (!int_from_text(colon + 1, &port) || port < 1 || port > 65535)
            return err_invalid_value(call, "master_address", whole);
        end = colon;
    }
    if (slash && !slash[1])
        return err_invalid_value(call, "master_address", whole);
    out->fingerprint = slash ? slash + 1 : NULL;
    if (v6 && end > text && end[-1] == ']') {
        text++;
        end--;
    }
    out->address = arena_strndup(call->arena, text, (size_t)(end - text));
    out->port = (int)port;
    return *out->address ? OK : err_invalid_value(call, "master_address", whole);
}

static struct error *connect_to(struct call *call, struct join_host *host, const char *user,
                                const char *password, struct attempt *a)
{
    const struct xapi_options options = {.host = host->address,
                                         .port = host->port,
                                         .user = user,
                                         .password = password,
                                         .fingerprint = host->fingerprint,
                                         .originator = "xapid pool.join",
                                         .timeout = PATIENCE};
    struct error *e = xapi_connect(&options, &a->session);

    if (error_is(e, "CANNOT_CONTACT_HOST")) {
        log_info("pool.join: %s", error_line(call->arena, e));
        return err_joining_host_connection_failed(call);
    }
    if (e)
        return error_copy(call->arena, e);
    host->fingerprint = arena_strdup(call->arena, xapi_server_fingerprint(a->session));
    return OK;
}

/* Nobody can say what an operation that is under way would have become. */
static struct error *check_quiet(struct call *call)
{
    call_refresh(call);
    return snap_root(call->snap)->tables[CLASS_intent].count
               ? err_joining_host_cannot_have_vms_with_current_operations(call)
               : OK;
}

/* The pool's answer to "begin": whom to ask later, the one that was named first. */
static struct error *read_begin(struct call *call, const json_t *json,
                                const struct join_host *first, struct join_file *file)
{
    const json_t *hosts = json_object_get(json, "hosts"),
                 *members = json_object_get(json, "members");
    const char *token = json_string_value(json_object_get(json, "token"));
    size_t n = json_array_size(hosts), n_members = json_array_size(members);
    struct join_host *v = arena_array(call->arena, struct join_host, n + 1);
    const char **m = arena_array(call->arena, const char *, n_members + 1);

    if (!token || !n_members)
        return err_joining_host_service_failed(call);
    file->token = arena_strdup(call->arena, token);
    v[file->n_hosts++] = *first;
    for (size_t i = 0; i < n; i++) {
        const json_t *h = json_array_get(hosts, i);
        const char *address = json_string_value(json_object_get(h, "address"));
        const char *fingerprint = json_string_value(json_object_get(h, "fingerprint"));

        if (address && fingerprint && strcmp(address, first->address) != 0)
            v[file->n_hosts++] = (struct join_host){arena_strdup(call->arena, address), first->port,
                                                    arena_strdup(call->arena, fingerprint)};
    }
    for (size_t i = 0; i < n_members; i++) {
        const char *text = json_string_value(json_array_get(members, i));

        if (text && peer_address_ok(text))
            m[file->members.n++] = arena_strdup(call->arena, text);
    }
    file->hosts = v;
    file->members.v = m;
    return OK;
}

static struct error *begin_there(struct call *call, const struct join_host *host, struct attempt *a,
                                 struct join_file *file)
{
    const struct host *me = host_here(call);
    json_t *json;
    bool lost;
    struct error *e;

    file->id = (random_u64() >> 1) | 1;
    TRY(join_ask(call->arena, a->session,
                 arena_printf(call->arena, "begin=%s&member=%016" PRIx64 "&address=%s", me->uuid,
                              file->id, members_address(call->arena, call->xapid->members)),
                 NULL, &json, &lost));
    e = read_begin(call, json, host, file);
    json_decref(json);
    return e;
}

static struct error *send_all(struct call *call, const struct attempt *a, const char *token,
                              bool force, bool *lost)
{
    AUTO(buf) dump = {0};
    struct dump_writer writer;
    json_t *json = NULL;
    struct error *e;

    dump_begin(snap_root(call->snap), &writer);
    while (dump_next(&writer, &dump, PIECE))
        ;
    e = join_ask(call->arena, a->session,
                 arena_printf(call->arena, "token=%s&force=%s", token, force ? "true" : "false"),
                 &dump, &json, lost);
    json_decref(json);
    return e;
}

static enum fate ask_for_a_while(const struct joiner *j, const struct join_file *file)
{
    usec_t end = clock_mono() + ASK_WITHIN;
    enum fate fate;

    while ((fate = ask_all(file)) == FATE_UNKNOWN && clock_mono() < end && !j->stopping)
        clock_sleep(ASK_AGAIN);
    return fate;
}

static struct error *in_doubt(struct call *call, struct attempt *a, const struct join_file *file)
{
    /* It stays busy and frozen. */
    ask_on(a->joiner);
    a->joiner = NULL;
    report_doubt(file, call->xapid->options.state_dir);
    return err_joining_host_service_failed(call);
}

/* From the file on only the pool can say what this host is. */
static struct error *join_for_good(struct call *call, struct attempt *a, struct join_file *file,
                                   bool force)
{
    enum fate fate = FATE_IN;
    struct error *e;
    bool lost;

    TRY(join_file_write(call->arena, call->xapid->options.state_dir, file));
    faults_step_ignored(call, "pool_join", "written");
    e = send_all(call, a, file->token, force, &lost);
    faults_step_ignored(call, "pool_join", "sent");
    /* An error's words do not say whether the token is dead: asking kills it. */
    if (e)
        fate = ask_for_a_while(a->joiner, file);
    if (fate == FATE_UNKNOWN)
        return in_doubt(call, a, file);
    TRY(settle(call->arena, call->xapid, file, fate));
    faults_step_ignored(call, "pool_join", "settled");
    if (fate == FATE_REFUSED)
        return e;
    /* It stays busy and frozen until it starts again. */
    a->joiner = NULL;
    return OK;
}

static struct error *join(struct call *call, const char *address, const char *user,
                          const char *password, bool force)
{
    __attribute__((cleanup(attempt_release))) struct attempt a = {0};
    struct join_host host = {0};
    struct join_file file = {0};

    TRY(read_address(call, address, &host));
    TRY(begin_attempt(call, &a));
    TRY(connect_to(call, &host, user, password, &a));
    TRY(faults_step(call, "pool_join", "connected"));
    TRY(check_quiet(call));
    TRY(begin_there(call, &host, &a, &file));
    TRY(faults_step(call, "pool_join", "begun"));
    call->joins = true;
    db_freeze(call->xapid->db);
    a.frozen = true;
    TRY(check_quiet(call));
    TRY(faults_step(call, "pool_join", "frozen"));
    return join_for_good(call, &a, &file, force);
}

struct error *pool_join(struct call *call, const struct pool_join_args *args)
{
    return join(call, args->master_address, args->master_username, args->master_password, false);
}

struct error *pool_join_force(struct call *call, const struct pool_join_force_args *args)
{
    return join(call, args->master_address, args->master_username, args->master_password, true);
}

/*** life ***/

struct error *joiner_new(struct arena *arena, struct xapid *xapid, struct joiner **out)
{
    struct joiner *j = xcalloc(1, sizeof *j);
    struct join_file file;
    bool found;

    j->xapid = xapid;
    mutex_init(&j->lock);
    cond_init(&j->changed);
    *out = j;
    TRY(join_file_read(arena, xapid->options.state_dir, &file, &found));
    if (!found)
        return OK;
    db_freeze(xapid->db);
    j->busy = true;
    ask_on(j);
    return OK;
}

void joiner_stop(struct joiner *j)
{
    if (!j)
        return;
    mutex_lock(&j->lock);
    j->stopping = true;
    cond_signal(&j->changed);
    mutex_unlock(&j->lock);
    thread_join(&j->thread);
}

void joiner_free(struct joiner *j)
{
    if (!j)
        return;
    cond_release(&j->changed);
    mutex_release(&j->lock);
    free(j);
}

/* What the other hosts have, this one is to have too. */
static struct error *reach_shared(struct arena *arena, struct xapid *xapid)
{
    struct call call;
    struct error *e;

    call_init_internal(&call, xapid, arena);
    e = srs_reach_shared(&call);
    call_release(&call);
    return e;
}

struct error *joiner_done(struct arena *arena, struct xapid *xapid)
{
    struct join_file file;
    bool found;

    TRY(join_file_read(arena, xapid->options.state_dir, &file, &found));
    if (found)
        TRY(reach_shared(arena, xapid));
    return join_file_remove(arena, xapid->options.state_dir);
}
