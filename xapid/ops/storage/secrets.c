/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xapid/ops/storage/secrets.h"

#include <string.h>

#include "libxapi/value/value.h"
#include "xapid/db/row.h"

static bool ends_with(const char *s, const char *end)
{
    size_t n = strlen(s), m = strlen(end);

    return n >= m && strcmp(s + n - m, end) == 0;
}

static const struct secret *find_secret(struct txn *txn, const char *uuid)
{
    struct refs same = txn_referrers(txn, FIELD_secret_uuid, index_key_string(uuid));

    for (size_t i = 0; i < same.n; i++) {
        const struct secret *s = txn_find(txn, CLASS_secret, same.v[i]);

        if (s && strcmp(s->uuid, uuid) == 0)
            return s;
    }
    return NULL;
}

static const char *make_secret(struct txn *txn, const char *value)
{
    struct secret row;

    row_defaults(&api_classes[CLASS_secret], &row);
    row.ref = ref_new();
    row.uuid = uuid_new(arena_alloc(txn_arena(txn), UUID_TEXT_SIZE));
    row.value = value;
    txn_create(txn, CLASS_secret, &row);
    return row.uuid;
}

struct strmap txn_secrets_make(struct txn *txn, const struct strmap *config)
{
    struct arena *arena = txn_arena(txn);
    struct strmap out = {0};

    for (size_t i = 0; i < config->n; i++) {
        const char *key = config->v[i].key, *value = config->v[i].value;
        const struct secret *known;

        if (ends_with(key, "password")) {
            key = arena_printf(arena, "%s_secret", key);
            value = make_secret(txn, value);
        } else if (ends_with(key, "password_secret")) {
            known = find_secret(txn, value);
            value = known ? make_secret(txn, known->value) : value;
        }
        out = strmap_with(arena, out, key, value);
    }
    return out;
}

void txn_secrets_destroy(struct txn *txn, const struct strmap *config)
{
    for (size_t i = 0; i < config->n; i++) {
        const struct secret *s = ends_with(config->v[i].key, "password_secret")
                                     ? find_secret(txn, config->v[i].value)
                                     : NULL;

        if (s)
            txn_destroy(txn, CLASS_secret, s->ref);
    }
}
