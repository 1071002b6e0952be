/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xapid/ops/message.h"

#include <stdlib.h>
#include <string.h>

#include "libxapi/base/log.h"
#include "libxapi/base/seam.h"
#include "libxapi/codec/codec.h"
#include "xapid/db/filter.h"
#include "xapid/db/ready.h"
#include "xapid/db/row.h"
#include "xapid/main/xapid.h"
#include "xapid/ops/mail.h"

/*** writing ***/

static int priority_of(const char *name)
{
    for (size_t i = 0; i < api_n_alerts; i++)
        if (strcmp(api_alerts[i].name, name) == 0)
            return api_alerts[i].priority;
    return 3;
}

static int by_age(const void *a, const void *b)
{
    const struct message *x = *(const struct message *const *)a;
    const struct message *y = *(const struct message *const *)b;

    return (x->row_created > y->row_created) - (x->row_created < y->row_created);
}

/* Makes room for 'n' more.  Several transactions may choose the same rows: those that are gone
 * already are a conflict, and chosen anew. */
static void reap(struct txn *txn, size_t n)
{
    size_t count = snap_root(txn_snap(txn))->tables[CLASS_message].count, i = 0;
    const struct message **all;
    const struct message *row;
    struct db_walk walk;

    if (count + n <= MESSAGES_MAX)
        return;
    all = arena_array(txn_arena(txn), const struct message *, count);
    db_walk(txn_snap(txn), CLASS_message, &walk);
    while (i < count && (row = db_walk_next(&walk)))
        all[i++] = row;
    qsort(all, i, sizeof *all, by_age);
    for (size_t j = 0; j < count + n - MESSAGES_MAX && j < i; j++)
        if (txn_find(txn, CLASS_message, all[j]->ref))
            txn_destroy(txn, CLASS_message, all[j]->ref);
}

static ref_t add_message(struct txn *txn, const struct message *what)
{
    char uuid[UUID_TEXT_SIZE];
    struct message row;

    reap(txn, 1);
    row_defaults(&api_classes[CLASS_message], &row);
    row.ref = ref_new();
    row.uuid = uuid_new(uuid);
    row.name = what->name;
    row.priority = what->priority;
    row.cls = what->cls;
    row.obj_uuid = what->obj_uuid;
    row.body = what->body;
    row.timestamp = clock_wall();
    txn_create(txn, CLASS_message, &row);
    return row.ref;
}

static struct message own_message(struct arena *arena, const char *name, enum cls cls,
                                  const char *obj_uuid, const char *body)
{
    size_t size = strnlen(body, MESSAGE_BODY_MAX), clean;

    return (struct message){.name = name,
                            .priority = priority_of(name),
                            .cls = cls,
                            .obj_uuid = obj_uuid,
                            .body = utf8_clean(arena, body, size, &clean)};
}

void txn_alert(struct txn *txn, const char *name, enum cls cls, const char *obj_uuid,
               const char *body)
{
    struct message what = own_message(txn_arena(txn), name, cls, obj_uuid, body);

    add_message(txn, &what);
}

static struct error *alert_txn(struct txn *txn, void *arg)
{
    add_message(txn, arg);
    return OK;
}

void alert_create(struct call *call, const char *name, enum cls cls, const char *obj_uuid,
                  const char *body)
{
    struct message what = own_message(call->arena, name, cls, obj_uuid, body);
    struct error *e = db_update(call, alert_txn, &what);

    mailer_look(call->xapid->mailer);
    if (e)
        log_warning("the message %s about %s %s was not written: %s", name,
                    enum_name(api_fields[FIELD_message_cls].type->enum_desc, (int)cls), obj_uuid,
                    error_line(call->arena, e));
}

/*** message.create ***/

static int class_of(enum cls cls)
{
    switch (cls) {
    case CLS_VM:
        return CLASS_vm;
    case CLS_HOST:
        return CLASS_host;
    case CLS_SR:
        return CLASS_sr;
    case CLS_POOL:
        return CLASS_pool;
    case CLS_VMSS:
        return CLASS_vmss;
    case CLS_PVS_PROXY:
        return CLASS_pvs_proxy;
    case CLS_VDI:
        return CLASS_vdi;
    case CLS_CERTIFICATE:
        return CLASS_certificate;
    case CLS_VMPP:
        break; /* the class is gone, so nothing has such a uuid */
    }
    return -1;
}

static struct error *check_object(struct call *call, enum cls cls, const char *uuid)
{
    const char *name = enum_name(api_fields[FIELD_message_cls].type->enum_desc, (int)cls);
    int class_id = class_of(cls);
    ref_t ref;

