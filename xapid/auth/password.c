/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xapid/auth/password.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>

#include "libxapi/base/buf.h"
#include "libxapi/base/seam.h"
#include "xapid/auth/file.h"

#define FILE_LIMIT (1 << 20)
#define SALT_SIZE 16
#define HASH_SIZE 32
#define MEMORY_LIMIT ((uint64_t)256 << 20)
/* About 16 MiB and 50 ms for each check. */
#define COST_N 16384
#define COST_R 8
#define COST_P 1

struct scrypt {
    unsigned long n, r, p;
    uint8_t salt[SALT_SIZE], hash[HASH_SIZE];
};

bool password_user_is_valid(const char *user)
{
    size_t n = strlen(user);

    if (n == 0 || n > PASSWORD_MAX_USER || user[0] == '#')
        return false;
    for (const char *p = user; *p; p++)
        if (*p == ':' || (unsigned char)*p < ' ' || *p == 0x7f)
            return false;
    return true;
}

static bool derive(const struct scrypt *s, const char *password, uint8_t out[HASH_SIZE])
{
    return EVP_PBE_scrypt(password, strlen(password), s->salt, SALT_SIZE, s->n, s->r, s->p,
                          MEMORY_LIMIT, out, HASH_SIZE) == 1;
}

static void put_hex(struct buf *out, const uint8_t *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        buf_printf(out, "%02x", p[i]);
}

static bool take_hex(const char **text, uint8_t *out, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        char digits[3] = {(*text)[0], (*text)[0] ? (*text)[1] : '\0', '\0'};
        unsigned v;

        if (strspn(digits, "0123456789abcdef") != 2 || sscanf(digits, "%2x", &v) != 1)
            return false;
        out[i] = (uint8_t)v;
        *text += 2;
    }
    return true;
}

static bool parse(const char *text, struct scrypt *out)
{
    int used = 0;

    if (sscanf(text, "$scrypt$%8lu$%3lu$%3lu$%n", &out->n, &out->r, &out->p, &used) != 3 || !used)
        return false;
    text += used;
    return take_hex(&text, out->salt, SALT_SIZE) && *text++ == '$' &&
           take_hex(&text, out->hash, HASH_SIZE) && *text == '\0';
}

struct error *password_hash(struct arena *arena, const char *password, const char **out)
{
    struct scrypt s = {.n = COST_N, .r = COST_R, .p = COST_P};
    struct buf text = {0};

    random_bytes(s.salt, sizeof s.salt);
    if (!derive(&s, password, s.hash))
        return error_internal(arena, "the password could not be hashed");
    buf_printf(&text, "$scrypt$%lu$%lu$%lu$", s.n, s.r, s.p);
    put_hex(&text, s.salt, SALT_SIZE);
    buf_putc(&text, '$');
    put_hex(&text, s.hash, HASH_SIZE);
    *out = arena_strdup(arena, text.data);
    buf_release(&text);
    return OK;
}

bool password_matches(const char *hash, const char *password)
{
    uint8_t got[HASH_SIZE];
    struct scrypt s;
    bool same;

    if (!parse(hash, &s) || !derive(&s, password, got))
        return false;
    same = CRYPTO_memcmp(got, s.hash, HASH_SIZE) == 0;
    OPENSSL_cleanse(got, sizeof got);
    return same;
}

/* The line of a user, without its end; NULL if there is none. */
static const char *find_line(const char *text, const char *user, size_t *size)
{
    size_t n = strlen(user);

    while (*text) {
        *size = strcspn(text, "\n");
        if (*size > n && text[n] == ':' && memcmp(text, user, n) == 0)
            return text;
        text += *size + (text[*size] == '\n');
    }
    return NULL;
}

struct error *password_file_check(struct arena *arena, const char *path, const char *user,
                                  const char *password, bool *good)
{
    static const struct scrypt nobody = {.n = COST_N, .r = COST_R, .p = COST_P};
    uint8_t ignored[HASH_SIZE];
    const char *line = NULL;
    size_t size;
    char *text;

    *good = false;
    TRY(secret_file_read(arena, path, FILE_LIMIT, &text, &size));
    if (!text)
        return error_internal(arena, "there is no password file %s", path);
    if (password_user_is_valid(user))
        line = find_line(text, user, &size);
    if (line) {
        size_t n = strlen(user) + 1;

        *good = password_matches(arena_strndup(arena, line + n, size - n), password);
    } else {
        derive(&nobody, password, ignored);
    }
    return OK;
}

struct error *password_file_set(struct arena *arena, const char *path, const char *user,
                                const char *password)
{
    AUTO(file_lock) lock = {0};
    const char *hash, *line = NULL;
    struct buf out = {0};
    struct error *e;
    size_t size, line_size = 0;
    char *text;

    if (!password_user_is_valid(user))
        return error_internal(arena, "this user name cannot stand in a password file");
    if (!*password || strlen(password) > PASSWORD_MAX)
        return error_internal(arena, "a password has 1 to %d bytes", PASSWORD_MAX);
    TRY(password_hash(arena, password, &hash));
    TRY(file_lock_take(arena, path, &lock));
    TRY(secret_file_read(arena, path, FILE_LIMIT - 1024, &text, &size));
    if (!text)
        text = arena_strdup(arena, "");
    line = find_line(text, user, &line_size);
    buf_add(&out, text, line ? (size_t)(line - text) : strlen(text));
    if (out.len && out.data[out.len - 1] != '\n')
        buf_putc(&out, '\n');
    buf_printf(&out, "%s:%s\n", user, hash);
    if (line && line[line_size] == '\n')
        buf_puts(&out, line + line_size + 1);
    e = secret_file_replace(arena, path, out.data, out.len);
    buf_release(&out);
    return e;
}
