/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * audit_line.c -- the text of an audit line:
 *
 *   [20250319T04:16:24.123Z|audit|<host>|<address>|<originator>] ('trackid=<hash of the session>'
 *   '<subject or LOCAL_SUPERUSER>' '<user>' 'ALLOWED' 'OK' 'API' 'VM.start' (('self' 'web' '<uuid>'
 *   'OpaqueRef:...')))
 *
 * on one line.  What a client chose can neither end a string nor the line.
 */
#include <openssl/evp.h>
#include <string.h>
#include <unistd.h>

#include "libxapi/base/seam.h"
#include "libxapi/value/value.h"
#include "xapid/auth/audit_internal.h"
#include "xapid/auth/session.h"
#include "xapid/db/db.h"
#include "xapid/main/xapid.h"

#define MAX_VALUE 256   /* bytes of one value */
#define MAX_ELEMENTS 16 /* of one set or map */
#define MAX_ARGS 3072   /* bytes of all arguments */
#define TRACK_SIZE 33   /* 128 bits in hexadecimal */

/* A parameter or a key of such a name may hold a secret. */
static const char *const secret_words[] = {
    "password", "passwd",     "passphrase", "pwd",  "secret",
    "token",    "credential", "private",    "chap", "auth",
};

/*** strings ***/

static bool is_plain(unsigned char c)
{
    return c >= ' ' && c != 0x7f && c != '\'' && c != '\\';
}

void audit_quote(struct buf *out, const char *text, size_t limit)
{
    size_t n = strnlen(text, limit + 1);
    bool cut = n > limit;

    n = MIN(n, limit);
    while (cut && n && ((unsigned char)text[n] & 0xc0) == 0x80)
        n--; /* not within a character */
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)text[i], next = i + 1 < n ? (unsigned char)text[i + 1] : 0;

        if (c == 0xc2 && next >= 0x80 && next < 0xa0) { /* control characters beyond ASCII */
            buf_printf(out, "\\xc2\\x%02x", next);
            i++;
        } else if (is_plain(c)) {
            buf_putc(out, (char)c);
        } else if (c == '\'' || c == '\\') {
            buf_putc(out, '\\');
            buf_putc(out, (char)c);
        } else {
            buf_printf(out, "\\x%02x", c);
        }
    }
    if (cut)
        buf_puts(out, "...");
}

static void put_string(struct buf *out, const char *text)
{
    buf_putc(out, '\'');
    audit_quote(out, text ? text : "", MAX_VALUE);
    buf_putc(out, '\'');
}

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c + 'a' - 'A') : c;
}

static bool contains(const char *text, const char *word)
{
    size_t n = strlen(word);

    for (; *text; text++) {
        size_t i = 0;

        while (i < n && lower(text[i]) == word[i])
            i++;
        if (i == n)
            return true;
    }
    return false;
}

static bool sounds_secret(const char *name)
{
    for (size_t i = 0; i < ARRAY_SIZE(secret_words); i++)
        if (contains(name, secret_words[i]))
            return true;
    return false;
}

/*** arguments ***/

/* One "('name' 'human' 'uuid' 'ref')". */
static void put_tuple(struct buf *out, const char *name, const char *human, const char *uuid,
                      const char *ref)
{
    if (out->len && out->data[out->len - 1] == ')')
        buf_putc(out, ' ');
    buf_putc(out, '(');
    put_string(out, name);
    buf_putc(out, ' ');
    put_string(out, human);
    buf_putc(out, ' ');
    put_string(out, uuid);
    buf_putc(out, ' ');
    put_string(out, ref);
    buf_putc(out, ')');
}

static const char *text_field(const struct class_desc *class, const void *row, int field)
{
    const char *text = row && field >= 0 && field_is_stored(&api_fields[field])
                           ? *(const char *const *)field_in(row, &api_fields[field])
                           : "";

    (void)class;
    return text ? text : "";
}

static void put_ref(struct buf *out, const struct db_snap *snap, const char *name,
                    const struct type *type, ref_t ref)
{
    const struct class_desc *class = type->class_id >= 0 ? &api_classes[type->class_id] : NULL;
    const void *row = class && snap ? root_get(snap_root(snap), class->id, ref) : NULL;
    char text[REF_TEXT_SIZE];

    /* A session's reference is as good as a password. */
    if (class && class->id == CLASS_session)
        put_tuple(out, name, "", "", "(session)");
    else
        put_tuple(out, name, row ? text_field(class, row, class->name_label_field) : "",
                  row ? text_field(class, row, class->uuid_field) : "", ref_to_text(ref, text));
}

/* A record says what it is called, and no more. */
static void put_record(struct buf *out, const char *name, const struct type *type,
                       const void *record)
{
    const struct class_desc *class = record ? record_class(type, record) : NULL;

    put_tuple(out, name, class ? text_field(class, record, class->name_label_field) : "", "", "");
}

