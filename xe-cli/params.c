/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* params.c -- <class>-param-list, -get, -set, -add, -remove and -clear. */
#include "xe-cli/params.h"

#include <string.h>

#include "xe-cli/list.h"

bool params_settable(const struct xe_param *p)
{
    if (p->flags & (XE_SET | XE_MAP))
        return (p->flags & XE_SETTABLE) != 0;
    return (p->flags & XE_RW) != 0;
}

bool params_addable(const struct xe_param *p)
{
    return (p->flags & (XE_SET | XE_MAP)) && (p->flags & XE_RW);
}

bool params_clearable(const struct xe_param *p)
{
    return params_settable(p) || (p->flags & (XE_SET | XE_MAP));
}

static struct error *the_object(struct xe *xe, const struct xe_class *class, struct xe_object *out)
{
    return object_by_uuid(xe, class->api, args_get(&xe->params, "uuid"), out);
}

/* The parameter that param-name= names. */
static struct error *the_param(struct xe *xe, const struct xe_class *class,
                               const struct xe_param **out)
{
    const char *name = args_get(&xe->params, "param-name");

    *out = xe_param_by_name(class, name);
    return *out ? OK : error_new(&xe->arena, "Missing parameter", 1, name);
}

struct error *params_list(struct xe *xe, const struct xe_class *class)
{
    struct xe_object object;

    TRY(the_object(xe, class, &object));
    return list_show(xe, class, &(struct xe_object_list){1, &object}, "all", "", false);
}

struct error *params_get(struct xe *xe, const struct xe_class *class)
{
    const char *key = args_get(&xe->params, "param-key"), *text;
    const struct xe_param *param;
    struct field_value value;
    struct xe_object object;

    TRY(the_object(xe, class, &object));
    TRY(the_param(xe, class, &param));
    if (!key || !(param->flags & XE_MAP)) {
        TRY(field_text(xe, class, param, &object, &text));
        out_text(&xe->out, text);
        return OK;
    }
    TRY(field_value(xe, class, param, &object, &value));
    text = args_get(&value.map, key);
    if (!text)
        return xe_fail(xe, "Key %s not found in map", key);
    out_text(&xe->out, text);
    return OK;
}

/* --- Changing --- */

static const char *stem_of(const struct xe_param *p)
{
    return p->stem ? p->stem : p->path;
}

/* Some sets have elements of another name: pool.add_repository, but pool.set_repositories. */
static void method_name(struct buf *out, const struct xe_class *class, const char *verb,
                        const struct xe_param *p)
{
    AUTO(buf) name = {0};

    buf_printf(&name, "%s.%s%s", class->api, verb, stem_of(p));
    if (api_message_by_name(name.data))
        buf_puts(out, name.data);
    else
        buf_printf(out, "%s.%s%s", class->api, verb, p->path);
}

static const char *method_of(struct xe *xe, const struct xe_class *class, const char *verb,
                             const struct xe_param *p)
{
    AUTO(buf) name = {0};

    method_name(&name, class, verb, p);
    return arena_strdup(&xe->arena, name.data);
}

static struct error *changed(struct xe *xe, const char *method, const char *ref,
                             const struct buf *value)
{
    AUTO(buf) params = {0};

    xe_param_text(&params, ref);
    buf_puts(&params, "<param>");
    buf_add(&params, value->data, value->len);
    buf_puts(&params, "</param>");
    return xe_call_params(xe, method, &params, false, NULL);
}

static struct error *set_field(struct xe *xe, const struct xe_class *class,
                               const struct xe_param *p, const struct xe_object *object,
                               const char *text)
{
    const struct field_desc *f = field_of_param(class, p);
    const struct message_desc *m = api_message_by_name(method_of(xe, class, "set_", p));
    const struct type *type = m && m->n_params > 1 ? m->params[1].type : f ? f->type : NULL;
    AUTO(buf) value = {0};

    if (!type)
        return error_internal(&xe->arena, "%s of %s cannot be set", p->name, class->api);
    TRY(value_of_text(xe, p->name, type, text, p->flags & XE_BYTES, &value));
    return changed(xe, method_of(xe, class, "set_", p), object->ref, &value);
}

