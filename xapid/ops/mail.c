/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xapid/ops/mail.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "libxapi/base/buf.h"
#include "libxapi/base/child.h"
#include "libxapi/base/log.h"
#include "libxapi/base/memory.h"
#include "libxapi/base/seam.h"
#include "xapid/db/db.h"
#include "xapid/main/xapid.h"
#include "xapid/worker/workers.h"

#define DEFAULT_PRIORITY 3
#define SEND_TIMEOUT (20 * USEC_PER_SEC)
/* Of one look: a storm of messages is no reason for a storm of mails. */
#define MAILS_AT_ONCE 20
#define ADDRESS_LIMIT 254

struct mailer {
    struct xapid *xapid;
    struct mutex lock;
    bool busy, again; /* a worker looks; and shall look once more */
    uint64_t seen;    /* messages up to this revision were looked at */
};

struct mailer *mailer_new(struct xapid *xapid)
{
    struct mailer *m = xcalloc(1, sizeof *m);
    struct db_snap *snap = db_snapshot(xapid->db);

    m->xapid = xapid;
    m->seen = snap_root(snap)->revision;
    mutex_init(&m->lock);
    db_snap_unref(snap);
    return m;
}

void mailer_free(struct mailer *m)
{
    if (!m)
        return;
    mutex_release(&m->lock);
    free(m);
}

/*** one mail ***/

struct settings {
    const char *to, *from;
    int64_t priority;
};

/* One address, and nothing that would begin another line or another argument. */
static bool is_address(const char *text)
{
    size_t n = strlen(text);

    return n && n <= ADDRESS_LIMIT && text[0] != '-' && strcspn(text, " \t\r\n,;<>\"") == n &&
           strchr(text, '@');
}

/* False where nothing is to be sent. */
static bool read_settings(const struct call *call, struct settings *out)
{
    const struct pool *pool = db_find(call, CLASS_pool, call->xapid->pool);
    const struct host *host = db_find(call, CLASS_host, call->xapid->host);
    const char *least;

    if (!pool || !host || !ref_equal(pool->master, host->ref))
        return false;
    out->to = strmap_get(&pool->other_config, "mail-destination");
    out->from = strmap_get(&pool->other_config, "mail-sender");
    least = strmap_get(&pool->other_config, "mail-min-priority");
    if (!out->from)
        out->from = arena_printf(call->arena, "noreply@%s", host->hostname);
    if (!least || !int_from_text(least, &out->priority))
        out->priority = DEFAULT_PRIORITY;
    return out->to && is_address(out->to) && is_address(out->from);
}

/* Of a header: on one line. */
static void add_line(struct buf *out, const char *text)
{
    for (; *text; text++)
        buf_putc(out, (unsigned char)*text < ' ' ? ' ' : *text);
}

static void write_mail(const struct settings *s, const struct message *m, struct buf *out)
{
    const char *cls = enum_name(api_fields[FIELD_message_cls].type->enum_desc, (int)m->cls);
    char date[DATE_TEXT_SIZE];

    buf_printf(out, "From: %s\nTo: %s\nSubject: [%s] ", s->from, s->to,
               m->priority <= 2 ? "alert" : "message");
    add_line(out, m->name);
    buf_printf(out, "\nContent-Type: text/plain; charset=utf-8\nAuto-Submitted: auto-generated\n\n"
                    "Name: ");
    add_line(out, m->name);
    buf_printf(out, "\nPriority: %lld\nClass: %s\nObject: %s\nTime: %s\n\n", (long long)m->priority,
               cls, m->obj_uuid, date_to_text(m->timestamp, date));
    buf_puts(out, m->body);
    buf_putc(out, '\n');
}

static void send_mail(struct call *call, const struct settings *s, const struct message *m)
{
    const char *own = arena_printf(call->arena, "%s/mail-alarm", call->xapid->options.config_dir);
    const char *argv[] = {access(own, X_OK) == 0 ? own : "sendmail", "-t", "-i", NULL};
    struct child_result result;
    AUTO(buf) text = {0};
    struct error *e;

    write_mail(s, m, &text);
    e = child_run(
        call->arena,
        &(struct child_spec){
            .argv = argv, .input = text.data, .input_size = text.len, .timeout = SEND_TIMEOUT},
        &result);
    if (e)
        log_warning("the message %s was not mailed: %s", m->name, error_line(call->arena, e));
    else if (result.status != 0)
        log_warning("the message %s was not mailed: %s ended with %d: %s", m->name, argv[0],
                    result.status, result.errors);
}

/*** looking ***/

/* Up to MAILS_AT_ONCE; the others are left out, and the log says so.  The daemon's end waits for
 * one mail at most. */
static void look(struct mailer *m)
{
    AUTO(arena) arena = {0};
    struct settings settings;
    const struct message *row;
    struct db_walk walk;
    struct call call;
    uint64_t seen = m->seen;
    size_t sent = 0, left_out = 0;

    call_init_internal(&call, m->xapid, &arena);
    m->seen = snap_root(call.snap)->revision;
    if (read_settings(&call, &settings)) {
        db_walk(call.snap, CLASS_message, &walk);
        while ((row = db_walk_next(&walk))) {
            if (row->row_created <= seen || row->priority > settings.priority)
                continue;
            if (sent == MAILS_AT_ONCE || xapid_is_stopping(m->xapid))
                left_out++;
            else
                send_mail(&call, &settings, row);
            sent += sent < MAILS_AT_ONCE;
        }
    }
    if (left_out)
        log_warning("%zu messages were not mailed: too many at once, or the daemon ends", left_out);
    call_release(&call);
}

static void work(void *arg)
{
    struct mailer *m = arg;
    bool more = true;

    while (more) {
        look(m);
        mutex_lock(&m->lock);
        more = m->again;
        m->again = false;
        m->busy = more;
        mutex_unlock(&m->lock);
    }
}

void mailer_look(struct mailer *m)
{
    bool start;

    if (!m)
        return;
    mutex_lock(&m->lock);
    start = !m->busy;
    m->busy = true;
    m->again = !start;
    mutex_unlock(&m->lock);
    if (start && !workers_run(m->xapid->workers, work, m)) {
        mutex_lock(&m->lock);
        m->busy = false; /* the next one looks */
        mutex_unlock(&m->lock);
    }
}
