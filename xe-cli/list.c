/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* list.c -- <class>-list: filters and what is shown. */
#include "xe-cli/list.h"

#include <string.h>
#include <strings.h>

/* The longest set or map whose name, and a separator, begins 'name'. */
static const struct xe_param *longest(const struct xe_class *class, const char *name, unsigned kind)
{
    const struct xe_param *best = NULL;

    for (size_t i = 0; i < class->n_params; i++) {
        const struct xe_param *p = &class->params[i];
        size_t n = strlen(p->name);

        if ((p->flags & kind) && !strncmp(p->name, name, n) && name[n] == '-' &&
            (!best || n > strlen(best->name)))
            best = p;
    }
    return best;
}

struct error *list_resolve(struct xe *xe, const struct xe_class *class, const char *name,
                           struct param_name *out)
{
    const char *colon = strchr(name, ':');
    const struct xe_param *p = xe_param_by_name(class, name);

    *out = (struct param_name){p, NULL};
    if (p)
        return OK;
    if (colon) {
        p = xe_param_by_name(class, arena_strndup(&xe->arena, name, (size_t)(colon - name)));
        if (p && !(p->flags & (XE_SET | XE_MAP)))
            return xe_fail(xe, "Field '%s' is not a set or map", p->name);
    } else {
        p = longest(class, name, XE_MAP);
        if (!p)
            p = longest(class, name, XE_SET);
    }
    if (!p)
        return xe_fail(xe, "Unknown field '%s'", name);
    *out = (struct param_name){p, name + strlen(p->name) + 1};
    return OK;
}

static bool same(const struct xe_param *p, const char *a, const char *b)
{
    return p->flags & XE_NOCASE ? !strcasecmp(a, b) : !strcmp(a, b);
}

static bool set_has(const struct xe_param *p, const struct strings *set, const char *value)
{
    for (size_t i = 0; i < set->n; i++)
        if (same(p, set->v[i], value))
            return true;
    return false;
}

static bool map_has(const struct xe_param *p, const struct xe_params *map, const char *key,
                    const char *value)
{
    for (size_t i = 0; i < map->n; i++)
        if (same(p, map->v[i].key, key))
            return same(p, map->v[i].value, value);
    return false;
}

static struct error *matches(struct xe *xe, const struct xe_class *class,
                             const struct param_name *n, const char *value,
                             const struct xe_object *object, bool *out)
{
    struct field_value v;
    const char *text;

    if (!n->key) {
        TRY(field_text(xe, class, n->param, object, &text));
        *out = same(n->param, text, value);
        return OK;
    }
    TRY(field_value(xe, class, n->param, object, &v));
    *out = n->param->flags & XE_SET ? set_has(n->param, &v.set, value)
                                    : map_has(n->param, &v.map, n->key, value);
    return OK;
}

struct error *list_filter(struct xe *xe, const struct xe_class *class, const char *name,
                          const char *value, struct xe_object_list *objects)
{
    struct xe_object *kept;
    struct param_name resolved;
    size_t n = 0;

    if (objects->n == 0)
        return OK;
    TRY(list_resolve(xe, class, name, &resolved));
    if (resolved.key && (resolved.param->flags & XE_SET) && strcmp(resolved.key, "contains") != 0)
        return xe_fail(xe, "Invalid syntax for set filtering (should be set-param:contains=key)");
    kept = arena_array(&xe->arena, struct xe_object, objects->n);
    for (size_t i = 0; i < objects->n; i++) {
        bool keep = false;

        TRY(matches(xe, class, &resolved, value, &objects->v[i], &keep));
        if (keep)
            kept[n++] = objects->v[i];
    }
    *objects = (struct xe_object_list){n, kept};
    return OK;
}

static bool is_chosen(const struct strings *chosen, const char *defaults, const char *name)
{
    if (!chosen->n)
        return !*defaults || xe_word_in(defaults, name);
    for (size_t i = 0; i < chosen->n; i++)
        if (!strcmp(chosen->v[i], name))
            return true;
    return false;
}

static struct error *record_shown(struct xe *xe, const struct xe_class *class,
                                  const struct xe_object *object, const struct strings *chosen,
                                  const char *defaults, bool in_list, struct xe_params *out)
{
    struct xe_pair *v = arena_array(&xe->arena, struct xe_pair, class->n_params + 1);
    size_t n = 0;

    for (size_t i = 0; i < class->n_params; i++) {
        const struct xe_param *p = &class->params[i];

        if (!(p->flags & XE_HIDDEN) && is_chosen(chosen, defaults, p->name))
            TRY(field_shown(xe, class, p, object, in_list, &v[n++]));
    }
    *out = (struct xe_params){n, v};
    return OK;
}

struct error *list_show(struct xe *xe, const struct xe_class *class,
                        const struct xe_object_list *objects, const char *chosen,
                        const char *defaults, bool in_list)
{
    struct xe_params *records = arena_array(&xe->arena, struct xe_params, objects->n + 1);
    struct strings names = {0};

    if (chosen && !strcmp(chosen, "all"))
        defaults = "";
    else if (chosen)
        names = xe_split(xe, chosen, ',');
    for (size_t i = 0; i < objects->n; i++)
        TRY(record_shown(xe, class, &objects->v[i], &names, defaults, in_list, &records[i]));
    out_table(&xe->out, records, objects->n);
    return OK;
}

/* Roles of the API include every permission; only those that can be given are listed. */
static void only_real_roles(struct xe *xe, struct xe_object_list *objects)
{
    struct xe_object *kept = arena_array(&xe->arena, struct xe_object, objects->n + 1);
    size_t n = 0;

    for (size_t i = 0; i < objects->n; i++) {
        const struct wire *sub = xe_member(objects->v[i].record, "subroles");
        bool real = sub && sub->kind == WIRE_ARRAY && sub->n > 0;

        for (int r = 0; r < ROLE_COUNT && !real; r++)
            real = !strcmp(xe_member_text(objects->v[i].record, "name_label"), api_role_names[r]);
        if (real)
            kept[n++] = objects->v[i];
    }
    *objects = (struct xe_object_list){n, kept};
}

static struct error *apply_filters(struct xe *xe, const struct xe_class *class,
                                   struct xe_object_list *objects)
{
    struct strings own = xe_split(xe, class->filters, ' ');

    for (size_t i = 0; i < own.n; i++) {
        const char *eq = strchr(own.v[i], '=');

        TRY(list_filter(xe, class, arena_strndup(&xe->arena, own.v[i], (size_t)(eq - own.v[i])),
                        eq + 1, objects));
    }
    for (size_t i = 0; i < xe->params.n; i++) {
        const struct xe_pair *p = &xe->params.v[i];

        if (args_standard(p->key) || !strcmp(p->key, "params") || !strncmp(p->key, "database:", 9))
            continue;
        TRY(list_filter(xe, class, p->key, p->value, objects));
    }
    return OK;
}

struct error *list_run(struct xe *xe, const struct xe_class *class)
{
    struct xe_object_list all, objects;
    bool everything;

    TRY(xe_flag(xe, "all", false, &everything));
    TRY(objects_all(xe, class->api, &all));
    if (!strcmp(class->api, "role"))
        only_real_roles(xe, &all);
    objects = all;
    TRY(apply_filters(xe, class, &objects));
    return list_show(xe, class, everything ? &all : &objects, args_get(&xe->params, "params"),
                     class->defaults, true);
}