    if (class_id < 0 || db_by_uuid(call, class_id, uuid, &ref) != OK)
        return err_uuid_invalid(call, name, uuid);
    return OK;
}

struct create {
    struct message what;
    ref_t ref;
};

static struct error *create_txn(struct txn *txn, void *arg)
{
    struct create *c = arg;

    c->ref = add_message(txn, &c->what);
    return OK;
}

struct error *message_create(struct call *call, const struct message_create_args *args,
                             ref_t *result)
{
    struct create c = {.what = {.name = args->name,
                                .priority = args->priority,
                                .cls = args->cls,
                                .obj_uuid = args->obj_uuid,
                                .body = args->body}};

    if (strlen(args->name) > MESSAGE_NAME_MAX)
        return err_invalid_value(call, "name", "longer than a message's name may be");
    if (strlen(args->body) > MESSAGE_BODY_MAX)
        return err_invalid_value(call, "body", "longer than a message's body may be");
    TRY(check_object(call, args->cls, args->obj_uuid));
    TRY(db_update(call, create_txn, &c));
    mailer_look(call->xapid->mailer);
    *result = c.ref;
    return OK;
}

/*** removing ***/

struct error *message_destroy(struct call *call, const struct message_destroy_args *args)
{
    return db_update(call, db_destroy_txn, &(struct db_destroy){CLASS_message, args->self});
}

/* All or none: the first that does not exist is the error. */
static struct error *destroy_many_txn(struct txn *txn, void *arg)
{
    const struct refs *refs = arg;
    const struct message *row;

    for (size_t i = 0; i < refs->n; i++) {
        TRY(TXN_GET(txn, message, refs->v[i], &row));
        txn_destroy(txn, CLASS_message, refs->v[i]);
    }
    return OK;
}

static int by_ref(const void *a, const void *b)
{
    const ref_t *x = a, *y = b;

    if (x->hi != y->hi)
        return x->hi < y->hi ? -1 : 1;
    return (x->lo > y->lo) - (x->lo < y->lo);
}

/* Sorted and without repetitions. */
static struct refs distinct(struct arena *arena, struct refs refs)
{
    ref_t *v = arena_memdup(arena, refs.v, refs.n * sizeof *v);
    size_t n = 0;

    qsort(v, refs.n, sizeof *v, by_ref);
    for (size_t i = 0; i < refs.n; i++)
        if (!n || !ref_equal(v[n - 1], v[i]))
            v[n++] = v[i];
    return (struct refs){n, v};
}

struct error *message_destroy_many(struct call *call, const struct message_destroy_many_args *args)
{
    struct refs refs = {args->messages.n, args->messages.v};

    if (refs.n > MESSAGES_MAX)
        return err_invalid_value(call, "messages", "more than there can be");
    refs = distinct(call->arena, refs);
    return refs.n ? db_update(call, destroy_many_txn, &refs) : OK;
}

/* Which of the known filters a message must satisfy; NULL: any. */
struct filters {
    const char *name, *priority, *cls, *obj_uuid;
    usec_t before, after;
};

static struct error *read_filters(struct call *call, const struct strmap *map, struct filters *out)
{
    *out = (struct filters){.before = INT64_MAX, .after = INT64_MIN};
    for (size_t i = 0; i < map->n; i++) {
        const char *key = map->v[i].key, *value = map->v[i].value;
        bool good = true;

        if (strcmp(key, "name") == 0)
            out->name = value;
        else if (strcmp(key, "priority") == 0)
            out->priority = value;
        else if (strcmp(key, "class") == 0 || strcmp(key, "cls") == 0)
            out->cls = value;
        else if (strcmp(key, "obj_uuid") == 0 || strcmp(key, "obj-uuid") == 0)
            out->obj_uuid = value;
        else if (strcmp(key, "before") == 0)
            good = date_from_text(value, &out->before);
        else if (strcmp(key, "after") == 0)
            good = date_from_text(value, &out->after);
        else
            return err_invalid_value(call, "filters", key); /* a wrong word must not select all */
        if (!good)
            return err_invalid_value(call, key, value);
    }
    return OK;
}

static bool selected(const struct message *m, const struct filters *f)
{
    char priority[INT_TEXT_SIZE];

    int_to_text(m->priority, priority);
    return (!f->name || strcmp(f->name, m->name) == 0) &&
           (!f->priority || strcmp(f->priority, priority) == 0) &&
           (!f->cls || strcmp(f->cls, enum_name(api_fields[FIELD_message_cls].type->enum_desc,
                                                (int)m->cls)) == 0) &&
           (!f->obj_uuid || strcmp(f->obj_uuid, m->obj_uuid) == 0) && m->timestamp < f->before &&
           m->timestamp > f->after;
}