/* Keys and enum keys of maps: blocked-operations is the one whose keys are spelled otherwise. */
static struct error *key_of_text(struct xe *xe, const struct xe_class *class,
                                 const struct xe_param *p, const char *text, const char **out)
{
    const struct field_desc *f = field_of_param(class, p);

    *out = text;
    if (!f || f->type->kind != TYPE_MAP || f->type->key->kind != TYPE_ENUM)
        return OK;
    for (int i = 0; i < f->type->key->enum_desc->n; i++) {
        const char *name = f->type->key->enum_desc->names[i];

        if (!strcmp(name, text) || !strcmp(enum_shown(f->type->key->enum_desc, name), text)) {
            *out = name;
            return OK;
        }
    }
    return error_new(&xe->arena, "INVALID_VALUE", 2, "blocked_operation", text);
}

/* Where the API can only set a map as a whole: all keys but one, then that one if it has a value.
 */
static struct error *map_again(struct xe *xe, const struct xe_class *class,
                               const struct xe_param *p, const struct xe_object *object,
                               const char *key, const char *value)
{
    struct xe_object now = {.ref = object->ref};
    struct field_value old;
    struct xe_pair *v;
    size_t n = 0;

    /* Not from what was read before: this may be the second key that is changed. */
    TRY(xe_call(xe, &now.record, arena_printf(&xe->arena, "%s.get_record", class->api), "r",
                object->ref));
    TRY(field_value(xe, class, p, &now, &old));
    v = arena_array(&xe->arena, struct xe_pair, old.map.n + 1);
    for (size_t i = 0; i < old.map.n; i++)
        if (strcmp(old.map.v[i].key, key) != 0)
            v[n++] = old.map.v[i];
    if (value)
        v[n++] = (struct xe_pair){key, value};
    return xe_call(xe, NULL, method_of(xe, class, "set_", p), "rm", object->ref,
                   &(struct xe_params){n, v});
}

static struct error *map_add(struct xe *xe, const struct xe_class *class, const struct xe_param *p,
                             const struct xe_object *object, const char *key, const char *value)
{
    if (!strcmp(p->name, "VCPUs-params") && !xe_word_in("weight cap mask", key))
        return xe_fail(xe, "Failed to add parameter '%s': expecting 'weight','cap' or 'mask'", key);
    if (!api_message_by_name(method_of(xe, class, "add_to_", p)))
        return map_again(xe, class, p, object, key, value);
    TRY(key_of_text(xe, class, p, key, &key));
    return xe_call(xe, NULL, method_of(xe, class, "add_to_", p), "rss", object->ref, key, value);
}

static struct error *map_remove(struct xe *xe, const struct xe_class *class,
                                const struct xe_param *p, const struct xe_object *object,
                                const char *key)
{
    if (!api_message_by_name(method_of(xe, class, "remove_from_", p)))
        return map_again(xe, class, p, object, key, NULL);
    TRY(key_of_text(xe, class, p, key, &key));
    return xe_call(xe, NULL, method_of(xe, class, "remove_from_", p), "rs", object->ref, key);
}

static struct error *set_in_map(struct xe *xe, const struct xe_class *class,
                                const struct xe_param *p, const struct xe_object *object,
                                const char *key, const char *text)
{
    struct field_value value;

    if (p->flags & XE_SET_IN)
        return xe_call(xe, NULL, arena_printf(&xe->arena, "%s.set_property", class->api), "rss",
                       object->ref, key, text);
    if (!(p->flags & XE_RW))
        return xe_fail(xe, "Map field '%s' is read-only.", p->name);
    TRY(field_value(xe, class, p, object, &value));
    if (args_get(&value.map, key))
        TRY(map_remove(xe, class, p, object, key));
    return map_add(xe, class, p, object, key, text);
}

static struct error *set_one(struct xe *xe, const struct xe_class *class,
                             const struct xe_object *object, const char *name, const char *text)
{
    struct param_name n;

    TRY(list_resolve(xe, class, name, &n));
    if (n.key && (n.param->flags & XE_SET))
        return xe_fail(xe, "Cannot param-set on set fields");
    if (n.key && (n.param->flags & XE_SET_MAP))
        return OK; /* all of its keys together, at the end */
    if (n.key)
        return set_in_map(xe, class, n.param, object, n.key, text);
    if (params_settable(n.param))
        return set_field(xe, class, n.param, object, text);
    if (params_addable(n.param))
        return xe_fail(xe, "Field '%s' is a map or set. use the 'name:key=value' syntax.",
                       n.param->name);
    return xe_fail(xe, "Field '%s' is read-only.", n.param->name);
}

