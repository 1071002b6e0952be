/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * trusted.c -- authorities, pinned certificates and revocation lists: installed, removed, listed.
 *
 * What is installed is a change of the database and nothing else; the files follow it (store.h), on
 * this host at once, on others at their next look.  Messages of a pool concern all hosts, those of
 * a host only that one.
 */
#include <string.h>

#include "libxapi/base/seam.h"
#include "libxapi/value/value.h"
#include "xapid/db/row.h"
#include "xapid/main/xapid.h"
#include "xapid/ops/certificates/check.h"
#include "xapid/ops/certificates/record.h"
#include "xapid/ops/certificates/store.h"
#include "xapid/ops/vm/domain.h"

/* Of all together. */
#define TRUSTED_LIMIT 2000

/* The errors of certificates and of revocation lists. */
struct wording {
    struct error *(*exists)(const struct call *call, const char *name);
    struct error *(*missing)(const struct call *call, const char *name);
    struct error *(*bad_name)(const struct call *call, const char *name);
};

static const struct wording *wording(bool crl)
{
    static const struct wording words[] = {
        {err_certificate_already_exists, err_certificate_does_not_exist,
         err_certificate_name_invalid},
        {err_crl_already_exists, err_crl_does_not_exist, err_crl_name_invalid},
    };

    return &words[crl];
}

/*** adding ***/

struct addition {
    const char *name, *pem;
    bool crl;
    ref_t host; /* the only one, or null */
    /* A record is made for it. */
    bool recorded;
    struct certificate what;
    struct certificate_info info;
};

/* The row of that name that concerns the host, or all; NULL where there is none. */
static const struct trust_file *find_file(struct txn *txn, const char *name, bool crl, ref_t host)
{
    struct refs same = txn_referrers(txn, FIELD_trust_file_name_label, index_key_string(name));

    for (size_t i = 0; i < same.n; i++) {
        const struct trust_file *row = txn_find(txn, CLASS_trust_file, same.v[i]);

        if (row && row->crl == crl && strcmp(row->name_label, name) == 0 &&
            ref_equal(row->host, host))
            return row;
    }
    return NULL;
}

static struct error *add_txn(struct txn *txn, void *arg)
{
    const struct addition *a = arg;
    struct trust_file row;

    if (find_file(txn, a->name, a->crl, a->host) || find_file(txn, a->name, a->crl, REF_NULL))
        return wording(a->crl)->exists(txn_call(txn), a->name);
    if (snap_root(txn_snap(txn))->tables[CLASS_trust_file].count >= TRUSTED_LIMIT)
        return err_operation_not_allowed(txn_call(txn),
                                         "There are as many trusted certificates as there can be.");
    row_defaults(&api_classes[CLASS_trust_file], &row);
    row.ref = ref_new();
    row.name_label = a->name;
    row.crl = a->crl;
    row.pem = a->pem;
    row.host = a->host;
    if (a->recorded)
        row.certificate = txn_certificate_add(txn, &a->what, &a->info);
    txn_create(txn, CLASS_trust_file, &row);
    return OK;
}

static struct error *add(struct call *call, struct addition *a)
{
    TRY(db_update(call, add_txn, a));
    certificates_check_expiry(call, clock_wall());
    return certificates_write(call);
}

static struct error *add_authority(struct call *call, const char *name, const char *pem, ref_t host)
{
    struct addition a = {.name = name, .host = host, .recorded = ref_is_null(host)};

    if (!certificate_name_is_good(name))
        return err_certificate_name_invalid(call, name);
    TRY(check_trusted_pem(call, true, pem, clock_wall(), &a.info));
    a.pem = a.info.pem;
    a.what = (struct certificate){.name = name, .type = CERTIFICATE_TYPE_CA};
    return add(call, &a);
}

static struct error *add_list(struct call *call, const char *name, const char *pem, ref_t host)
{
    struct addition a = {.name = name, .host = host, .crl = true};

