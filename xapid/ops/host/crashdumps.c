/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * crashdumps.c -- dumps of the hypervisor and the control domain: a folder each below /var/crash,
 * as kdump makes them.
 *
 * A dump's uuid follows from the host's and the folder's name, so the record needs no path that
 * somebody could change, and each start finds which records have no folder any more and which
 * folders no record: destroying one needs no intent.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <openssl/sha.h>

#include "libxapi/base/log.h"
#include "libxapi/value/value.h"
#include "xapid/db/ready.h"
#include "xapid/db/row.h"
#include "xapid/main/xapid.h"
#include "xapid/ops/host/here.h"
#include "xapid/ops/host/settle.h"
#include "xapid/ops/host/system.h"
#include "xapid/ops/host/folder.h"
#include "xapid/ops/host/upload.h"

#define FOLDER "/var/crash"
#define DUMPS_MAX 1000

struct dump {
    const char *uuid, *path;
    usec_t time;
    int64_t size;
};

struct dumps {
    size_t n;
    struct dump v[DUMPS_MAX];
};

/*** what lies there ***/

static const char *uuid_for(struct call *call, const char *name)
{
    const char *text =
        arena_printf(call->arena, "xapid crash dump %s %s", host_here(call)->uuid, name);
    uint8_t digest[SHA256_DIGEST_LENGTH];
    char uuid[UUID_TEXT_SIZE];

    SHA256((const uint8_t *)text, strlen(text), digest);
    digest[6] = (uint8_t)((digest[6] & 0x0f) | 0x80);
    digest[8] = (uint8_t)((digest[8] & 0x3f) | 0x80);
    return arena_strdup(call->arena, uuid_to_text(digest, uuid));
}

/* Folders whose names begin with a digit: their time. */
static bool is_dump(const char *path, const char *name, struct stat *st)
{
    return *name >= '0' && *name <= '9' && lstat(path, st) == 0 && S_ISDIR(st->st_mode);
}

static void find_dumps(struct call *call, struct dumps *out)
{
    const char *folder = system_path(call, FOLDER);
    DIR *dir = opendir(folder);
    struct dirent *entry;
    struct stat st;

    out->n = 0;
    if (!dir)
        return;
    while (out->n < DUMPS_MAX && (entry = readdir(dir))) {
        const char *path = arena_printf(call->arena, "%s/%s", folder, entry->d_name);

        if (is_dump(path, entry->d_name, &st))
            out->v[out->n++] = (struct dump){uuid_for(call, entry->d_name), path,
                                             (usec_t)st.st_mtime * USEC_PER_SEC, folder_size(path)};
    }
    closedir(dir);
}

static const struct dump *dump_of(const struct dumps *dumps, const char *uuid)
{
    for (size_t i = 0; i < dumps->n; i++)
        if (strcmp(dumps->v[i].uuid, uuid) == 0)
            return &dumps->v[i];
    return NULL;
}

/*** records ***/

struct settling {
    ref_t host;
    const struct dumps *dumps;
};

static void add_row(struct txn *txn, ref_t host, const struct dump *dump)
{
    struct host_crashdump row;

    row_defaults(&api_classes[CLASS_host_crashdump], &row);
    row.ref = ref_new();
    row.uuid = dump->uuid;
    row.host = host;
    row.timestamp = dump->time;
    row.size = dump->size;
    txn_create(txn, CLASS_host_crashdump, &row);
}

static struct error *settle_txn(struct txn *txn, void *arg)
{
    const struct settling *s = arg;
    struct refs rows = txn_referrers(txn, FIELD_host_crashdump_host, s->host);

    for (size_t i = 0; i < rows.n; i++) {
        const struct host_crashdump *row;

        TRY(TXN_GET(txn, host_crashdump, rows.v[i], &row));
        if (!dump_of(s->dumps, row->uuid))
            txn_destroy(txn, CLASS_host_crashdump, rows.v[i]);
    }
    for (size_t i = 0; i < s->dumps->n; i++)
        if (!txn_referrers(txn, FIELD_host_crashdump_uuid, index_key_string(s->dumps->v[i].uuid)).n)
            add_row(txn, s->host, &s->dumps->v[i]);
    return OK;
}

void crashdumps_settle(struct call *call)
{
    struct dumps *dumps = arena_new(call->arena, struct dumps);
    struct error *e;

    find_dumps(call, dumps);
    e = db_update(call, settle_txn, &(struct settling){call->xapid->host, dumps});
    if (e)
        log_error("crash dumps are not recorded: %s", error_line(call->arena, e));
}

/*** messages ***/

/* The dump's folder; NULL where it has gone. */
static struct error *find(struct call *call, ref_t self, const struct dump **out)
{
    struct dumps *dumps = arena_new(call->arena, struct dumps);
    const struct host_crashdump *row;

    TRY(DB_GET(call, host_crashdump, self, &row));
    TRY(host_check_here(call, row->host));
    find_dumps(call, dumps);
    *out = dump_of(dumps, row->uuid);
    return OK;
}

struct error *host_crashdump_destroy(struct call *call,
                                     const struct host_crashdump_destroy_args *args)
{
    const struct dump *dump;

    TRY(find(call, args->self, &dump));
    if (dump)
        TRY(folder_remove(call, dump->path));
    return db_update(call, db_destroy_txn, &(struct db_destroy){CLASS_host_crashdump, args->self});
}

struct error *host_crashdump_upload(struct call *call,
                                    const struct host_crashdump_upload_args *args)
{
    AUTO(upload_spool) spool = {0};
    const struct dump *dump;

    TRY(upload_check_url(call, args->url));
    TRY(find(call, args->self, &dump));
    if (!dump)
        return error_internal(call->arena, "the dump's files are gone");
    TRY(upload_spool_make(call, "crashdump", &spool));
    TRY(SYSTEM_RUN(call, NULL, "tar", "--create", "--gzip", "--file", spool.path, "--directory",
                   dump->path, "."));
    return upload_file(call, spool.path, args->url, &args->options);
}
