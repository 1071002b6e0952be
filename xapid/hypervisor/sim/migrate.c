/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * migrate.c -- a domain's memory goes to another simulator while the guest runs, and comes from
 * one.
 *
 * On the wire: "XAPIRAM1" and the number of pages; pages, each after its number, those that the
 * guest has written meanwhile again; at the end, when the guest has stopped, UINT64_MAX, a length
 * and the domain's state as JSON, with the digest of the whole memory.  Numbers are 64 bits, little
 * endian.
 *
 * Both ends go on in the loop: nothing here waits.
 */
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "libxapi/base/memory.h"
#include "xapid/hypervisor/sim/sim.h"

#define MAGIC "XAPIRAM1"
#define LAST UINT64_MAX
#define HEADER ((size_t)16)
#define ROUNDS 5 /* over the memory, until the guest is stopped for the rest */
#define STATE_MAX ((uint64_t)1 << 20)
#define PIECE ((size_t)65536)

struct migration {
    struct domain *d;
    struct request *rq; /* lives until request_finish */
    struct source source;
    struct timer timer;
    struct buf buf; /* to be sent, from 'at'; or received and not used yet */
    size_t at;
    size_t next; /* page to be looked at */
    int round;
    bool incoming, began, last;
    int64_t breaks_after; /* pages; -1: never */
};

static void migration_free(struct migration *m)
{
    int fd = m->source.fd;

    m->d->migration = NULL;
    timer_cancel(&m->timer);
    source_remove(&m->source);
    close(fd);
    buf_release(&m->buf);
    free(m);
}

/* The other side of the daemon's: a socket that it listens on. */
static int connect_to(const char *path)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    int fd, saved;

    if (strlen(path) >= sizeof a.sun_path) {
        errno = ENAMETOOLONG;
        return -1;
    }
    memcpy(a.sun_path, path, strlen(path));
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    if (connect(fd, (struct sockaddr *)&a, sizeof a) == 0 && fcntl(fd, F_SETFL, O_NONBLOCK) == 0)
        return fd;
    saved = errno;
    close(fd);
    errno = saved;
    return -1;
}

static struct error *begin(struct request *rq, struct domain *d, uint32_t events,
                           void (*ready)(struct source *source, uint32_t events),
                           struct migration **out)
{
    const char *path = read_text(&rq->args, "path", 4096);
    struct migration *m;
    int fd;

    if (d->migration)
        return error_internal(&rq->arena, "the domain is on its way already");
    fd = connect_to(path);
    if (fd < 0)
        return error_internal(&rq->arena, "%s: %s", path, strerrordesc_np(errno));
    m = xcalloc(1, sizeof *m);
    m->source.fd = fd;
    m->d = d;
    m->rq = rq;
    if (!source_add(sim_of(rq)->loop, &m->source, fd, events, ready)) {
        close(fd);
        free(m);
        return error_internal(&rq->arena, "%s", strerrordesc_np(errno));
    }
    d->migration = m;
    *out = m;
    return OK;
}

/*** going on ***/

void domain_resume(struct domain *d)
{
    if (d->state != HV_SHUTDOWN)
        return;
    d->state = HV_PAUSED;
    d->reason = HV_NONE;
    if (!d->booted)
        guest_will_boot(d);
    domain_set_running(d, true);
}

struct error *run_resume(struct request *rq, json_t **result)
{
    struct domain *d;

    (void)result;
    TRY(domain_of(rq, &d));
    if (d->state == HV_SHUTDOWN && d->reason != HV_SUSPEND)
        return error_internal(&rq->arena, "the domain %s has ended (%s)", d->uuid,
                              hv_reason_names[d->reason]);
    domain_resume(d);
    return OK;
}

/*** out ***/

static void out_failed(struct migration *m, const char *why)
{
    struct request *rq = m->rq;
    struct domain *d = m->d;

    migration_free(m);
    domain_resume(d);
    request_finish(rq, error_internal(&rq->arena, "sending the domain: %s", why), NULL);
}

static void add_number(struct buf *out, uint64_t n)
{
    uint64_t le = htole64(n);

    buf_add(out, (const char *)&le, sizeof le);
}

static int collect(const char *data, size_t size, void *ctx)
{
    buf_add(ctx, data, size);
    return 0;
}

static void add_state(struct migration *m)
{
    json_t *state = domain_state(m->d);
    AUTO(buf) text = {0};

    json_object_set_new(state, "digest", json_text(ram_digest(&m->rq->arena, m->d)));
    json_object_set_new(state, "rate", json_integer(m->d->ram.rate));
    json_object_set_new(state, "writes", json_integer((json_int_t)m->d->ram.writes));
    if (json_dump_callback(state, collect, &text, JSON_COMPACT) < 0)
        abort(); /* out of memory */
    json_decref(state);
    add_number(&m->buf, LAST);
    add_number(&m->buf, text.len);
    buf_add(&m->buf, text.data, text.len);
    m->last = true;
}