/* A map that can only be set as a whole gets exactly the keys that were given. */
static struct error *set_maps(struct xe *xe, const struct xe_class *class,
                              const struct xe_object *object)
{
    for (size_t i = 0; i < class->n_params; i++) {
        const struct xe_param *p = &class->params[i];
        struct xe_params map;

        if (!(p->flags & XE_SET_MAP))
            continue;
        map = args_map(&xe->arena, &xe->params, p->name);
        if (map.n)
            TRY(xe_call(xe, NULL, method_of(xe, class, "set_", p), "rm", object->ref, &map));
    }
    return OK;
}

struct error *params_set(struct xe *xe, const struct xe_class *class)
{
    struct xe_object object;

    TRY(the_object(xe, class, &object));
    for (size_t i = 0; i < xe->params.n; i++) {
        const struct xe_pair *p = &xe->params.v[i];

        if (strcmp(p->key, "uuid") != 0 && !args_standard(p->key))
            TRY(set_one(xe, class, &object, p->key, p->value));
    }
    return set_maps(xe, class, &object);
}

/* Elements of a set as the API wants them: a uuid becomes a reference. */
static struct error *element_changed(struct xe *xe, const struct xe_class *class,
                                     const struct xe_param *p, const struct xe_object *object,
                                     const char *method, const char *text)
{
    const struct field_desc *f = api_field_by_name(api_class_by_name(class->api), p->path);
    AUTO(buf) value = {0};

    if (!f || f->type->kind != TYPE_SET)
        return error_internal(&xe->arena, "%s of %s is no set", p->name, class->api);
    TRY(value_of_text(xe, p->name, f->type->elem, text, false, &value));
    return changed(xe, method, object->ref, &value);
}

/* Where the API can only set the whole: all elements but one, or one more. */
static struct error *set_again(struct xe *xe, const struct xe_class *class,
                               const struct xe_param *p, const struct xe_object *object,
                               const struct strings *now, const char *text, bool add)
{
    AUTO(buf) joined = {0};
    const char *sep = "";

    for (size_t i = 0; i < now->n; i++) {
        if (!strcmp(now->v[i], text))
            continue;
        buf_printf(&joined, "%s%s", sep, now->v[i]);
        sep = ",";
    }
    if (add)
        buf_printf(&joined, "%s%s", sep, text);
    return set_field(xe, class, p, object, joined.data ? joined.data : "");
}

static struct error *set_changed(struct xe *xe, const struct xe_class *class,
                                 const struct xe_param *p, const struct xe_object *object,
                                 const char *text, bool add)
{
    const char *method = method_of(xe, class, add ? "add_" : "remove_", p);
    struct xe_object now = {.ref = object->ref};
    struct field_value value;

    if (api_message_by_name(method))
        return element_changed(xe, class, p, object, method, text);
    TRY(xe_call(xe, &now.record, arena_printf(&xe->arena, "%s.get_record", class->api), "r",
                object->ref));
    TRY(field_value(xe, class, p, &now, &value));
    return set_again(xe, class, p, object, &value.set, text, add);
}

struct error *params_add(struct xe *xe, const struct xe_class *class)
{
    const char *key = args_get(&xe->params, "param-key");
    const struct xe_param *param;
    struct xe_object object;

    TRY(the_object(xe, class, &object));
    TRY(the_param(xe, class, &param));
    if (!(param->flags & (XE_SET | XE_MAP)))
        return xe_fail(xe, "Can only add to parameters of type Set or Map");
    if (!(param->flags & XE_RW))
        return xe_fail(xe, "Parameter is read-only");
    if (param->flags & XE_SET) {
        if (!key)
            return xe_fail(xe, "When adding a key to a set, use the syntax: *-param-add "
                               "param-name=<name> param-key=<key>");
        return set_changed(xe, class, param, &object, key, true);
    }
    for (size_t i = 0; i < xe->params.n; i++) {
        const struct xe_pair *p = &xe->params.v[i];

        if (!args_standard(p->key) && !xe_word_in("uuid param-name param-key", p->key))
            TRY(map_add(xe, class, param, &object, p->key, p->value));
    }
    return OK;
}

