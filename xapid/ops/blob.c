/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xapid/ops/blob.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "libxapi/base/log.h"
#include "libxapi/base/seam.h"
#include "xapid/db/ready.h"
#include "xapid/db/row.h"
#include "xapid/main/xapid.h"
#include "xapid/ops/registry.h"
#include "xapid/ops/host/here.h"

#define DEFAULT_TYPE "application/octet-stream"
#define TEXT_LIMIT 256

/*** records ***/

struct new_blob {
    const char *name, *mime_type;
    bool public;
    int owner_field; /* its map of blobs; < 0: it belongs to nothing */
    ref_t owner;
    ref_t ref;
};

static struct error *create_txn(struct txn *txn, void *arg)
{
    const struct new_blob *b = arg;
    struct blob row;
    char uuid[UUID_TEXT_SIZE];
    const void *owner;

    if (b->owner_field >= 0)
        TRY(txn_get(txn, api_fields[b->owner_field].class_id, b->owner, &owner));
    if (snap_root(txn_snap(txn))->tables[CLASS_blob].count >= BLOBS_MAX)
        return err_operation_not_allowed(txn_call(txn), "There are as many blobs as there can be.");
    row_defaults(&api_classes[CLASS_blob], &row);
    row.ref = b->ref;
    row.uuid = uuid_new(uuid);
    row.name_label = b->name;
    row.mime_type = *b->mime_type ? b->mime_type : DEFAULT_TYPE;
    row.public = b->public;
    txn_create(txn, CLASS_blob, &row);
    if (b->owner_field >= 0)
        txn_map_add(txn, b->owner_field, b->owner, &b->name, &b->ref);
    return OK;
}

static struct error *create(struct call *call, struct new_blob *b, ref_t *result)
{
    if (strlen(b->name) > TEXT_LIMIT)
        return err_invalid_value(call, "name", "too long");
    if (strlen(b->mime_type) > TEXT_LIMIT)
        return err_invalid_value(call, "mime_type", "too long");
    *result = b->ref = ref_new();
    return db_update(call, create_txn, b);
}

struct error *blob_create(struct call *call, const struct blob_create_args *args, ref_t *result)
{
    return create(call,
                  &(struct new_blob){"", args->mime_type, args->public, -1, REF_NULL, REF_NULL},
                  result);
}

