/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xapid/main/roam.h"

#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "libxapi/base/log.h"
#include "libxapi/base/memory.h"
#include "libxapi/base/seam.h"
#include "libxapi/value/value.h"
#include "pool/peer/peer.h"
#include "xapid/auth/session.h"
#include "xapid/auth/session_json.h"
#include "xapid/db/db.h"
#include "xapid/db/log.h"
#include "xapid/db/member.h"
#include "xapid/main/members.h"
#include "xapid/main/xapid.h"
#include "xapid/worker/workers.h"

#define ANSWER_KNOWN (300 * USEC_PER_MSEC)
#define ANSWER_UNKNOWN USEC_PER_SEC
#define ANSWER_AROUND (150 * USEC_PER_MSEC)
#define TELL_WITHIN (5 * USEC_PER_SEC)
/* A member of which nothing was heard for longer is not asked. */
#define SILENT (3 * USEC_PER_SEC)
/* Others may let a session of ours that they cannot ask about go on that long (session.h). */
_Static_assert(ANSWER_KNOWN > SESSION_GRACE + LOG_PAUSE && SILENT > SESSION_DOUBT_FOR,
               "no session in two places");
#define CATCH_UP (5 * USEC_PER_SEC)
#define LEADER_WITHIN (2 * USEC_PER_SEC)
/* For so long after the start of this daemon what the others tell of a session may have been said
 * before the one that ran here until then, and showed the session more.  Longer than TELL_WITHIN by
 * what the slowest of networks may take. */
#define TOLD_OF_BEFORE (30 * USEC_PER_SEC)
/* Unknown sessions that are asked for at the same time. */
#define MAX_UNKNOWN 16
/* Sessions told to a member that has just started; the others are found when they turn up. */
#define MAX_TOLD 5000
#define ANSWER_ALL USEC_PER_SEC

struct roam {
    struct xapid *xapid;
    usec_t started; /* monotonic */
    struct mutex lock;
    int unknown; /* being asked for */
};

static bool is_heard(struct roam *r, uint64_t member)
{
    usec_t heard = peer_heard(r->xapid->peers, member);

    return heard && heard + SILENT > clock_mono();
}

/*** telling the others ***/

static void tell_all(struct roam *r, enum peer_kind kind, json_t *json)
{
    AUTO(arena) arena = {0};
    char *text = json ? json_dumps(json, JSON_COMPACT) : NULL;
    uint64_t *ids;
    size_t n;

    json_decref(json);
    if (!text)
        return; /* what is no UTF-8 is not announced: it will be asked for */
    members_others(r->xapid->members, &arena, &n, &ids);
    for (size_t i = 0; i < n; i++)
        peer_ask(r->xapid->peers, ids[i], kind, text, strlen(text), TELL_WITHIN, NULL, NULL);
    free(text);
}

static void on_created(void *ctx, const struct session_copy *copy)
{
    AUTO(arena) arena = {0};

    tell_all(ctx, PEER_SESSION_NEW, session_copy_to_json(&arena, copy));
}

static void on_ended(void *ctx, ref_t ref)
{
    char text[REF_TEXT_SIZE];

    tell_all(ctx, PEER_SESSION_END, json_pack("{s:s}", "ref", ref_to_text(ref, text)));
}

/*** what the others tell, on the links' thread ***/

static void serve_new(void *ctx, struct peer_request *request)
{
    struct roam *r = ctx;
    AUTO(arena) arena = {0};
    json_t *json = json_loadb(request->data, request->size, 0, NULL);
    struct session_copy copy;

    if (session_copy_of_json(&arena, json, &copy)) {
        copy.whole &= copy.here && clock_mono() - r->started > TOLD_OF_BEFORE;
        session_adopt(r->xapid->sessions, &copy);
    }
    json_decref(json);
    peer_answer(request, NULL, 0);
}

struct ending {
    struct roam *roam;
    ref_t ref;
};

/* Answers long polls: a worker's matter. */
static void end_session(void *arg)
{
    struct ending *e = arg;

    session_end_here(e->roam->xapid->sessions, e->ref);
    free(e);
}

