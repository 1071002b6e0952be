/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xapid/ops/certificates/record.h"

#include <string.h>

#include "libxapi/base/log.h"
#include "libxapi/base/seam.h"
#include "xapid/db/row.h"
#include "xapid/main/xapid.h"
#include "xapid/ops/certificates/check.h"
#include "xapid/ops/message.h"

#define DAY (24 * 3600 * USEC_PER_SEC)

/*** rows ***/

ref_t txn_certificate_add(struct txn *txn, const struct certificate *what,
                          const struct certificate_info *info)
{
    struct certificate row;

    row_defaults(&api_classes[CLASS_certificate], &row);
    row.ref = ref_new();
    row.uuid = what->uuid ? what->uuid : uuid_new(arena_alloc(txn_arena(txn), UUID_TEXT_SIZE));
    row.name = what->name ? what->name : "";
    row.type = what->type;
    row.host = what->host;
    row.purpose = what->purpose;
    row.not_before = info->not_before;
    row.not_after = info->not_after;
    row.fingerprint = row.fingerprint_sha256 = info->sha256;
    row.fingerprint_sha1 = info->sha1;
    txn_create(txn, CLASS_certificate, &row);
    return row.ref;
}

void txn_server_certificate(struct txn *txn, ref_t host, const struct certificate_info *info)
{
    struct refs rows = txn_referrers(txn, FIELD_certificate_host, host);
    bool found = false;

    for (size_t i = 0; i < rows.n; i++) {
        const struct certificate *row = txn_find(txn, CLASS_certificate, rows.v[i]);

        if (!row || row->type != CERTIFICATE_TYPE_HOST)
            continue;
        if (!found && strcmp(row->fingerprint_sha256, info->sha256) == 0)
            found = true;
        else
            txn_destroy(txn, CLASS_certificate, row->ref);
    }
    if (!found)
        txn_certificate_add(txn, &(struct certificate){.type = CERTIFICATE_TYPE_HOST, .host = host},
                            info);
}

/*** what is said of their end ***/

struct family {
    const char *prefix; /* of the messages' names */
    const char *noun;
};

static const struct family families[] = {
    [CERTIFICATE_TYPE_CA] = {"POOL_CA_CERTIFICATE", "The CA pool certificate"},
    [CERTIFICATE_TYPE_HOST] = {"HOST_SERVER_CERTIFICATE", "The TLS server certificate"},
    [CERTIFICATE_TYPE_HOST_INTERNAL] = {"HOST_INTERNAL_CERTIFICATE",
                                        "The internal TLS server certificate"},
    [CERTIFICATE_TYPE_PINNED] = {"POOL_PINNED_CERTIFICATE", "The pinned pool certificate"},
};

const char *expiry_message(struct arena *arena, enum certificate_type type, usec_t not_after,
                           usec_t now)
{
    usec_t left = not_after - now;
    const char *end = left < 0           ? "_EXPIRED"
                      : left <= 7 * DAY  ? "_EXPIRING_07"
                      : left <= 14 * DAY ? "_EXPIRING_14"
                      : left <= 30 * DAY ? "_EXPIRING_30"
                                         : NULL;

    return end ? arena_printf(arena, "%s%s", families[type].prefix, end) : "";
}

static bool is_expiry_message(const char *name)
{
    for (size_t i = 0; i < ARRAY_SIZE(families); i++) {
        size_t n = strlen(families[i].prefix);

        if (strncmp(name, families[i].prefix, n) == 0 && strncmp(name + n, "_EXPIR", 6) == 0)
            return true;
    }
    return false;
}

/* A host's certificate is spoken of under its host, which stays while they are replaced. */
static void subject_of(struct txn *txn, const struct certificate *cert, enum cls *cls,
                       const char **uuid)
{
    const struct host *host = txn_find(txn, CLASS_host, cert->host);

    *cls = host ? CLS_HOST : CLS_CERTIFICATE;
    *uuid = host ? host->uuid : cert->uuid;
}

