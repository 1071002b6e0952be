/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* secureboot.c -- the certificates that Secure Boot of guests needs: a tar archive in base64. */
#include <string.h>

#include <openssl/evp.h>

#include "xapid/db/db.h"

#define ARCHIVE_LIMIT (512 << 10) /* bytes of base64: one change of the database holds it */
#define BLOCK 512

struct archive {
    bool kek, db, pk, dbx;
};

/* 'size' bytes in the arena; false if it is not base64. */
static bool decode(struct arena *arena, const char *text, const uint8_t **out, size_t *size)
{
    size_t n = strlen(text), padding = 0;
    uint8_t *bytes = arena_alloc(arena, n + 4);
    int got;

    if (n % 4 || !n)
        return false;
    while (padding < 2 && text[n - 1 - padding] == '=')
        padding++;
    got = EVP_DecodeBlock(bytes, (const uint8_t *)text, (int)n);
    if (got < 0 || (size_t)got < padding)
        return false;
    *out = bytes;
    *size = (size_t)got - padding;
    return true;
}

/* Octal digits of a tar header; -1 for anything else. */
static int64_t octal(const uint8_t *p, size_t n)
{
    int64_t value = 0;
    size_t i = 0;

    while (i < n && p[i] == ' ')
        i++;
    for (; i < n && p[i] >= '0' && p[i] <= '7'; i++)
        value = value * 8 + (p[i] - '0');
    return i < n && p[i] && p[i] != ' ' ? -1 : value;
}

static bool checksum_is_good(const uint8_t *block)
{
    int64_t sum = 8 * ' ';

    for (size_t i = 0; i < BLOCK; i++)
        if (i < 148 || i >= 156)
            sum += block[i];
    return octal(block + 148, 8) == sum;
}

static void note_file(struct archive *found, const uint8_t *block)
{
    char path[101] = "";
    const char *name;

    memcpy(path, block, 100);
    name = strrchr(path, '/');
    name = name ? name + 1 : path;
    found->kek |= strcmp(name, "KEK.auth") == 0;
    found->db |= strcmp(name, "db.auth") == 0;
    found->pk |= strcmp(name, "PK.auth") == 0;
    found->dbx |= strcmp(name, "dbx.auth") == 0;
}

/* False if it is no tar archive. */
static bool read_archive(struct arena *arena, const char *text, struct archive *found)
{
    static const uint8_t zero[BLOCK];
    const uint8_t *p;
    size_t size;

    *found = (struct archive){0};
    if (!decode(arena, text, &p, &size))
        return false;
    while (size >= BLOCK && memcmp(p, zero, BLOCK) != 0) {
        int64_t content = octal(p + 124, 12);
        size_t whole;

        if (content < 0 || content > (int64_t)size || !checksum_is_good(p))
            return false;
        whole = BLOCK + ((size_t)content + BLOCK - 1) / BLOCK * BLOCK;
        if (whole > size)
            return false;
        if (p[156] == '0' || !p[156]) /* a plain file */
            note_file(found, p);
        p += whole;
        size -= whole;
    }
    return true;
}

struct certificates {
    ref_t pool;
    const char *value;
};

static struct error *set_txn(struct txn *txn, void *arg)
{
    const struct certificates *c = arg;
    const struct pool *pool;

    TRY(TXN_GET(txn, pool, c->pool, &pool));
    /* None are shipped, so those of the administrator are those in effect. */
    TXN_SET(txn, pool, c->pool, custom_uefi_certificates, c->value);
    TXN_SET(txn, pool, c->pool, uefi_certificates, c->value);
    return OK;
}

static struct error *set_certificates(struct call *call, ref_t ref, const char *value)
{
    const struct pool *pool;
    struct archive found;

    TRY(DB_GET(call, pool, ref, &pool));
    if (*value) {
        if (strlen(value) > ARCHIVE_LIMIT)
            return err_invalid_value(call, "value", "the archive is too large");
        if (!read_archive(call->arena, value, &found))
            return err_invalid_value(call, "value", "not a tar archive in base64");
        if (!found.kek || !found.db)
            return err_invalid_value(call, "value", "the archive lacks KEK.auth or db.auth");
    }
    return db_update(call, set_txn, &(struct certificates){ref, value});
}

struct error *pool_set_custom_uefi_certificates(
    struct call *call, const struct pool_set_custom_uefi_certificates_args *args)
{
    return set_certificates(call, args->self, args->value);
}

struct error *pool_set_uefi_certificates(struct call *call,
                                         const struct pool_set_uefi_certificates_args *args)
{
    return set_certificates(call, args->self, args->value);
}

struct error *pool_get_guest_secureboot_readiness(
    struct call *call, const struct pool_get_guest_secureboot_readiness_args *args,
    enum pool_guest_secureboot_readiness *result)
{
    const struct pool *pool;
    struct archive found;

    TRY(DB_GET(call, pool, args->self, &pool));
    *result = POOL_GUEST_SECUREBOOT_READINESS_NOT_READY;
    if (!read_archive(call->arena, pool->uefi_certificates, &found))
        return OK;
    if (found.pk && found.kek && found.db)
        *result = found.dbx ? POOL_GUEST_SECUREBOOT_READINESS_READY
                            : POOL_GUEST_SECUREBOOT_READINESS_READY_NO_DBX;
    return OK;
}