static void serve_end(void *ctx, struct peer_request *request)
{
    json_t *json = json_loadb(request->data, request->size, 0, NULL);
    struct ending *e = xcalloc(1, sizeof *e);

    e->roam = ctx;
    if (!member_ref(json, "ref", &e->ref) || ref_is_null(e->ref))
        free(e);
    else if (!workers_run(e->roam->xapid->workers, end_session, e))
        end_session(e);
    json_decref(json);
    peer_answer(request, NULL, 0);
}

static char *take(struct roam *r, ref_t ref)
{
    AUTO(arena) arena = {0};
    struct session_copy copy;
    bool ended = false;
    json_t *answer;
    char *text;

    if (session_copy_out(r->xapid->sessions, &arena, ref, true, &copy, &ended))
        answer = session_copy_to_json(&arena, &copy);
    else
        answer = json_pack("{s:b}", "ended", ended);
    text = json_dumps(answer, JSON_COMPACT);
    json_decref(answer);
    return text;
}

static void on_asked_for_another(void *ctx, enum peer_outcome outcome, const void *data,
                                 size_t size)
{
    peer_answer(ctx, data, outcome == PEER_ANSWERED ? size : 0);
}

static const char *question_text(struct arena *arena, ref_t ref)
{
    return arena_printf(arena, "{\"ref\":\"%s\"}", ref_text(arena, ref));
}

/* Somebody cannot reach that member. */
static void ask_for_another(struct roam *r, uint64_t member, ref_t ref,
                            struct peer_request *request)
{
    AUTO(arena) arena = {0};
    const char *text = question_text(&arena, ref);

    if (is_heard(r, member))
        peer_ask(r->xapid->peers, member, PEER_SESSION_TAKE, text, strlen(text), ANSWER_AROUND,
                 on_asked_for_another, request);
    else
        peer_answer(request, NULL, 0);
}

static void serve_take(void *ctx, struct peer_request *request)
{
    struct roam *r = ctx;
    json_t *json = json_loadb(request->data, request->size, 0, NULL);
    uint64_t member;
    ref_t ref;

    if (!member_ref(json, "ref", &ref)) {
        peer_answer(request, NULL, 0);
    } else if (member_id_of(json_string_value(json_object_get(json, "of")), &member)) {
        ask_for_another(r, member, ref, request);
    } else {
        char *text = take(r, ref);

        peer_answer(request, text, text ? strlen(text) : 0);
        free(text);
    }
    json_decref(json);
}

/* Those in use on the member that asks are none: it has just started. */
static void serve_all(void *ctx, struct peer_request *request)
{
    struct roam *r = ctx;
    AUTO(arena) arena = {0};
    struct refs refs = session_refs(r->xapid->sessions, &arena, NULL);
    json_t *all = json_array();
    char *text;

    for (size_t i = 0; i < MIN(refs.n, (size_t)MAX_TOLD); i++) {
        struct session_copy copy;
        bool ended;

        if (session_copy_out(r->xapid->sessions, &arena, refs.v[i], false, &copy, &ended))
            json_array_append_new(all, session_copy_to_json(&arena, &copy));
    }
    text = json_dumps(all, JSON_COMPACT);
    json_decref(all);
    peer_answer(request, text, text ? strlen(text) : 0);
    free(text);
}

/*** asking ***/

/* Lives until the last answer, which may come after nobody waits any more. */
struct question {
    uint32_t count; /* holders; atomic */
    struct mutex lock;
    struct cond changed;
    size_t n_asked;     /* members */
    size_t n_answered;  /* of them */
    size_t n_whole;     /* of them: they know all that they have shown it */
    size_t n_under_way; /* requests */
    size_t n_lost;      /* members that were asked and did not answer */
    bool *answered;     /* by each member */
    bool found, ended, configured;
    uint64_t seen;
    struct arena arena; /* of 'copy' and 'answered' */
    struct session_copy copy;
};

/* A request, which may have gone to somebody else who asks that member for us. */
struct asked {
    struct question *question;
    size_t member;
    bool around;
};

static void question_unref(struct question *q)
{
    if (__atomic_sub_fetch(&q->count, 1, __ATOMIC_ACQ_REL) > 0)
        return;
    arena_release(&q->arena);
    cond_release(&q->changed);
    mutex_release(&q->lock);
    free(q);
}