static bool any_dirty(const struct ram *ram)
{
    for (size_t i = 0; i < ram->n; i++)
        if (ram->dirty[i])
            return true;
    return false;
}

/* The end of a round.  False if it has failed. */
static bool next_round(struct migration *m)
{
    m->next = 0;
    m->round++;
    if (m->d->state == HV_SHUTDOWN) {
        add_state(m);
        return true;
    }
    if (any_dirty(&m->d->ram) && m->round < ROUNDS)
        return true;
    if (m->d->booted && !guest_answers(m->d)) {
        out_failed(m, "the guest does not answer");
        return false;
    }
    ram_catch_up(m->d);
    domain_end(m->d, HV_SUSPEND);
    return true;
}

static void on_pace(struct timer *timer)
{
    struct migration *m = container_of(timer, struct migration, timer);

    source_want(&m->source, EPOLLOUT);
}

/* A test makes the sending slow. */
static void pace(struct migration *m)
{
    struct sim *sim = m->d->sim;

    if (!sim->migrate_rate)
        return;
    source_want(&m->source, 0);
    timer_set(sim->loop, &m->timer, loop_now(sim->loop) + USEC_PER_SEC / sim->migrate_rate,
              on_pace);
}

/* Puts the next page, or whatever comes after the last, into the empty buffer.  False if that was
 * the end. */
static bool compose(struct migration *m)
{
    struct ram *ram = &m->d->ram;

    ram_catch_up(m->d);
    while (m->next < ram->n && !ram->dirty[m->next])
        m->next++;
    if (m->next == ram->n)
        return next_round(m);
    if (m->breaks_after == 0) {
        out_failed(m, "a test breaks it");
        return false;
    }
    m->breaks_after -= m->breaks_after > 0;
    add_number(&m->buf, m->next);
    buf_add(&m->buf, ram_page(m->d, m->next), SIM_PAGE);
    ram->dirty[m->next++] = false;
    pace(m);
    return true;
}

static void out_done(struct migration *m)
{
    struct request *rq = m->rq;

    migration_free(m);
    request_finish(rq, OK, NULL);
}

static void on_writable(struct source *source, uint32_t events)
{
    struct migration *m = container_of(source, struct migration, source);
    ssize_t n;

    if (events & (EPOLLERR | EPOLLHUP)) {
        out_failed(m, "nobody takes it any more");
        return;
    }
    while (m->at < m->buf.len) {
        n = send(source->fd, m->buf.data + m->at, m->buf.len - m->at, MSG_NOSIGNAL);
        if (n < 0 && errno == EAGAIN)
            return;
        if (n < 0) {
            out_failed(m, strerrordesc_np(errno));
            return;
        }
        m->at += (size_t)n;
    }
    m->at = m->buf.len = 0;
    if (m->last)
        out_done(m);
    else
        (void)compose(m);
}

static void out_expired(struct request *rq)
{
    out_failed(((struct domain *)rq->subject)->migration, "the time is over");
}

struct error *run_migrate_out(struct request *rq, json_t **result)
{
    bool live = read_bool(&rq->args, "live");
    struct sim *sim = sim_of(rq);
    struct migration *m;
    struct domain *d;

    (void)result;
    TRY(domain_alive(rq, &d));
    if (rq->args.bad)
        return OK; /* the caller reports it */
    if (d->state == HV_PAUSED || (d->booted && !guest_answers(d)))
        return error_new(&rq->arena, "VM_FAILED_SUSPEND_ACKNOWLEDGMENT", 1, d->uuid);
    TRY(begin(rq, d, EPOLLOUT, on_writable, &m));
    m->breaks_after = sim->migrate_break - 1;
    sim->migrate_break = 0;
    ram_catch_up(d);
    ram_page(d, 0);
    memset(d->ram.dirty, true, d->ram.n);
    buf_add(&m->buf, MAGIC, strlen(MAGIC));
    add_number(&m->buf, d->ram.n);
    if (!live)
        domain_end(d, HV_SUSPEND);
    request_wait(rq, WAIT_THREAD, d, rq->deadline, out_expired);
    return OK;
}

/*** in ***/

/* Nothing is left of it. */
static void in_failed(struct migration *m, const char *why)
{
    struct request *rq = m->rq;
    struct domain *d = m->d;

    migration_free(m);
    domain_destroy(d);
    request_finish(rq, error_internal(&rq->arena, "receiving the domain: %s", why), NULL);
}