/* The messages of all classes that have blobs are alike. */
#define CREATE_NEW_BLOB(class)                                                                     \
    struct error *class##_create_new_blob(                                                         \
        struct call *call, const struct class##_create_new_blob_args *args, ref_t *result)         \
    {                                                                                              \
        return create(call,                                                                        \
                      &(struct new_blob){args->name, args->mime_type, args->public,                \
                                         FIELD_##class##_blobs, args->class, REF_NULL},            \
                      result);                                                                     \
    }

CREATE_NEW_BLOB(vm)
CREATE_NEW_BLOB(host)
CREATE_NEW_BLOB(sr)
CREATE_NEW_BLOB(network)
CREATE_NEW_BLOB(pool)

struct error *blob_destroy(struct call *call, const struct blob_destroy_args *args)
{
    TRY(db_update(call, db_destroy_txn, &(struct db_destroy){CLASS_blob, args->self}));
    blobs_sweep(call);
    return OK;
}

void txn_blobs_destroy(struct txn *txn, const struct refmap *blobs)
{
    for (size_t i = 0; i < blobs->n; i++)
        if (txn_find(txn, CLASS_blob, blobs->v[i].value))
            txn_destroy(txn, CLASS_blob, blobs->v[i].value);
}

/*** files ***/

static const char *folder(const struct call *call)
{
    return arena_printf(call->arena, "%s/blobs", call->xapid->options.state_dir);
}

static struct error *failed(const struct call *call, const char *path)
{
    return error_internal(call->arena, "blob %s: %s", path, strerror(errno));
}

static const struct blob_data *data_of(const struct call *call, ref_t blob)
{
    struct refs rows = db_referrers(call, FIELD_blob_data_blob, blob);

    return rows.n ? db_find(call, CLASS_blob_data, rows.v[0]) : NULL;
}

struct error *blob_path(struct call *call, ref_t blob, const char **path)
{
    const struct blob_data *data = data_of(call, blob);
    const struct blob *row;

    *path = NULL;
    TRY(DB_GET(call, blob, blob, &row));
    if (data)
        TRY(host_is_here(call, data->host));
    if (data)
        *path = arena_printf(call->arena, "%s/%s", folder(call), data->file);
    return OK;
}

struct error *blob_upload_begin(struct call *call, ref_t blob, struct blob_upload *out)
{
    struct blob_put_intent intent = {.blob = blob};
    const struct blob *row;

    TRY(DB_GET(call, blob, blob, &row));
    if (mkdir(folder(call), 0700) < 0 && errno != EEXIST)
        return failed(call, folder(call));
    out->blob = blob;
    out->file = intent.file = uuid_new(arena_alloc(call->arena, UUID_TEXT_SIZE));
    TRY(op_begin(call, &(struct op_spec){.kind = INTENT_blob_put, .intent = &intent}, &out->op));
    out->path = arena_printf(call->arena, "%s/%s", folder(call), out->file);
    out->fd = open(out->path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (out->fd < 0) {
        out->fd = 0;
        return failed(call, out->path);
    }
    return op_step(&out->op, "opened", 0.1);
}

struct storing {
    ref_t blob, host;
    const char *file;
    int64_t size;
    usec_t now;
};

static struct error *stored_txn(struct txn *txn, void *arg)
{
    const struct storing *s = arg;
    struct refs old = txn_referrers(txn, FIELD_blob_data_blob, s->blob);
    const struct blob *blob;
    struct blob_data row;

    TRY(TXN_GET(txn, blob, s->blob, &blob));
    TXN_SET(txn, blob, s->blob, size, s->size);
    TXN_SET(txn, blob, s->blob, last_updated, s->now);
    for (size_t i = 0; i < old.n; i++)
        txn_destroy(txn, CLASS_blob_data, old.v[i]);
    row_defaults(&api_classes[CLASS_blob_data], &row);
    row.ref = ref_new();
    row.blob = s->blob;
    row.host = s->host;
    row.file = s->file;
    txn_create(txn, CLASS_blob_data, &row);
    return OK;
}

static struct error *make_durable(const struct call *call, int fd, int64_t *size)
{
    int dir = open(folder(call), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    struct stat st = {0};
    bool done = dir >= 0 && fsync(fd) == 0 && fstat(fd, &st) == 0 && fsync(dir) == 0;
    int saved = errno;

    if (dir >= 0)
        close(dir);
    errno = saved;
    *size = st.st_size;
    return done ? OK : failed(call, folder(call));
}

struct error *blob_upload_end(struct blob_upload *u)
{
    struct call *call = u->op.call;
    struct storing s = {u->blob, call->xapid->host, u->file, 0, clock_wall()};

    TRY(make_durable(call, u->fd, &s.size));
    TRY(op_step(&u->op, "stored", 0.9));
    TRY(op_commit(&u->op, stored_txn, &s));
    close(u->fd);
    u->fd = 0;
    blobs_sweep(call); /* its former data */
    return OK;
}

void blob_upload_release(struct blob_upload *u)
{
    if (u->fd) {
        close(u->fd);
        if (op_may_undo(&u->op))
            unlink(u->path);
    }
    u->fd = 0;
    op_release(&u->op);
}

struct error *blob_put_recover(struct call *call, struct op *op,
                               const struct blob_put_intent *intent)
{
    if (strchr(intent->file, '/'))
        return error_internal(call->arena, "blob: '%s' is no name of a file", intent->file);
    /* An intent that is still there was not carried out. */
    unlink(arena_printf(call->arena, "%s/%s", folder(call), intent->file));
    return op_commit(op, NULL, NULL);
}

/*** what nobody needs any more ***/

static bool is_being_written(const struct call *call, const char *file)
{
    const struct intent *row;
    struct db_walk walk;

    db_walk(call->snap, CLASS_intent, &walk);
    while ((row = db_walk_next(&walk)))
        if (strcmp(row->kind, api_intents[INTENT_blob_put].name) == 0 && strstr(row->data, file))
            return true;
    return false;
}

static bool is_needed(const struct call *call, const char *file)
{
    const struct blob_data *row;
    struct db_walk walk;

    db_walk(call->snap, CLASS_blob_data, &walk);
    while ((row = db_walk_next(&walk)))
        if (strcmp(row->file, file) == 0 && !ref_is_null(row->blob))
            return true;
    return is_being_written(call, file);
}

static struct error *sweep_txn(struct txn *txn, void *arg)
{
    const struct blob_data *row;
    struct db_walk walk;

    (void)arg;
    db_walk(txn_snap(txn), CLASS_blob_data, &walk);
    while ((row = db_walk_next(&walk)))
        if (ref_is_null(row->blob) && txn_find(txn, CLASS_blob_data, row->ref))
            txn_destroy(txn, CLASS_blob_data, row->ref);
    return OK;
}

void blobs_sweep(struct call *call)
{
    size_t n = 0, room = BLOBS_MAX + 64;
    const char **names, *path = folder(call);
    DIR *dir = opendir(path);
    const struct dirent *d;
    struct error *e;

    if (!dir)
        return; /* there was never any data */
    names = arena_array(call->arena, const char *, room);
    while (n < room && (d = readdir(dir)))
        if (strcmp(d->d_name, ".") != 0 && strcmp(d->d_name, "..") != 0)
            names[n++] = arena_strdup(call->arena, d->d_name);
    closedir(dir);
    /* Newer than the names: of each of them it knows whose it is. */
    call_refresh(call);
    for (size_t i = 0; i < n; i++)
        if (!is_needed(call, names[i]))
            unlink(arena_printf(call->arena, "%s/%s", path, names[i]));
    e = db_update(call, sweep_txn, NULL);
    if (e)
        log_warning("records of blobs that are gone stay: %s", error_line(call->arena, e));
}