/* False where it is none: who was asked for us could not reach that member. */
static bool take_answer(struct question *q, size_t member, const void *data, size_t size)
{
    json_t *json = json_loadb(data, size, 0, NULL);
    bool is_answer = json != NULL, first = is_answer && !q->answered[member];
    struct session_copy copy;

    q->n_answered += first;
    q->answered[member] |= first;
    q->ended |= json_is_true(json_object_get(json, "ended"));
    if (session_copy_of_json(&q->arena, json, &copy)) {
        q->seen = MAX(q->seen, copy.seen);
        /* What the one says where it was in use is newest. */
        if (!q->found || copy.here)
            q->copy = copy;
        q->configured |= copy.here;
        q->found = true;
        q->n_whole += first && copy.whole;
    }
    json_decref(json);
    return is_answer;
}

static void on_answer(void *ctx, enum peer_outcome outcome, const void *data, size_t size)
{
    struct asked *asked = ctx;
    struct question *q = asked->question;

    mutex_lock(&q->lock);
    if (outcome != PEER_ANSWERED || !take_answer(q, asked->member, data, size))
        q->n_lost += !asked->around;
    q->n_under_way--;
    cond_signal(&q->changed);
    mutex_unlock(&q->lock);
    question_unref(q);
    free(asked);
}

/* Asks 'through' about the session of 'member'; with the question's lock held. */
static void ask(struct roam *r, struct question *q, size_t member, uint64_t through, bool around,
                const char *text, usec_t within)
{
    struct asked *asked = xmalloc(sizeof *asked);

    *asked = (struct asked){q, member, around};
    __atomic_add_fetch(&q->count, 1, __ATOMIC_RELAXED);
    q->n_under_way++;
    peer_ask(r->xapid->peers, through, PEER_SESSION_TAKE, text, strlen(text), within, on_answer,
             asked);
}

static void ask_directly(struct roam *r, struct question *q, const uint64_t *ids, ref_t ref,
                         usec_t within)
{
    AUTO(arena) arena = {0};
    const char *text = question_text(&arena, ref);
    usec_t deadline = clock_mono() + within - ANSWER_AROUND;

    MUTEX_GUARD(&q->lock);
    for (size_t i = 0; i < q->n_asked; i++)
        /* Of a daemon that has just started the others have not been heard yet. */
        if (within == ANSWER_UNKNOWN || is_heard(r, ids[i]))
            ask(r, q, i, ids[i], false, text, within);
    while (q->n_under_way > 0 && cond_wait_until(&q->changed, &q->lock, deadline))
        ;
}

/*
 * Two members that cannot reach each other may both reach the leader.  Then the other one has no
 * doubt that the session is still there; so those that did answer ask it for us.
 */
static void ask_around(struct roam *r, struct question *q, const uint64_t *ids, ref_t ref)
{
    AUTO(arena) arena = {0};
    usec_t deadline = clock_mono() + ANSWER_AROUND;
    size_t n;

    MUTEX_GUARD(&q->lock);
    n = q->n_answered; /* those of later answers are not needed */
    for (size_t i = 0; n > 0 && i < q->n_asked; i++) {
        const char *text;

        if (q->answered[i])
            continue;
        text = arena_printf(&arena, "{\"ref\":\"%s\",\"of\":\"%s\"}", ref_text(&arena, ref),
                            member_id_text(&arena, ids[i]));
        for (size_t k = 0; k < q->n_asked; k++)
            if (q->answered[k])
                ask(r, q, i, ids[k], true, text, ANSWER_AROUND);
    }
    while (q->n_under_way > 0 && q->n_answered < q->n_asked &&
           cond_wait_until(&q->changed, &q->lock, deadline))
        ;
}

/* Who could not be asked may be using it for a moment more. */
static void let_go(struct question *q, usec_t begin)
{
    MUTEX_GUARD(&q->lock);
    while (q->n_lost > 0 && q->n_answered < q->n_asked &&
           cond_wait_until(&q->changed, &q->lock, begin + ANSWER_KNOWN))
        ;
}

static struct question *ask_all(struct roam *r, ref_t ref, usec_t within)
{
    struct question *q = xcalloc(1, sizeof *q);
    usec_t begin = clock_mono();
    AUTO(arena) arena = {0};
    uint64_t *ids;