/* NULL if the domain is what was sent. */
static const char *take_state(struct migration *m, const char *json, size_t n)
{
    struct arena *arena = &m->rq->arena;
    struct image state;
    const char *why = read_state(m->rq, json, n, &state), *digest;
    json_t *more = json_loadb(json, n, 0, NULL);
    struct reader r = reader_of(arena, more);
    struct domain *d = m->d;

    digest = read_text(&r, "digest", 64);
    d->ram.rate = read_int(&r, "rate", 0, INT64_MAX);
    d->ram.writes = (uint64_t)read_int(&r, "writes", 0, INT64_MAX);
    json_decref(more);
    if (why || r.bad)
        return why ? why : "its end cannot be read";
    if (strcmp(state.uuid, d->uuid) != 0)
        return "it is another domain";
    if (strcmp(digest, ram_digest(arena, d)) != 0)
        return "its memory has changed on the way";
    image_apply(d, &state);
    return NULL;
}

enum taken { TAKEN, INCOMPLETE, FAILED };

/* Uses one record. */
static enum taken take_record(struct migration *m)
{
    const char *data = m->buf.data + m->at, *why = NULL;
    size_t n = m->buf.len - m->at;
    uint64_t number, length;

    if (n < HEADER)
        return INCOMPLETE;
    memcpy(&number, data, sizeof number);
    memcpy(&length, data + sizeof number, sizeof length);
    number = le64toh(number);
    length = le64toh(length);
    if (!m->began) {
        m->began = true;
        m->at += HEADER;
        if (memcmp(data, MAGIC, strlen(MAGIC)) != 0 || length < 1 || length > SIM_PAGES_MAX)
            why = "it is no domain";
        else
            ram_size(m->d, (size_t)length);
    } else if (number == LAST) {
        if (length > STATE_MAX)
            why = "its end cannot be read";
        else if (n < HEADER + length)
            return INCOMPLETE;
        else
            why = take_state(m, data + HEADER, (size_t)length);
        m->last = true;
        m->at = m->buf.len;
    } else {
        if (n < sizeof number + SIM_PAGE)
            return INCOMPLETE;
        if (number >= m->d->ram.n)
            why = "it has pages where there is no memory";
        else
            memcpy(ram_page(m->d, (size_t)number), data + sizeof number, SIM_PAGE);
        m->at += sizeof number + SIM_PAGE;
    }
    if (why)
        in_failed(m, why);
    return why ? FAILED : TAKEN;
}

static void in_done(struct migration *m)
{
    struct request *rq = m->rq;
    struct domain *d = m->d;

    migration_free(m);
    domain_changed(d);
    request_finish(rq, OK, json_pack("{s:i}", "domid", d->domid));
}

static void on_readable(struct source *source, uint32_t events)
{
    struct migration *m = container_of(source, struct migration, source);
    enum taken taken = TAKEN;
    ssize_t n;

    (void)events;
    buf_reserve(&m->buf, PIECE);
    n = recv(source->fd, m->buf.data + m->buf.len, PIECE, 0);
    if (n < 0 && errno == EAGAIN)
        return;
    if (n < 0) {
        in_failed(m, strerrordesc_np(errno));
    } else if (n == 0) {
        if (m->last)
            in_done(m);
        else
            in_failed(m, "it was cut short");
    } else {
        m->buf.len += (size_t)n;
        while (taken == TAKEN && !m->last)
            taken = take_record(m);
        if (taken == FAILED)
            return;
        memmove(m->buf.data, m->buf.data + m->at, m->buf.len - m->at);
        m->buf.len -= m->at;
        m->at = 0;
    }
}

static void in_expired(struct request *rq)
{
    in_failed(((struct domain *)rq->subject)->migration, "the time is over");
}

struct error *run_migrate_in(struct request *rq, json_t **result)
{
    struct reader r = reader_of(&rq->arena, json_object_get(rq->args_json, "config"));
    struct hv_domain_config config = {0};
    struct migration *m;
    struct domain *d;
    struct error *e;

    (void)result;
    read_config(&r, &config);
    if (r.bad)
        return error_internal(&rq->arena, "the configuration's '%s' is missing or wrong", r.bad);
    TRY(domain_build(rq, &config, &d));
    e = begin(rq, d, EPOLLIN, on_readable, &m);
    if (e) {
        domain_destroy(d);
        return e;
    }
    m->incoming = true;
    request_wait(rq, WAIT_THREAD, d, rq->deadline, in_expired);
    return OK;
}

/*** what happens to the domain meanwhile ***/

bool domain_is_incoming(const struct domain *d)
{
    return d->migration && d->migration->incoming;
}

void migration_cancel(struct domain *d)
{
    struct request *rq = d->migration->rq;

    migration_free(d->migration);
    request_finish(rq, error_internal(&rq->arena, FAILURE_NO_DOMAIN "%s", d->uuid), NULL);
}