    if (!certificate_name_is_good(name))
        return err_crl_name_invalid(call, name);
    TRY(check_revocation_list(call, name, pem, &a.pem));
    return add(call, &a);
}

/*** removing ***/

struct removal {
    const char *name;
    bool crl, force;
    ref_t host;
};

/* The record goes with the text. */
static void remove_file(struct txn *txn, const struct trust_file *row)
{
    if (!ref_is_null(row->certificate) && txn_find(txn, CLASS_certificate, row->certificate))
        txn_destroy(txn, CLASS_certificate, row->certificate);
    txn_destroy(txn, CLASS_trust_file, row->ref);
}

static struct error *remove_txn(struct txn *txn, void *arg)
{
    const struct removal *r = arg;
    const struct trust_file *row = find_file(txn, r->name, r->crl, r->host);

    if (row)
        remove_file(txn, row);
    return row || r->force ? OK : wording(r->crl)->missing(txn_call(txn), r->name);
}

static struct error *remove_named(struct call *call, const struct removal *r)
{
    if (!certificate_name_is_good(r->name))
        return wording(r->crl)->bad_name(call, r->name);
    TRY(db_update(call, remove_txn, (void *)r));
    certificates_check_expiry(call, clock_wall());
    return certificates_write(call);
}

/*** lists ***/

static struct strings names(struct call *call, bool crl, ref_t host)
{
    size_t count = snap_root(call->snap)->tables[CLASS_trust_file].count, n = 0;
    const char **v = arena_array(call->arena, const char *, count + 1);
    const struct trust_file *row;
    struct db_walk walk;

    db_walk(call->snap, CLASS_trust_file, &walk);
    while ((row = db_walk_next(&walk)))
        if (row->crl == crl && (ref_is_null(row->host) || ref_equal(row->host, host)))
            v[n++] = arena_strdup(call->arena, row->name_label);
    return (struct strings){n, v};
}

/*** of the pool ***/

struct error *pool_install_ca_certificate(struct call *call,
                                          const struct pool_install_ca_certificate_args *args)
{
    return add_authority(call, args->name, args->cert, REF_NULL);
}

struct error *pool_certificate_install(struct call *call,
                                       const struct pool_certificate_install_args *args)
{
    return add_authority(call, args->name, args->cert, REF_NULL);
}

struct error *pool_uninstall_ca_certificate(struct call *call,
                                            const struct pool_uninstall_ca_certificate_args *args)
{
    return remove_named(call, &(struct removal){.name = args->name, .force = args->force});
}

struct error *pool_certificate_uninstall(struct call *call,
                                         const struct pool_certificate_uninstall_args *args)
{
    return remove_named(call, &(struct removal){.name = args->name});
}

struct error *pool_certificate_list(struct call *call, struct strings *result)
{
    *result = names(call, false, REF_NULL);
    return OK;
}

struct error *pool_crl_install(struct call *call, const struct pool_crl_install_args *args)
{
    return add_list(call, args->name, args->cert, REF_NULL);
}

struct error *pool_crl_uninstall(struct call *call, const struct pool_crl_uninstall_args *args)
{
    return remove_named(call, &(struct removal){.name = args->name, .crl = true});
}

struct error *pool_crl_list(struct call *call, struct strings *result)
{
    *result = names(call, true, REF_NULL);
    return OK;
}

/* The coordinator has no others than the database has. */
struct error *host_copy_primary_host_certs(struct call *call,
                                           const struct host_copy_primary_host_certs_args *args)
{
    TRY(host_is_here(call, args->host));
    return certificates_write(call);
}

struct error *pool_certificate_sync(struct call *call)
{
    return certificates_write(call);
}

/* Without a name of the caller's: the record's uuid becomes the file's. */
struct error *pool_install_trusted_certificate(
    struct call *call, const struct pool_install_trusted_certificate_args *args)
{
    struct addition a = {.recorded = true};
    char uuid[UUID_TEXT_SIZE];
    const struct pool *pool;
    const struct certificate *other;
    struct db_walk walk;