static void put_number_of(struct buf *out, const char *name, size_t n)
{
    char text[40];

    snprintf(text, sizeof text, "(%zu in all)", n);
    put_tuple(out, name, text, "", "");
}

static void put_set(struct buf *out, const struct db_snap *snap, const char *name,
                    const struct type *type, const struct set *set)
{
    for (size_t i = 0; i < set->n && i < MAX_ELEMENTS; i++) {
        const char *at = (const char *)set->v + i * type->elem->size;

        if (type->elem->kind == TYPE_REF)
            put_ref(out, snap, name, type->elem, *(const ref_t *)at);
        else if (type->elem->kind == TYPE_STRING)
            put_tuple(out, name, *(const char *const *)at, "", "");
    }
    if (set->n > MAX_ELEMENTS)
        put_number_of(out, name, set->n);
}

/* Only the keys: configurations have passwords among their values. */
static void put_map(struct buf *out, const char *name, const struct type *type,
                    const struct map *map)
{
    struct buf keys = {0};

    for (size_t i = 0; i < map->n && i < MAX_ELEMENTS && type->key->kind == TYPE_STRING; i++) {
        if (i)
            buf_putc(&keys, ',');
        buf_puts(&keys, *(const char *const *)((const char *)map->v + i * type->entry_size));
    }
    put_tuple(out, name, keys.len ? keys.data : "", "", "");
    if (map->n > MAX_ELEMENTS)
        put_number_of(out, name, map->n);
    buf_release(&keys);
}

/* An address may carry a user's name and password: "http://user:password@host/". */
static void put_text(struct buf *out, const char *name, const char *text)
{
    const char *host = text ? strstr(text, "://") : NULL;
    const char *at = host ? memchr(host + 3, '@', strcspn(host + 3, "/")) : NULL;
    struct buf clean = {0};

    if (!at) {
        put_tuple(out, name, text, "", "");
        return;
    }
    buf_add(&clean, text, (size_t)(host + 3 - text));
    buf_puts(&clean, "(hidden)");
    buf_puts(&clean, at);
    put_tuple(out, name, clean.data, "", "");
    buf_release(&clean);
}

static void put_value(struct buf *out, const struct db_snap *snap, const char *name,
                      const struct type *type, const void *value)
{
    struct arena arena = {0};

    switch (type->kind) {
    case TYPE_REF:
        put_ref(out, snap, name, type, *(const ref_t *)value);
        break;
    case TYPE_RECORD:
        put_record(out, name, type, *(const void *const *)value);
        break;
    case TYPE_SET:
        put_set(out, snap, name, type, value);
        break;
    case TYPE_MAP:
        put_map(out, name, type, value);
        break;
    case TYPE_STRING:
        put_text(out, name, *(const char *const *)value);
        break;
    case TYPE_OPTION:
        put_tuple(out, name, "(option)", "", "");
        break;
    default:
        put_tuple(out, name, value_filter_text(&arena, type, value), "", "");
    }
    arena_release(&arena);
}

/* The value that goes with a key that sounds secret, and all texts of class secret. */
static bool is_secret_value(const struct message_desc *m, const struct param_desc *p,
                            const void *args)
{
    if (p->type->secret || (p->type->kind != TYPE_REF && sounds_secret(p->name)))
        return true;
    if (p->type->kind == TYPE_REF || strcmp(p->name, "value") != 0)
        return false;
    if (m->class_id == CLASS_secret || (m->field >= 0 && sounds_secret(api_fields[m->field].name)))
        return true;
    for (size_t i = 0; i < m->n_params; i++) {
        const struct param_desc *key = &m->params[i];

        if (strcmp(key->name, "key") == 0 && key->type->kind == TYPE_STRING) {
            const char *text = *(const char *const *)((const char *)args + key->offset);

            return !text || sounds_secret(text);
        }
    }
    return false;
}

void audit_put_args(struct buf *out, const struct db_snap *snap, const struct message_desc *m,
                    const void *args)
{
    if (!args || (m->flags & MESSAGE_SECRET))
        return;
    for (size_t i = 0; i < m->n_params; i++) {
        const struct param_desc *p = &m->params[i];

        if (out->len > MAX_ARGS) {
            put_tuple(out, "...", "", "", "");
            return;
        }
        if (is_secret_value(m, p, args))
            put_tuple(out, p->name, "(hidden)", "", "");
        else
            put_value(out, snap, p->name, p->type, (const char *)args + p->offset);
    }
}

const char *audit_args(struct call *call, const struct message_desc *m, const void *args)
{
    struct buf out = {0};
    const char *copy;

    audit_put_args(&out, call->snap, m, args);
    copy = arena_strdup(call->arena, out.len ? out.data : "");
    buf_release(&out);
    return copy;
}