static const char *body_of(struct arena *arena, const struct certificate *cert, usec_t now)
{
    return arena_printf(arena, "<body><message>%s %s.</message><date>%s</date></body>",
                        families[cert->type].noun,
                        cert->not_after < now ? "has expired" : "is expiring soon",
                        certificate_date(arena, cert->not_after));
}

static const struct expiry_notice *notice_of(struct txn *txn, ref_t certificate)
{
    struct refs rows = txn_referrers(txn, FIELD_expiry_notice_certificate, certificate);

    return rows.n ? txn_find(txn, CLASS_expiry_notice, rows.v[0]) : NULL;
}

static void take_note(struct txn *txn, ref_t certificate, const struct expiry_notice *old,
                      const char *name)
{
    struct expiry_notice row;

    if (old) {
        TXN_SET(txn, expiry_notice, old->ref, name, name);
        return;
    }
    row_defaults(&api_classes[CLASS_expiry_notice], &row);
    row.ref = ref_new();
    row.certificate = certificate;
    row.name = name;
    txn_create(txn, CLASS_expiry_notice, &row);
}

struct due {
    usec_t now;
    size_t n; /* messages that are about certificates as they are */
    struct {
        enum cls cls;
        const char *uuid, *body;
    } * valid;
};

/* Says what is due, unless it was said; notes that it is valid. */
static void speak_of(struct txn *txn, struct due *due, const struct certificate *cert)
{
    const char *name = expiry_message(txn_arena(txn), cert->type, cert->not_after, due->now);
    const struct expiry_notice *said = notice_of(txn, cert->ref);
    const char *body = body_of(txn_arena(txn), cert, due->now), *uuid;
    enum cls cls;

    if (!*name)
        return;
    subject_of(txn, cert, &cls, &uuid);
    due->valid[due->n].cls = cls;
    due->valid[due->n].uuid = uuid;
    due->valid[due->n++].body = arena_printf(txn_arena(txn), "%s %s", name, body);
    if (said && strcmp(said->name, name) == 0)
        return;
    txn_alert(txn, name, cls, uuid, body);
    take_note(txn, cert->ref, said, name);
}

static bool is_valid(struct txn *txn, const struct due *due, const struct message *m)
{
    const char *body = arena_printf(txn_arena(txn), "%s %s", m->name, m->body);

    for (size_t i = 0; i < due->n; i++)
        if (m->cls == due->valid[i].cls && strcmp(m->obj_uuid, due->valid[i].uuid) == 0 &&
            strcmp(body, due->valid[i].body) == 0)
            return true;
    return false;
}

static void forget_others(struct txn *txn, const struct due *due)
{
    const struct expiry_notice *notice;
    const struct message *m;
    struct db_walk walk;

    db_walk(txn_snap(txn), CLASS_message, &walk);
    while ((m = db_walk_next(&walk)))
        if (is_expiry_message(m->name) && !is_valid(txn, due, m) &&
            txn_find(txn, CLASS_message, m->ref))
            txn_destroy(txn, CLASS_message, m->ref);
    db_walk(txn_snap(txn), CLASS_expiry_notice, &walk);
    while ((notice = db_walk_next(&walk)))
        if (ref_is_null(notice->certificate) && txn_find(txn, CLASS_expiry_notice, notice->ref))
            txn_destroy(txn, CLASS_expiry_notice, notice->ref);
}

static struct error *expiry_txn(struct txn *txn, void *arg)
{
    struct due due = {.now = *(const usec_t *)arg};
    const struct certificate *cert;
    struct db_walk walk;

    due.valid = arena_zalloc(
        txn_arena(txn),
        snap_root(txn_snap(txn))->tables[CLASS_certificate].count * sizeof *due.valid + 1);
    db_walk(txn_snap(txn), CLASS_certificate, &walk);
    while ((cert = db_walk_next(&walk)))
        if (txn_find(txn, CLASS_certificate, cert->ref))
            speak_of(txn, &due, cert);
    forget_others(txn, &due);
    return OK;
}

void certificates_check_expiry(struct call *call, usec_t now)
{
    struct error *e = db_update(call, expiry_txn, &now);

    if (e)
        log_warning("the ends of certificates were not looked at: %s", error_line(call->arena, e));
}