    TRY(DB_GET(call, pool, args->self, &pool));
    /* A single certificate says nothing of what it is good for. */
    if (!args->ca && !args->purpose.n)
        return err_certificate_lacks_purpose(call);
    TRY(check_trusted_pem(call, false, args->cert, clock_wall(), &a.info));
    db_walk(call->snap, CLASS_certificate, &walk);
    while ((other = db_walk_next(&walk)))
        if (ref_is_null(other->host) && strcmp(other->fingerprint_sha256, a.info.sha256) == 0)
            return err_trusted_certificate_already_exists(call, a.info.sha256);
    a.pem = a.info.pem;
    a.name = arena_printf(call->arena, "%s.pem", uuid_new(uuid));
    a.what = (struct certificate){.uuid = uuid,
                                  .name = a.name,
                                  .type = args->ca ? CERTIFICATE_TYPE_CA : CERTIFICATE_TYPE_PINNED,
                                  .purpose = args->purpose};
    return add(call, &a);
}

static struct error *untrust_txn(struct txn *txn, void *arg)
{
    const struct pool_uninstall_trusted_certificate_args *args = arg;
    const struct certificate *cert;
    struct refs files;

    TRY(TXN_GET(txn, certificate, args->certificate, &cert));
    if (cert->type != CERTIFICATE_TYPE_CA && cert->type != CERTIFICATE_TYPE_PINNED)
        return err_not_trusted_certificate(txn_call(txn),
                                           call_ref(txn_call(txn), args->certificate));
    files = txn_referrers(txn, FIELD_trust_file_certificate, cert->ref);
    for (size_t i = 0; i < files.n; i++)
        txn_destroy(txn, CLASS_trust_file, files.v[i]);
    txn_destroy(txn, CLASS_certificate, cert->ref);
    return OK;
}

struct error *pool_uninstall_trusted_certificate(
    struct call *call, const struct pool_uninstall_trusted_certificate_args *args)
{
    const struct pool *pool;

    TRY(DB_GET(call, pool, args->self, &pool));
    TRY(db_update(call, untrust_txn, (void *)args));
    certificates_check_expiry(call, clock_wall());
    return certificates_write(call);
}

/*** of this host ***/

struct error *host_install_ca_certificate(struct call *call,
                                          const struct host_install_ca_certificate_args *args)
{
    TRY(host_is_here(call, args->host));
    return add_authority(call, args->name, args->cert, args->host);
}

struct error *host_uninstall_ca_certificate(struct call *call,
                                            const struct host_uninstall_ca_certificate_args *args)
{
    TRY(host_is_here(call, args->host));
    return remove_named(
        call, &(struct removal){.name = args->name, .force = args->force, .host = args->host});
}

struct error *host_certificate_list(struct call *call,
                                    const struct host_certificate_list_args *args,
                                    struct strings *result)
{
    TRY(host_is_here(call, args->host));
    *result = names(call, false, args->host);
    return OK;
}

struct error *host_crl_install(struct call *call, const struct host_crl_install_args *args)
{
    TRY(host_is_here(call, args->host));
    return add_list(call, args->name, args->crl, args->host);
}

struct error *host_crl_uninstall(struct call *call, const struct host_crl_uninstall_args *args)
{
    TRY(host_is_here(call, args->host));
    return remove_named(call,
                        &(struct removal){.name = args->name, .crl = true, .host = args->host});
}

struct error *host_crl_list(struct call *call, const struct host_crl_list_args *args,
                            struct strings *result)
{
    TRY(host_is_here(call, args->host));
    *result = names(call, true, args->host);
    return OK;
}

struct error *host_certificate_sync(struct call *call,
                                    const struct host_certificate_sync_args *args)
{
    TRY(host_is_here(call, args->host));
    return certificates_write(call);
}