/*** whole lines ***/

struct who {
    const char *user, *sid, *originator, *client;
    ref_t session;
};

static void put_track(struct buf *out, ref_t session)
{
    uint8_t hash[EVP_MAX_MD_SIZE];
    char text[REF_TEXT_SIZE];

    buf_puts(out, "'trackid=");
    if (!ref_is_null(session)) {
        ref_to_text(session, text);
        EVP_Digest(text, strlen(text), hash, NULL, EVP_sha256(), NULL);
        for (int i = 0; i < TRACK_SIZE / 2; i++)
            buf_printf(out, "%02x", hash[i]);
    }
    buf_puts(out, "' ");
}

static void put_head(struct buf *out, const struct who *who)
{
    usec_t now = clock_wall();
    char date[DATE_TEXT_SIZE], host[65] = "";

    if (gethostname(host, sizeof host - 1) < 0)
        host[0] = '\0';
    date_to_text(now, date);
    buf_printf(out, "[%.17s.%03dZ|audit|", date, (int)(now % USEC_PER_SEC / USEC_PER_MSEC));
    audit_quote(out, host, sizeof host);
    buf_putc(out, '|');
    audit_quote(out, who->client ? who->client : "", 64);
    buf_putc(out, '|');
    audit_quote(out, who->originator ? who->originator : "", 64);
    buf_puts(out, "] (");
    put_track(out, who->session);
    put_string(out, who->sid);
    buf_putc(out, ' ');
    put_string(out, who->user);
}

static void put_outcome(struct buf *out, const struct error *e, const char *kind,
                        const char *action)
{
    bool denied = error_is(e, "RBAC_PERMISSION_DENIED") ||
                  error_is(e, "SESSION_AUTHENTICATION_FAILED") ||
                  error_is(e, "SESSION_AUTHORIZATION_FAILED");

    buf_puts(out, denied ? " 'DENIED' " : " 'ALLOWED' ");
    if (e) {
        buf_puts(out, "'ERROR:");
        audit_quote(out, e->code, MAX_VALUE);
        buf_puts(out, "' ");
    } else {
        buf_puts(out, "'OK' ");
    }
    buf_printf(out, "'%s' ", kind);
    put_string(out, action);
}

static void write_line(struct audit *audit, const struct who *who, const struct error *e,
                       const char *kind, const char *action, const char *args)
{
    struct buf line = {0};

    put_head(&line, who);
    put_outcome(&line, e, kind, action);
    buf_printf(&line, " (%s))", args);
    audit_queue(audit, line.data, line.len);
    buf_release(&line);
}

static struct who who_of(const struct auth_session *s)
{
    return (struct who){s->user, s->is_local_superuser ? "LOCAL_SUPERUSER" : s->user, s->originator,
                        s->client, s->ref};
}

/* Not what reads, not logins, not the daemon itself. */
static bool is_audited(const struct call *call, const struct message_desc *m)
{
    return call->session && call->xapid->audit && !(m->flags & (MESSAGE_PURE | MESSAGE_NO_SESSION));
}

void audit_call_with(struct call *call, const struct message_desc *m, const char *args_text,
                     const struct error *e)
{
    struct who who;

    if (!is_audited(call, m))
        return;
    who = who_of(call->session);
    write_line(call->xapid->audit, &who, e, "API", m->full_name, args_text);
}

void audit_call(struct call *call, const struct message_desc *m, const void *args,
                const struct error *e)
{
    struct buf text = {0};

    if (!is_audited(call, m))
        return;
    audit_put_args(&text, call->snap, m, args);
    audit_call_with(call, m, text.len ? text.data : "", e);
    buf_release(&text);
}

void audit_http(struct call *call, const char *action, const struct error *e)
{
    struct who who;

    if (!call->session || !call->xapid->audit)
        return;
    who = who_of(call->session);
    write_line(call->xapid->audit, &who, e, "HTTP", action, "");
}

void audit_login(struct audit *audit, const struct audit_login *login)
{
    struct who who = {login->user, "", login->originator, login->client, login->session};

    if (audit)
        write_line(audit, &who, login->error, "API", login->message, "");
}

void audit_append(struct audit *audit, const char *line)
{
    struct buf out = {0};

    if (!audit)
        return;
    for (size_t i = 0; line[i] && i < 2 * MAX_ARGS; i++) {
        if ((unsigned char)line[i] < ' ' || line[i] == 0x7f)
            buf_printf(&out, "\\x%02x", (unsigned char)line[i]);
        else
            buf_putc(&out, line[i]);
    }
    if (out.len)
        audit_queue(audit, out.data, out.len);
    buf_release(&out);
}
