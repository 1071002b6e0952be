/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* subject.c -- who may log in besides root, and with which roles; class role. */
#include <openssl/evp.h>
#include <string.h>

#include "libxapi/value/value.h"
#include "xapid/auth/session.h"
#include "xapid/db/ready.h"
#include "xapid/db/roles.h"
#include "xapid/main/xapid.h"

/*** subject: create and destroy ***/

/*
 * A subject's uuid is made from its identifier: the index of uuids then keeps two creations at a
 * time from making the same subject twice, anywhere in the pool.
 */
static void subject_uuid(const char *identifier, char out[UUID_TEXT_SIZE])
{
    static const char prefix[] = "xapid-subject:";
    uint8_t hash[EVP_MAX_MD_SIZE];
    struct buf text = {0};

    buf_puts(&text, prefix);
    buf_puts(&text, identifier);
    EVP_Digest(text.data, text.len, hash, NULL, EVP_sha256(), NULL);
    buf_release(&text);
    hash[6] = (uint8_t)((hash[6] & 0x0f) | 0x80); /* version 8, of one's own making */
    hash[8] = (uint8_t)((hash[8] & 0x3f) | 0x80);
    uuid_to_text(hash, out);
}

static struct error *create_txn(struct txn *txn, void *arg)
{
    const struct subject *row = arg, *other;
    struct db_walk walk;

    if (txn_referrers(txn, FIELD_subject_uuid, index_key_string(row->uuid)).n)
        return err_subject_already_exists(txn_call(txn));
    db_walk(txn_snap(txn), CLASS_subject, &walk);
    while ((other = db_walk_next(&walk)))
        if (strcmp(other->subject_identifier, row->subject_identifier) == 0)
            return err_subject_already_exists(txn_call(txn));
    txn_create(txn, CLASS_subject, row);
    return OK;
}

struct error *subject_create(struct call *call, const struct subject_create_args *args,
                             ref_t *result)
{
    char uuid[UUID_TEXT_SIZE];
    struct subject row;

    if (!*args->args->subject_identifier)
        return err_invalid_value(call, "subject_identifier", "");
    row_defaults(&api_classes[CLASS_subject], &row);
    row.ref = ref_new();
    subject_uuid(args->args->subject_identifier, uuid);
    row.uuid = uuid;
    row.subject_identifier = args->args->subject_identifier;
    row.other_config = args->args->other_config;
    TRY(db_update(call, create_txn, &row));
    *result = row.ref;
    return OK;
}

/* Those who were let in as this subject are out at once. */
static void end_sessions_of(struct call *call, const struct subject *subject)
{
    struct sessions *sessions = call->xapid->sessions;
    struct refs refs = session_refs(sessions, call->arena, subject->subject_identifier);

    for (size_t i = 0; i < refs.n; i++) {
        const struct session *s = session_record(sessions, call->arena, refs.v[i]);

        if (s && ref_equal(s->subject, subject->ref))
            session_destroy(sessions, refs.v[i]);
    }
}

struct error *subject_destroy(struct call *call, const struct subject_destroy_args *args)
{
    struct db_destroy destroy = {CLASS_subject, args->self};
    const struct subject *subject;
    struct subject gone = {.ref = args->self};

    TRY(DB_GET(call, subject, args->self, &subject));
    gone.subject_identifier = arena_strdup(call->arena, subject->subject_identifier);
    TRY(db_update(call, db_destroy_txn, &destroy));
    end_sessions_of(call, &gone);
    return OK;
}

/*** subject: roles ***/

struct role_change {
    ref_t subject, role;
};

static struct error *add_role_txn(struct txn *txn, void *arg)
{
    const struct role_change *c = arg;
    const struct subject *subject;

    TRY(TXN_GET(txn, subject, c->subject, &subject));
    if (refs_contain(&subject->roles, c->role))
        return err_role_already_exists(txn_call(txn));
    txn_set_add(txn, FIELD_subject_roles, c->subject, &c->role);
    return OK;
}

static struct error *remove_role_txn(struct txn *txn, void *arg)
{
    const struct role_change *c = arg;
    const struct subject *subject;

