/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xapid/db/roles.h"

#include <ctype.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

#include "libxapi/base/memory.h"

/* Known to clients by heart. */
#define POOL_ADMIN_UUID "0165f154-ba3e-034e-6b27-5d271af109ba"

static void role_uuid(const char *name, char out[UUID_TEXT_SIZE])
{
    uint8_t md5[EVP_MAX_MD_SIZE];

    if (strcmp(name, "pool-admin") == 0) {
        memcpy(out, POOL_ADMIN_UUID, UUID_TEXT_SIZE);
        return;
    }
    EVP_Digest(name, strlen(name), md5, NULL, EVP_md5(), NULL);
    uuid_to_text(md5, out);
}

ref_t role_ref(const char *name)
{
    char text[REF_TEXT_SIZE] = "OpaqueRef:";
    ref_t ref;

    role_uuid(name, text + strlen(text));
    ref_from_text(text, &ref);
    return ref;
}

enum role_id role_of_ref(ref_t ref)
{
    for (int r = ROLE_POOL_ADMIN; r < ROLE_COUNT; r++)
        if (ref_equal(ref, role_ref(api_role_names[r])))
            return (enum role_id)r;
    return ROLE_COUNT;
}

/* A permission and the least powerful role that has it. */
struct permission {
    const char *name;
    enum role_id role;
};

struct permissions {
    struct arena arena;
    size_t n, room;
    struct permission *v;
};

static void add_permission(struct permissions *list, const char *name, enum role_id role)
{
    char *lower = arena_strdup(&list->arena, name);

    for (char *p = lower; *p && *p != '/'; p++)
        *p = (char)tolower((unsigned char)*p);
    if (list->n == list->room) {
        list->room = list->room ? list->room * 2 : 1024;
        list->v = xrealloc(list->v, list->room * sizeof *list->v);
    }
    list->v[list->n++] = (struct permission){lower, role};
}

static void collect(struct permissions *list)
{
    for (size_t i = 0; i < api_n_messages; i++) {
        const struct message_desc *m = &api_messages[i];

        if (api_classes[m->class_id].flags & CLASS_INTERNAL)
            continue;
        add_permission(list, m->full_name, m->role);
        for (const struct map_key_role *k = m->map_key_roles; k && k->pattern; k++)
            add_permission(list, arena_printf(&list->arena, "%s/key:%s", m->full_name, k->pattern),
                           k->role);
    }
    for (size_t i = 0; i < api_n_actions; i++)
        add_permission(list, arena_printf(&list->arena, "http/%s", api_actions[i].name),
                       api_actions[i].role);
    for (const struct map_key_role *p = api_permissions; p->pattern; p++)
        add_permission(list, p->pattern, p->role);
}

static void add_row(struct db_root *root, const char *name, const char *doc, struct refs subroles,
                    bool is_internal)
{
    struct role row;
    char uuid[UUID_TEXT_SIZE];

    row_defaults(&api_classes[CLASS_role], &row);
    role_uuid(name, uuid);
    row.ref = role_ref(name);
    row.uuid = uuid;
    row.name_label = name;
    row.name_description = doc;
    row.subroles = subroles;
    row.is_internal = is_internal;
    root_put(root, row_new(&api_classes[CLASS_role], &row), 0);
}

void roles_add(struct db_root *root)
{
    struct permissions list = {0};
    ref_t *all, *granted;

    collect(&list);
    all = xmalloc(list.n * sizeof *all);
    granted = xmalloc(list.n * sizeof *granted);
    for (size_t i = 0; i < list.n; i++) {
        all[i] = role_ref(list.v[i].name);
        if (!root_get(root, CLASS_role, all[i]))
            add_row(root, list.v[i].name, "", (struct refs){0}, false);
    }
    for (int r = ROLE_POOL_ADMIN; r < ROLE_COUNT; r++) {
        size_t n = 0;

        for (size_t i = 0; i < list.n; i++)
            if ((int)list.v[i].role >= r)
                granted[n++] = all[i];
        add_row(root, api_role_names[r], api_role_docs[r], (struct refs){n, granted},
                r == ROLE_CLIENT_CERT);
    }
    free(all);
    free(granted);
    free(list.v);
    arena_release(&list.arena);
}