struct error *params_remove(struct xe *xe, const struct xe_class *class)
{
    const char *key = args_get(&xe->params, "param-key");
    const struct xe_param *param;
    struct field_value value;
    struct xe_object object;

    TRY(the_object(xe, class, &object));
    TRY(the_param(xe, class, &param));
    if (!(param->flags & (XE_SET | XE_MAP)))
        return xe_fail(xe, "Can only remove from parameters of type Set or Map");
    if (!(param->flags & XE_RW))
        return xe_fail(xe, "Cannot remove parameters from read-only map");
    TRY(field_value(xe, class, param, &object, &value));
    if (param->flags & XE_MAP) {
        if (!args_get(&value.map, key))
            return xe_fail(xe, "Key %s is not in map", key);
        return map_remove(xe, class, param, &object, key);
    }
    for (size_t i = 0; i < value.set.n; i++)
        if (!strcmp(value.set.v[i], key))
            return set_changed(xe, class, param, &object, key, false);
    return xe_fail(xe, "Key %s is not in the set", key);
}

static struct error *clear_each(struct xe *xe, const struct xe_class *class,
                                const struct xe_param *p, const struct xe_object *object)
{
    struct field_value value;

    TRY(field_value(xe, class, p, object, &value));
    if (p->flags & XE_SET) {
        for (size_t i = 0; i < value.set.n; i++)
            TRY(set_changed(xe, class, p, object, value.set.v[i], false));
        return OK;
    }
    for (size_t i = 0; i < value.map.n; i++)
        TRY(map_remove(xe, class, p, object, value.map.v[i].key));
    return OK;
}

struct error *params_clear(struct xe *xe, const struct xe_class *class)
{
    const struct xe_params nothing = {0};
    const struct xe_param *p;
    struct xe_object object;
    struct error *e;

    TRY(the_object(xe, class, &object));
    TRY(the_param(xe, class, &p));
    if (p->flags & (XE_CLEAR | XE_SET_MAP))
        return xe_call(xe, NULL, method_of(xe, class, "set_", p), "rm", object.ref, &nothing);
    if (params_settable(p)) {
        e = set_field(xe, class, p, &object, "");
        if (e && error_is(e, XE_FAILURE))
            return xe_fail(xe, "Cannot clear this parameter");
        return e;
    }
    if (params_addable(p))
        return clear_each(xe, class, p, &object);
    return xe_fail(xe, "Can only clear RW parameters");
}

/* --- What is called --- */

/* The message of that verb, or where there is none the one that sets the whole. */
static void add_message(struct buf *out, const struct xe_class *class, const char *verb,
                        const struct xe_param *p)
{
    AUTO(buf) name = {0};

    method_name(&name, class, verb, p);
    if (!api_message_by_name(name.data)) {
        name.len = 0;
        method_name(&name, class, "set_", p);
    }
    buf_printf(out, " %s", name.data);
}

void params_messages(struct buf *out, const struct xe_class *class, const char *verb,
                     const struct xe_param *p)
{
    bool set = !strcmp(verb, "param-set"), clear = !strcmp(verb, "param-clear");
    bool map = (p->flags & XE_MAP) != 0;

    if (set && (p->flags & XE_SET_IN))
        buf_printf(out, " %s.set_property", class->api);
    if ((set && (params_settable(p) || (p->flags & XE_SET_MAP))) ||
        (clear && (params_settable(p) || (p->flags & (XE_CLEAR | XE_SET_MAP)))))
        add_message(out, class, "set_", p);
    if (!params_addable(p))
        return;
    if ((set && map) || !strcmp(verb, "param-add"))
        add_message(out, class, map ? "add_to_" : "add_", p);
    if ((set && map) || !strcmp(verb, "param-remove") || (clear && !params_settable(p)))
        add_message(out, class, map ? "remove_from_" : "remove_", p);
}