static struct error *destroy_all_txn(struct txn *txn, void *arg)
{
    const struct filters *filters = arg;
    const struct message *row;
    struct db_walk walk;

    db_walk(txn_snap(txn), CLASS_message, &walk);
    while ((row = db_walk_next(&walk)))
        if (selected(row, filters) && txn_find(txn, CLASS_message, row->ref))
            txn_destroy(txn, CLASS_message, row->ref);
    return OK;
}

struct error *message_destroy_all(struct call *call, const struct message_destroy_all_args *args)
{
    struct filters filters;

    TRY(read_filters(call, &args->filters, &filters));
    return db_update(call, destroy_all_txn, &filters);
}

/*** reading ***/

struct entry { /* of map ref message record message */
    ref_t ref;
    const struct message *record;
};

/* The row belongs to the call's snapshot, which has gone by the time the result is written. */
static const struct message *own_copy(struct call *call, const struct message *row)
{
    const struct message *copy;

    value_copy(call->arena, api_classes[CLASS_message].record_type, &row, &copy);
    return copy;
}

/* Copies of the rows that 'wanted' wants. */
static struct map select_messages(struct call *call,
                                  bool (*wanted)(const struct message *m, const void *arg),
                                  const void *arg)
{
    size_t count = snap_root(call->snap)->tables[CLASS_message].count, n = 0;
    struct entry *v = arena_array(call->arena, struct entry, count + 1);
    const struct message *row;
    struct db_walk walk;

    db_walk(call->snap, CLASS_message, &walk);
    while ((row = db_walk_next(&walk)))
        if (!wanted || wanted(row, arg))
            v[n++] = (struct entry){row->ref, own_copy(call, row)};
    return (struct map){n, v};
}

static bool about_object(const struct message *m, const void *arg)
{
    const struct message_get_args *args = arg;

    return m->cls == args->cls && strcmp(m->obj_uuid, args->obj_uuid) == 0 &&
           m->timestamp > args->since;
}

static bool since_then(const struct message *m, const void *arg)
{
    const struct message_get_since_args *args = arg;

    return m->timestamp > args->since;
}

struct error *message_get(struct call *call, const struct message_get_args *args,
                          struct map *result)
{
    TRY(check_object(call, args->cls, args->obj_uuid));
    *result = select_messages(call, about_object, args);
    return OK;
}

struct error *message_get_since(struct call *call, const struct message_get_since_args *args,
                                struct map *result)
{
    *result = select_messages(call, since_then, args);
    return OK;
}

struct error *message_get_all_records(struct call *call, struct map *result)
{
    *result = select_messages(call, NULL, NULL);
    return OK;
}

struct error *message_get_all(struct call *call, struct refs *result)
{
    size_t count = snap_root(call->snap)->tables[CLASS_message].count, n = 0;
    ref_t *v = arena_array(call->arena, ref_t, count + 1);
    const struct message *row;
    struct db_walk walk;

    db_walk(call->snap, CLASS_message, &walk);
    while ((row = db_walk_next(&walk)))
        v[n++] = row->ref;
    *result = (struct refs){n, v};
    return OK;
}

struct error *message_get_record(struct call *call, const struct message_get_record_args *args,
                                 const struct message **result)
{
    const struct message *row;

    TRY(DB_GET(call, message, args->self, &row));
    *result = own_copy(call, row);
    return OK;
}

struct error *message_get_by_uuid(struct call *call, const struct message_get_by_uuid_args *args,
                                  ref_t *result)
{
    return db_by_uuid(call, CLASS_message, args->uuid, result);
}

struct error *message_get_all_records_where(struct call *call,
                                            const struct message_get_all_records_where_args *args,
                                            struct map *result)
{
    struct filter *filter;
    struct rows rows;
    struct entry *v;

    TRY(filter_parse(call->arena, &api_classes[CLASS_message], args->expr, &filter));
    TRY(filter_rows(call->arena, filter, snap_root(call->snap), NULL, &rows));
    v = arena_array(call->arena, struct entry, rows.n + 1);
    for (size_t i = 0; i < rows.n; i++)
        v[i] = (struct entry){((const struct row *)rows.v[i])->ref, own_copy(call, rows.v[i])};
    *result = (struct map){rows.n, v};
    return OK;
}
