/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* repository.c -- sources of updates: registered, checked, forgotten.  Which of them are enabled is
 * the pool's matter. */
#include <ctype.h>
#include <openssl/pem.h>
#include <string.h>
#include <sys/stat.h>

#include "libxapi/value/value.h"
#include "xapid/db/ready.h"
#include "xapid/db/row.h"
#include "xapid/main/xapid.h"
#include "xapid/ops/rows.h"

#define URL_LIMIT 2048
#define CERTIFICATE_LIMIT 65536

/*** checks ***/

/* http or https, a host, and nothing that does not belong into a URL. */
static bool url_ok(const char *url)
{
    const char *host = strncmp(url, "https://", 8) == 0  ? url + 8
                       : strncmp(url, "http://", 7) == 0 ? url + 7
                                                         : NULL;

    if (!host || strlen(url) > URL_LIMIT || (!isalnum((unsigned char)*host) && *host != '['))
        return false;
    for (const char *p = url; *p; p++)
        if (!isgraph((unsigned char)*p) || strchr("\"<>\\^`{|}", *p))
            return false;
    return true;
}

/* Where this system keeps the keys that packages are signed with. */
static bool key_exists(struct call *call, const char *name)
{
    static const char *const folders[] = {"/etc/apt/keyrings", "/usr/share/keyrings"};
    struct stat st;

    for (size_t i = 0; i < ARRAY_SIZE(folders); i++)
        if (stat(arena_printf(call->arena, "%s/%s", folders[i], name), &st) == 0 &&
            S_ISREG(st.st_mode))
            return true;
    return false;
}

/* "" is the default key; else the name of a file, without a path. */
static struct error *check_key(struct call *call, const char *name)
{
    if (!*name ||
        (name[0] != '.' && !strchr(name, '/') && strlen(name) < 256 && key_exists(call, name)))
        return OK;
    return err_invalid_gpgkey_path(call, name);
}

static bool certificate_ok(const char *text)
{
    BIO *bio = strlen(text) <= CERTIFICATE_LIMIT ? BIO_new_mem_buf(text, -1) : NULL;
    X509 *certificate = bio ? PEM_read_bio_X509(bio, NULL, NULL, NULL) : NULL;
    bool ok = certificate != NULL;

    X509_free(certificate);
    BIO_free(bio);
    return ok;
}

/*** introduce ***/

/* Two of one name, or with one address, cannot be told apart; a pool has one bundle. */
static struct error *introduce_txn(struct txn *txn, void *arg)
{
    const struct repository *row = arg, *other;
    struct call *call = txn_call(txn);
    struct db_walk walk;

    TRY(txn_take_turns(txn));
    db_walk(txn_snap(txn), CLASS_repository, &walk);
    while ((other = db_walk_next(&walk))) {
        if (row->origin == ORIGIN_BUNDLE && other->origin == ORIGIN_BUNDLE)
            return err_bundle_repository_already_exists(call, call_ref(call, other->ref));
        if (strcmp(row->name_label, other->name_label) == 0 ||
            (*row->binary_url && strcmp(row->binary_url, other->binary_url) == 0))
            return err_repository_already_exists(call, call_ref(call, other->ref));
    }
    txn_create(txn, CLASS_repository, row);
    return OK;
}

static struct error *introduce(struct call *call, struct repository *row, ref_t *result)
{
    char uuid[UUID_TEXT_SIZE];

    TRY(check_room(call, CLASS_repository));
    row->ref = ref_new();
    row->uuid = uuid_new(uuid);
    TRY(db_update(call, introduce_txn, row));
    *result = row->ref;
    return OK;
}

struct error *repository_introduce(struct call *call, const struct repository_introduce_args *args,
                                   ref_t *result)
{
    struct repository row;

    if (!url_ok(args->binary_url))
        return err_invalid_base_url(call, args->binary_url);
    if (!url_ok(args->source_url))
        return err_invalid_base_url(call, args->source_url);
    TRY(check_key(call, args->gpgkey_path));
    row_defaults(&api_classes[CLASS_repository], &row);
    row.name_label = args->name_label;
    row.name_description = args->name_description;
    row.binary_url = args->binary_url;
    row.source_url = args->source_url;
    row.update = args->update;
    row.gpgkey_path = args->gpgkey_path;
    row.origin = ORIGIN_REMOTE;
    return introduce(call, &row, result);
}

struct error *repository_introduce_bundle(struct call *call,
                                          const struct repository_introduce_bundle_args *args,
                                          ref_t *result)
{
    struct repository row;

    row_defaults(&api_classes[CLASS_repository], &row);
    row.name_label = args->name_label;
    row.name_description = args->name_description;
    row.update = true;
    row.origin = ORIGIN_BUNDLE;
    return introduce(call, &row, result);
}

struct error *repository_introduce_remote_pool(
    struct call *call, const struct repository_introduce_remote_pool_args *args, ref_t *result)
{
    struct repository row;

    if (!url_ok(args->binary_url))
        return err_invalid_base_url(call, args->binary_url);
    if (!certificate_ok(args->certificate))
        return err_invalid_value(call, "certificate", "not a certificate in PEM form");
    row_defaults(&api_classes[CLASS_repository], &row);
    row.name_label = args->name_label;
    row.name_description = args->name_description;
    row.binary_url = args->binary_url;
    row.update = true;
    row.origin = ORIGIN_REMOTE_POOL;
    row.certificate = args->certificate;
    return introduce(call, &row, result);
}

/*** forget and change ***/

static struct error *forget_txn(struct txn *txn, void *arg)
{
    ref_t ref = *(const ref_t *)arg;
    const struct repository *row;
    const struct pool *pool;

    TRY(TXN_GET(txn, repository, ref, &row));
    TRY(TXN_GET(txn, pool, txn_call(txn)->xapid->pool, &pool));
    if (refs_contain(&pool->repositories, ref))
        return err_repository_is_in_use(txn_call(txn));
    txn_destroy(txn, CLASS_repository, ref);
    return OK;
}

struct error *repository_forget(struct call *call, const struct repository_forget_args *args)
{
    ref_t ref = args->self;

    return db_update(call, forget_txn, &ref);
}

struct error *repository_set_gpgkey_path(struct call *call,
                                         const struct repository_set_gpgkey_path_args *args)
{
    const struct repository *row;

    TRY(DB_GET(call, repository, args->self, &row));
    TRY(check_key(call, args->value));
    return CALL_SET(call, repository, args->self, gpgkey_path, args->value);
}
