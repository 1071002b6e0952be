/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xapid/ops/intent.h"

#include <stdio.h>
#include <string.h>

#include "libxapi/codec/codec.h"
#include "xapid/ops/registry.h"

const char *intent_to_text(struct arena *arena, enum intent_kind kind, const void *intent)
{
    const struct intent_desc *desc = &api_intents[kind];
    const struct codec_env env = {.arena = arena};
    struct buf b = {0};
    const char *text;
    bool first = true;

    codec_xmlrpc.struct_begin(&b);
    for (const struct intent_field *f = desc->fields; f->name; f++) {
        codec_xmlrpc.member_begin(&b, f->name, first);
        codec_xmlrpc.value(&b, &env, f->type, (const char *)intent + f->offset);
        codec_xmlrpc.member_end(&b);
        first = false;
    }
    codec_xmlrpc.struct_end(&b);
    text = arena_strndup(arena, b.data, b.len);
    buf_release(&b);
    return text;
}

bool intent_of_text(struct arena *arena, enum intent_kind kind, const char *text,
                    const void **intent)
{
    const struct intent_desc *desc = &api_intents[kind];
    char *out = arena_zalloc(arena, MAX(desc->size, (size_t)1));
    const struct wire *wire;

    if (!xmlrpc_read_value(arena, text, strlen(text), &wire) || wire->kind != WIRE_STRUCT)
        return false;
    for (const struct intent_field *f = desc->fields; f->name; f++) {
        value_empty(f->type, out + f->offset);
        for (size_t i = 0; i < wire->n; i++) {
            if (strcmp(wire->v[i].name, f->name) != 0)
                continue;
            if (wire_to_value(arena, f->type, &wire->v[i], f->name, out + f->offset))
                return false;
        }
    }
    *intent = out;
    return true;
}

bool intent_kind_by_name(const char *name, enum intent_kind *kind)
{
    for (int i = 0; i < INTENT_COUNT; i++) {
        if (strcmp(api_intents[i].name, name) == 0) {
            *kind = (enum intent_kind)i;
            return true;
        }
    }
    return false;
}

struct strings intent_holds(struct arena *arena, const char *task_key, size_t n,
                            const struct op_hold *holds)
{
    const char **v = arena_array(arena, const char *, n + 1);

    for (size_t i = 0; i < n; i++)
        v[i] = arena_printf(arena, "%s %s %s", api_classes[holds[i].class_id].name,
                            ref_text(arena, holds[i].ref), task_key);
    return (struct strings){n, v};
}

bool intent_read_holds(struct arena *arena, const struct intent *row, struct op *op)
{
    if (row->holds.n > OP_MAX_HOLDS)
        return false;
    for (size_t i = 0; i < row->holds.n; i++) {
        char class_name[64], ref[REF_TEXT_SIZE];
        const struct class_desc *class;
        int key_at = 0;

        if (sscanf(row->holds.v[i], "%63s %47s %n", class_name, ref, &key_at) != 2 || !key_at)
            return false;
        class = api_class_by_name(class_name);
        if (!class || !ref_from_text(ref, &op->holds[i].ref))
            return false;
        op->holds[i].class_id = class->id;
        op->task_key = arena_strdup(arena, row->holds.v[i] + key_at);
    }
    op->n_holds = row->holds.n;
    return true;
}