    mutex_init(&q->lock);
    cond_init(&q->changed);
    q->count = 1;
    members_others(r->xapid->members, &arena, &q->n_asked, &ids);
    q->answered = arena_array(&q->arena, bool, q->n_asked);
    ask_directly(r, q, ids, ref, within);
    ask_around(r, q, ids, ref);
    let_go(q, begin);
    return q;
}

/*** bringing a session here ***/

/* Waits until this member has applied all that the session has seen, up to *seen if that is 'all'
 * there is to know. */
static struct error *catch_up(struct roam *r, struct arena *arena, bool all, uint64_t *seen)
{
    struct db *db = r->xapid->db;
    usec_t now = clock_mono();
    struct db_snap *snap;

    if (*seen && !db_wait(db, *seen - 1, now + CATCH_UP))
        return error_internal(arena,
                              "this member of the pool has not yet applied what the session has "
                              "seen on another one; try again, or there");
    if (all)
        return OK;
    /* Somebody may have shown more: a majority knows all of it. */
    if (!db_wait_leader(db, now + LEADER_WITHIN) || !db_barrier(db, now + CATCH_UP))
        return error_internal(arena,
                              "this member of the pool has no contact with the others, so it "
                              "cannot tell whether it has all that the session has seen there: log "
                              "in here again to see what it has, or use another member");
    snap = db_snapshot(db);
    *seen = MAX(*seen, snap_root(snap)->revision);
    db_snap_unref(snap);
    return OK;
}

static struct error *settle(struct roam *r, struct arena *arena, ref_t ref, uint64_t times,
                            struct question *q)
{
    struct sessions *sessions = r->xapid->sessions;
    struct strmap config = {0};
    bool found, ended, configured, all = session_is_whole(sessions, ref);
    struct session_copy copy;
    uint64_t seen;

    mutex_lock(&q->lock);
    found = q->found;
    ended = q->ended;
    /* Who was started again answers too, and has forgotten what it showed; this one as well. */
    all &= q->n_whole == q->n_asked;
    seen = q->seen;
    configured = q->configured;
    copy = q->copy;
    mutex_unlock(&q->lock);
    if (ended) {
        session_end_here(sessions, ref);
        return OK;
    }
    copy.whole = false; /* that the others know all they showed says nothing of this member */
    if (found)
        session_adopt(sessions, &copy);
    else if (!session_taken(sessions, ref, &(uint64_t){0}))
        session_note_unknown(sessions, ref);
    if (!session_taken(sessions, ref, &(uint64_t){0}))
        return OK;
    config = copy.other_config;
    TRY(catch_up(r, arena, all, &seen));
    session_settle(sessions, ref, times, seen, configured ? &config : NULL);
    /* Who has forgotten it learns of it again; the next to die may be this one. */
    if (!all)
        session_announce(sessions, ref);
    return OK;
}

static bool begin_unknown(struct roam *r)
{
    MUTEX_GUARD(&r->lock);
    if (r->unknown >= MAX_UNKNOWN)
        return false;
    r->unknown++;
    return true;
}

static void end_unknown(struct roam *r)
{
    MUTEX_GUARD(&r->lock);
    r->unknown--;
}

static struct error *bring(void *ctx, struct arena *arena, ref_t ref)
{
    struct roam *r = ctx;
    struct question *q;
    struct error *e;
    uint64_t times;
    bool known = session_taken(r->xapid->sessions, ref, &times);

    if (!known && !begin_unknown(r))
        return OK; /* SESSION_INVALID */
    q = ask_all(r, ref, known ? ANSWER_KNOWN : ANSWER_UNKNOWN);
    if (!known)
        end_unknown(r);
    e = settle(r, arena, ref, times, q);
    question_unref(q);
    return e;
}

struct doubt {
    struct roam *roam;
    ref_t ref;
};

/* As long as it cannot be told, it stays in doubt. */
static void bring_doubted(void *arg)
{
    AUTO(arena) arena = {0};
    struct doubt *d = arg;
    const struct error *e = bring(d->roam, &arena, d->ref);

    (void)e;
    free(d);
}

static void on_doubted(void *ctx, ref_t ref)
{
    struct doubt *d = xmalloc(sizeof *d);

    *d = (struct doubt){ctx, ref};
    if (!workers_run(d->roam->xapid->workers, bring_doubted, d))
        free(d);
}

