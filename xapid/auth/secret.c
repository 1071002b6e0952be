/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * secret.c -- the pool's secret in a file: made at the first start, followed when the pool's is
 * rotated; never logged.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <openssl/crypto.h>

#include "libxapi/base/log.h"
#include "libxapi/base/memory.h"
#include "xapid/auth/file.h"
#include "xapid/auth/internal.h"

#define SHORTEST 32
#define LONGEST 4096
#define RANDOM_SIZE 32

const char *pool_secret_make(struct arena *arena)
{
    static const char digits[] = "0123456789abcdef";
    char *text = arena_zalloc(arena, 2 * RANDOM_SIZE + 1);
    uint8_t random[RANDOM_SIZE];

    random_bytes(random, sizeof random);
    for (size_t i = 0; i < RANDOM_SIZE; i++) {
        text[2 * i] = digits[random[i] >> 4];
        text[2 * i + 1] = digits[random[i] & 15];
    }
    OPENSSL_cleanse(random, sizeof random);
    return text;
}

static struct error *keep(struct arena *arena, const char *path, const char *secret)
{
    const char *line = arena_printf(arena, "%s\n", secret);

    return secret_file_replace(arena, path, line, strlen(line));
}

static void check_mode(const char *path)
{
    struct stat st;

    if (stat(path, &st) == 0 && (st.st_mode & 077)) {
        log_warning("%s could be read by others than its owner; it is closed to them now", path);
        if (chmod(path, 0600) < 0)
            log_warning("%s: its mode could not be changed", path);
    }
}

struct error *pool_secret_keep(struct arena *arena, const char *state_dir, const char *secret)
{
    const char *path = arena_printf(arena, "%s/pool-secret", state_dir);
    AUTO(file_lock) lock = {0};

    TRY(file_lock_take(arena, path, &lock));
    return keep(arena, path, secret);
}

struct error *pool_secret_load(struct arena *arena, const char *state_dir, char **out)
{
    const char *path = arena_printf(arena, "%s/pool-secret", state_dir);
    AUTO(file_lock) lock = {0};
    size_t size;
    char *text;

    TRY(file_lock_take(arena, path, &lock));
    TRY(secret_file_read(arena, path, LONGEST, &text, &size));
    if (!text) {
        const char *fresh = pool_secret_make(arena);

        TRY(keep(arena, path, fresh));
        *out = xstrdup(fresh);
        return OK;
    }
    check_mode(path);
    while (size && strchr(" \t\r\n", text[size - 1]))
        text[--size] = '\0';
    if (size < SHORTEST || strlen(text) != size)
        return error_internal(arena,
                              "%s is damaged: it must hold the pool's secret of at least %d "
                              "characters; copy it from another member, or remove it on a host "
                              "that has no pool",
                              path, SHORTEST);
    *out = xstrdup(text);
    OPENSSL_cleanse(text, size);
    return OK;
}
