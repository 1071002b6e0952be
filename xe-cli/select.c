/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* select.c -- the objects a command is for. */
#include "xe-cli/select.h"

#include <string.h>

#include "xe-cli/errors.h"
#include "xe-cli/list.h"

/* The selector that names objects directly, and what it may be equal to. */
static const struct selector {
    const char *api, *param, *what, *whats;
    const char *fields[3];
} selectors[] = {
    {"VM", "vm", "VM", "VMs", {"uuid", "name_label", NULL}},
    {"host", "host", "host", "hosts", {"uuid", "hostname", "name_label"}},
    {"SR", "sr", "SR", "SRs", {"uuid", "name_label", NULL}},
};

static const struct selector *selector_of(const char *class)
{
    for (size_t i = 0; i < ARRAY_SIZE(selectors); i++)
        if (!strcmp(selectors[i].api, class))
            return &selectors[i];
    return NULL;
}

static bool is_named(const struct selector *s, const struct wire *record, const char *name)
{
    for (size_t i = 0; i < ARRAY_SIZE(s->fields); i++)
        if (s->fields[i] && !strcmp(xe_member_text(record, s->fields[i]), name))
            return true;
    return false;
}

static void keep_named(struct xe *xe, const struct selector *s, const char *name,
                       struct xe_object_list *objects)
{
    struct xe_object *kept = arena_array(&xe->arena, struct xe_object, objects->n + 1);
    size_t n = 0;

    for (size_t i = 0; i < objects->n; i++)
        if (is_named(s, objects->v[i].record, name))
            kept[n++] = objects->v[i];
    *objects = (struct xe_object_list){n, kept};
}

/* "device-config:x" and "device-config" alike. */
static bool is_ignored(struct xe *xe, const char *ignore, const char *key)
{
    const char *stem = arena_strndup(&xe->arena, key, strcspn(key, ":"));

    return args_standard(stem) || xe_word_in(ignore, stem);
}

struct error *select_objects(struct xe *xe, const char *class, unsigned flags, const char *ignore,
                             struct xe_object_list *out)
{
    const struct selector *s = selector_of(class);
    const struct xe_class *c = xe_class_by_api(class);
    const char *named = args_get(&xe->params, s->param);

    TRY(objects_all(xe, class, out));
    if (!strcmp(class, "VM")) {
        if (!(flags & SELECT_TEMPLATES))
            TRY(list_filter(xe, c, "is-a-template", "false", out));
        if (!(flags & SELECT_CONTROL))
            TRY(list_filter(xe, c, "is-control-domain", "false", out));
    }
    if (named && !xe_word_in(ignore, s->param))
        keep_named(xe, s, named, out);
    for (size_t i = 0; i < xe->params.n; i++) {
        const struct xe_pair *p = &xe->params.v[i];

        if (!strcmp(p->key, s->param) || is_ignored(xe, ignore, p->key))
            continue;
        TRY(list_filter(xe, c, p->key, p->value, out));
    }
    return OK;
}

/* XE_MULTIPLE with a uuid and a text for each failure. */
static struct error *multiple_failure(struct xe *xe, size_t n, const char *const *params)
{
    struct error *e = arena_zalloc(&xe->arena, sizeof *e + 2 * n * sizeof e->params[0]);

    e->code = XE_MULTIPLE;
    e->n_params = 2 * n;
    memcpy(e->params, params, 2 * n * sizeof params[0]);
    return e;
}

static struct error *each(struct xe *xe, const struct xe_object_list *objects,
                          struct error *(*op)(struct xe *xe, const struct xe_object *object,
                                              void *ctx),
                          void *ctx)
{
    const char **failures = arena_array(&xe->arena, const char *, 2 * objects->n);
    size_t n = 0;

    for (size_t i = 0; i < objects->n; i++) {
        struct error *e = op(xe, &objects->v[i], ctx);

        if (!e)
            continue;
        failures[2 * n] = xe_member_text(objects->v[i].record, "uuid");
        failures[2 * n + 1] = errors_text(xe, e);
        n++;
    }
    return n ? multiple_failure(xe, n, failures) : OK;
}

struct error *select_each(struct xe *xe, const char *class, unsigned flags, const char *ignore,
                          struct error *(*op)(struct xe *xe, const struct xe_object *object,
                                              void *ctx),
                          void *ctx)
{
    const struct selector *s = selector_of(class);
    struct xe_object_list objects;
    bool multiple;

    TRY(select_objects(xe, class, flags, ignore, &objects));
    TRY(xe_flag(xe, "multiple", false, &multiple));
    if (objects.n == 0)
        return xe_fail(xe, "No matching %s found", s->whats);
    if (objects.n == 1)
        return op(xe, &objects.v[0], ctx);
    if (flags & SELECT_SINGLE)
        return xe_fail(xe, "Multiple %s found. Operation can only be performed on one %s at a time",
                       !strcmp(class, "VM") ? "matches VMs"
                                            : arena_printf(&xe->arena, "matching %s", s->whats),
                       s->what);
    if (!multiple)
        return xe_fail(xe, "Multiple %s found. --multiple required to complete the operation",
                       !strcmp(class, "VM") ? "matches VMs"
                                            : arena_printf(&xe->arena, "matching %s", s->whats));
    return each(xe, &objects, op, ctx);
}

struct error *select_host(struct xe *xe, const char *name, struct xe_object *out)
{
    struct xe_object_list hosts;

    TRY(objects_all(xe, "host", &hosts));
    keep_named(xe, selector_of("host"), name, &hosts);
    if (hosts.n == 0)
        return xe_fail(xe, "Host %s not found", name);
    *out = hosts.v[0];
    return OK;
}
