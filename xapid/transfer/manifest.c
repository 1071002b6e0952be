/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xapid/transfer/manifest.h"

#include <stdlib.h>
#include <string.h>

#include "libxapi/base/memory.h"
#include "xapid/db/db.h"

static struct error *bad(struct call *call, const char *why)
{
    return err_import_error(call,
                            arena_printf(call->arena, MANIFEST_NAME " cannot be read: %s.", why));
}

bool manifest_id_is_null(const char *id)
{
    return !*id || strcmp(id, "OpaqueRef:NULL") == 0 || strcmp(id, "NULL") == 0 ||
           strcmp(id, "Ref:NULL") == 0;
}

/*** reading ***/

static int by_id(const void *a, const void *b)
{
    return strcmp(((const struct manifest_object *)a)->id, ((const struct manifest_object *)b)->id);
}

/* An id is a folder's name in the archive: no slash, nothing that cannot be seen. */
static bool id_is_good(const char *id)
{
    size_t n = strlen(id);

    for (const char *p = id; *p; p++)
        if ((unsigned char)*p <= ' ' || *p == '/' || *p == 0x7f)
            return false;
    return n <= MANIFEST_ID_MAX && !manifest_id_is_null(id);
}

static struct error *read_object(struct call *call, const struct wire *wire,
                                 struct manifest_object *out)
{
    const struct wire *class = wire_member(wire, "class"), *id = wire_member(wire, "id"),
                      *record = wire_member(wire, "snapshot");

    if (!class || class->kind != WIRE_STRING || !id || id->kind != WIRE_STRING || !record ||
        record->kind != WIRE_STRUCT)
        return bad(call, "an object in it lacks its class, id or snapshot");
    if (!id_is_good(id->text))
        return bad(call, "an object's id is none");
    *out = (struct manifest_object){
        .class = api_class_by_name(class->text), .id = id->text, .record = record};
    return OK;
}

static struct error *read_objects(struct call *call, const struct wire *objects,
                                  struct manifest *out)
{
    if (!objects || objects->kind != WIRE_ARRAY)
        return bad(call, "it has no objects");
    if (objects->n > MANIFEST_MAX_OBJECTS)
        return bad(call, "it has too many objects");
    out->v = arena_array(call->arena, struct manifest_object, objects->n + 1);
    for (; out->n < objects->n; out->n++) {
        TRY(read_object(call, &objects->v[out->n], &out->v[out->n]));
        out->v[out->n].place = out->n;
    }
    qsort(out->v, out->n, sizeof *out->v, by_id);
    for (size_t i = 1; i < out->n; i++)
        if (by_id(&out->v[i - 1], &out->v[i]) == 0)
            return bad(call, arena_printf(call->arena, "two objects have the id %s", out->v[i].id));
    return OK;
}

/* Numbers are written without a type. */
static bool read_int(const struct wire *wire, int64_t *out)
{
    if (!wire)
        return false;
    *out = wire->i;
    return wire->kind == WIRE_INT || (wire->kind == WIRE_STRING && int_from_text(wire->text, out));
}

struct error *manifest_read(struct call *call, const char *text, size_t n, struct manifest *out)
{
    const struct wire *wire;

    *out = (struct manifest){0};
    if (!xmlrpc_read_value(call->arena, text, n, &wire))
        return bad(call, "it is no XML-RPC value");
    if (wire->kind != WIRE_STRUCT ||
        !read_int(wire_member(wire_member(wire, "version"), "export_vsn"), &out->version))
        return bad(call, "it does not say what version it is");
    if (out->version < 0 || out->version > MANIFEST_VERSION)
        return err_import_incompatible_version(call);
    return read_objects(call, wire_member(wire, "objects"), out);
}

struct error *manifest_receive(struct call *call, struct tar_reader *tar, int64_t limit,
                               struct manifest *out)
{
    AUTO(room) text = {0};
    bool found;
    size_t n;

    TRY(tar_next(call, tar, &found));
    if (!found)
        return err_import_error_premature_eof(call);
    if (strcmp(tar->name, MANIFEST_NAME) != 0)
        return err_import_error_unexpected_file(
            call, MANIFEST_NAME, utf8_clean(call->arena, tar->name, strlen(tar->name), &n));
    if (tar->size > limit)
        return bad(call, "it is too long");
    text.p = xmalloc((size_t)tar->size + 1);
    n = (size_t)tar->size;
    TRY(tar_read(call, tar, text.p, n));
    text.p[n] = '\0';
    return manifest_read(call, text.p, n, out);
}

/*** looking up ***/

struct manifest_object *manifest_find(const struct manifest *m, const char *id)
{
    struct manifest_object key = {.id = id};

    return m->n && !manifest_id_is_null(id) ? bsearch(&key, m->v, m->n, sizeof key, by_id) : NULL;
}

const char *manifest_find_text(const struct wire *map, const char *key)
{
    const struct wire *wire = wire_member(map, key);

    return wire && wire->text ? wire->text : "";
}

const char *manifest_text(const struct manifest_object *o, const char *field)
{
    return manifest_find_text(o->record, field);
}

bool manifest_flag(const struct manifest_object *o, const char *field)
{
    const struct wire *wire = wire_member(o->record, field);

    return wire && (wire->kind == WIRE_BOOL ? wire->i != 0
                                            : wire->text && (strcmp(wire->text, "true") == 0 ||
                                                             strcmp(wire->text, "1") == 0));
}

struct error *manifest_follow(struct call *call, const struct manifest *m,
                              const struct manifest_object *o, const char *field, int class_id,
                              struct manifest_object **out)
{
    const char *id = manifest_text(o, field);

    *out = NULL;
    if (manifest_id_is_null(id))
        return OK;
    *out = manifest_find(m, id);
    return *out && (*out)->class && (*out)->class->id == class_id
               ? OK
               : err_import_error_failed_to_find_object(call, id);
}