/*** those of before a restart ***/

struct recall {
    uint32_t count; /* holders; atomic */
    struct roam *roam;
    struct mutex lock;
    struct cond changed;
    size_t n_asked, n_over;
    bool over; /* nobody waits any more, and the sessions may be gone */
};

static void recall_unref(struct recall *c)
{
    if (__atomic_sub_fetch(&c->count, 1, __ATOMIC_ACQ_REL) > 0)
        return;
    cond_release(&c->changed);
    mutex_release(&c->lock);
    free(c);
}

static void adopt_all(struct roam *r, const void *data, size_t size)
{
    json_t *all = json_loadb(data, size, 0, NULL), *one;
    size_t i;

    json_array_foreach(all, i, one)
    {
        AUTO(arena) arena = {0};
        struct session_copy copy;

        if (session_copy_of_json(&arena, one, &copy)) {
            copy.whole = false; /* what this host's daemon of before has shown is forgotten */
            session_adopt(r->xapid->sessions, &copy);
        }
    }
    json_decref(all);
}

static void on_recalled(void *ctx, enum peer_outcome outcome, const void *data, size_t size)
{
    struct recall *c = ctx;

    mutex_lock(&c->lock);
    if (outcome == PEER_ANSWERED && !c->over)
        adopt_all(c->roam, data, size);
    c->n_over++;
    cond_signal(&c->changed);
    mutex_unlock(&c->lock);
    recall_unref(c);
}

void roam_recall(struct roam *r)
{
    usec_t deadline = clock_mono() + ANSWER_ALL;
    AUTO(arena) arena = {0};
    struct recall *c;
    uint64_t *ids;

    if (!r)
        return;
    c = xcalloc(1, sizeof *c);
    c->roam = r;
    mutex_init(&c->lock);
    cond_init(&c->changed);
    members_others(r->xapid->members, &arena, &c->n_asked, &ids);
    c->count = (uint32_t)c->n_asked + 1;
    for (size_t i = 0; i < c->n_asked; i++)
        peer_ask(r->xapid->peers, ids[i], PEER_SESSION_ALL, "", 0, ANSWER_ALL, on_recalled, c);
    mutex_lock(&c->lock);
    while (c->n_over < c->n_asked && cond_wait_until(&c->changed, &c->lock, deadline))
        ;
    c->over = true;
    mutex_unlock(&c->lock);
    recall_unref(c);
}

/* It is lost soon, long before this member gives its leader up. */
static usec_t contact(void *ctx)
{
    const struct roam *r = ctx;
    struct log_status status;

    db_status(r->xapid->db, &status);
    if (!status.leader || clock_mono() > status.led_at + LOG_PAUSE)
        return 0;
    return MAX(status.contact, (usec_t)1);
}

/*** life ***/

struct roam *roam_new(struct xapid *xapid)
{
    struct roam *r = xcalloc(1, sizeof *r);
    const struct session_remote remote = {.ctx = r,
                                          .created = on_created,
                                          .ended = on_ended,
                                          .bring = bring,
                                          .doubted = on_doubted,
                                          .contact = contact};

    r->xapid = xapid;
    r->started = clock_mono();
    mutex_init(&r->lock);
    sessions_set_remote(xapid->sessions, &remote);
    peers_serve(xapid->peers, PEER_SESSION_NEW, serve_new, r);
    peers_serve(xapid->peers, PEER_SESSION_END, serve_end, r);
    peers_serve(xapid->peers, PEER_SESSION_TAKE, serve_take, r);
    peers_serve(xapid->peers, PEER_SESSION_ALL, serve_all, r);
    return r;
}

void roam_stop(struct roam *r)
{
    if (!r)
        return;
    peers_serve(r->xapid->peers, PEER_SESSION_NEW, NULL, NULL);
    peers_serve(r->xapid->peers, PEER_SESSION_END, NULL, NULL);
    peers_serve(r->xapid->peers, PEER_SESSION_TAKE, NULL, NULL);
    peers_serve(r->xapid->peers, PEER_SESSION_ALL, NULL, NULL);
}

void roam_free(struct roam *r)
{
    if (!r)
        return;
    sessions_set_remote(r->xapid->sessions, NULL);
    mutex_release(&r->lock);
    free(r);
}