    TRY(TXN_GET(txn, subject, c->subject, &subject));
    if (!refs_contain(&subject->roles, c->role))
        return err_role_not_found(txn_call(txn));
    txn_set_remove(txn, FIELD_subject_roles, c->subject, &c->role);
    return OK;
}

struct error *subject_add_to_roles(struct call *call, const struct subject_add_to_roles_args *args)
{
    struct role_change change = {args->self, args->role};
    enum role_id role = role_of_ref(args->role);
    const struct subject *subject;

    TRY(DB_GET(call, subject, args->self, &subject));
    if (role == ROLE_COUNT || role == ROLE_CLIENT_CERT)
        return err_role_not_found(call); /* a permission, or a role that is not given to people */
    return db_update(call, add_role_txn, &change);
}

struct error *subject_remove_from_roles(struct call *call,
                                        const struct subject_remove_from_roles_args *args)
{
    struct role_change change = {args->self, args->role};

    return db_update(call, remove_role_txn, &change);
}

/*** role ***/

/* All permissions of a role; a permission has itself. */
static struct error *permissions_of(struct call *call, ref_t self, struct refs *out)
{
    const struct role *role;
    ref_t *one;

    TRY(DB_GET(call, role, self, &role));
    *out = role->subroles;
    if (role->subroles.n || role_of_ref(self) != ROLE_COUNT)
        return OK;
    one = arena_memdup(call->arena, &self, sizeof self);
    *out = (struct refs){1, one};
    return OK;
}

static struct error *names_of(struct call *call, const struct refs *roles, struct strings *out)
{
    const char **v = arena_array(call->arena, const char *, roles->n + 1);

    for (size_t i = 0; i < roles->n; i++) {
        const struct role *role;

        TRY(DB_GET(call, role, roles->v[i], &role));
        v[i] = role->name_label;
    }
    *out = (struct strings){roles->n, v};
    return OK;
}

struct error *role_get_permissions(struct call *call, const struct role_get_permissions_args *args,
                                   struct refs *result)
{
    return permissions_of(call, args->self, result);
}

struct error *role_get_permissions_name_label(
    struct call *call, const struct role_get_permissions_name_label_args *args,
    struct strings *result)
{
    struct refs refs;

    TRY(permissions_of(call, args->self, &refs));
    return names_of(call, &refs, result);
}

/* From the most to the least powerful. */
static void roles_with(struct call *call, ref_t permission, struct refs *result)
{
    ref_t *v = arena_array(call->arena, ref_t, ROLE_COUNT);

    *result = (struct refs){0, v};
    for (int r = ROLE_POOL_ADMIN; r < ROLE_COUNT; r++) {
        ref_t ref = role_ref(api_role_names[r]);
        const struct role *role = db_find(call, CLASS_role, ref);

        if (role && refs_contain(&role->subroles, permission))
            v[result->n++] = ref;
    }
}

struct error *role_get_by_permission(struct call *call,
                                     const struct role_get_by_permission_args *args,
                                     struct refs *result)
{
    const struct role *permission;

    TRY(DB_GET(call, role, args->permission, &permission));
    roles_with(call, permission->ref, result);
    return OK;
}

struct error *role_get_by_permission_name_label(
    struct call *call, const struct role_get_by_permission_name_label_args *args,
    struct refs *result)
{
    roles_with(call, role_ref(args->label), result);
    return OK;
}

/* Roles are one order: the most powerful has what the others have. */
struct error *subject_get_permissions_name_label(
    struct call *call, const struct subject_get_permissions_name_label_args *args,
    struct strings *result)
{
    enum role_id best = ROLE_COUNT;
    const struct subject *subject;
    struct refs refs;

    TRY(DB_GET(call, subject, args->self, &subject));
    for (size_t i = 0; i < subject->roles.n; i++)
        best = MIN(best, role_of_ref(subject->roles.v[i]));
    *result = (struct strings){0};
    if (best == ROLE_COUNT)
        return OK;
    TRY(permissions_of(call, role_ref(api_role_names[best]), &refs));
    return names_of(call, &refs, result);
}
