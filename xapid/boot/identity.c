/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xapid/boot/parts.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <openssl/sha.h>

#include "libxapi/base/log.h"
#include "xapid/db/db.h"
#include "xapid/main/xapid.h"

/*** names that follow from the host's uuid ***/

static void digest_of(const struct boot *b, const char *what, uint8_t out[SHA256_DIGEST_LENGTH])
{
    char text[128];
    int n = snprintf(text, sizeof text, "xapid %s %s", what, b->uuid);

    SHA256((const uint8_t *)text, MIN((size_t)n, sizeof text - 1), out);
}

const char *boot_uuid(struct arena *arena, const struct boot *b, const char *what)
{
    uint8_t digest[SHA256_DIGEST_LENGTH];
    char uuid[UUID_TEXT_SIZE];

    digest_of(b, what, digest);
    digest[6] = (uint8_t)((digest[6] & 0x0f) | 0x80);
    digest[8] = (uint8_t)((digest[8] & 0x3f) | 0x80);
    return arena_strdup(arena, uuid_to_text(digest, uuid));
}

const char *boot_mac(struct arena *arena, const struct boot *b)
{
    uint8_t d[SHA256_DIGEST_LENGTH];

    digest_of(b, "mac", d);
    return arena_printf(arena, "02:%02x:%02x:%02x:%02x:%02x", d[0], d[1], d[2], d[3], d[4]);
}

const char *boot_new_uuid(struct arena *arena)
{
    char uuid[UUID_TEXT_SIZE];

    return arena_strdup(arena, uuid_new(uuid));
}

/*** this host's uuid ***/

static struct error *identity_failed(struct arena *arena, const char *path)
{
    return error_internal(arena, "cannot keep this host's identity in %s: %s", path,
                          strerror(errno));
}

/* Complete or absent, also after a power cut. */
static struct error *write_identity(struct arena *arena, const char *dir, const char *path,
                                    const char *uuid)
{
    const char *temp = arena_printf(arena, "%s.tmp", path);
    const char *line = arena_printf(arena, "%s\n", uuid);
    int fd = open(temp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0644);
    bool good;

    if (fd < 0)
        return identity_failed(arena, temp);
    good = write(fd, line, strlen(line)) == (ssize_t)strlen(line) && fsync(fd) == 0;
    close(fd);
    if (!good || rename(temp, path) < 0)
        return identity_failed(arena, path);
    fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    good = fd >= 0 && fsync(fd) == 0;
    if (fd >= 0)
        close(fd);
    return good ? OK : identity_failed(arena, path);
}

/* "" where there is none. */
struct error *identity_read(struct arena *arena, const char *path, const char **uuid)
{
    char text[64] = "";
    uint8_t bytes[16];
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n;

    *uuid = "";
    if (fd < 0)
        return errno == ENOENT ? OK : identity_failed(arena, path);
    n = read(fd, text, sizeof text - 1);
    close(fd);
    if (n < 0)
        return identity_failed(arena, path);
    text[strcspn(text, "\r\n \t")] = '\0';
    if (!uuid_from_text(text, bytes))
        return error_internal(arena,
                              "%s does not hold a uuid; without it this host does not know "
                              "which of the pool's hosts it is",
                              path);
    *uuid = arena_strdup(arena, text);
    return OK;
}

/* The only host of the database, or NULL. */
static const struct host *only_host(const struct call *call)
{
    struct db_walk walk;
    const struct host *host;

    db_walk(call->snap, CLASS_host, &walk);
    host = db_walk_next(&walk);
    return host && !db_walk_next(&walk) ? host : NULL;
}

/* The host whose daemon is this member of the log, or NULL. */
static const struct host *host_of_member(const struct call *call, const char *member)
{
    const struct host_state *state;
    struct db_walk walk;

    db_walk(call->snap, CLASS_host_state, &walk);
    while (*member && (state = db_walk_next(&walk)))
        if (strcmp(state->member, member) == 0)
            return db_find(call, CLASS_host, state->host);
    return NULL;
}

struct error *identity_find(struct call *call, struct boot *b)
{
    const char *dir = b->xapid->options.state_dir;
    const char *path = arena_printf(call->arena, "%s/host-uuid", dir);
    const struct host *host = host_of_member(call, b->member);

    TRY(identity_read(call->arena, path, &b->uuid));
    if (*b->uuid && host && strcmp(host->uuid, b->uuid) != 0)
        return error_internal(call->arena,
                              "the database knows this member of the pool as host %s, but %s says "
                              "%s: it belongs to another one, or was changed",
                              host->uuid, path, b->uuid);
    if (*b->uuid)
        return OK;
    if (!host && b->alone)
        host = only_host(call);
    if (host)
        log_warning("%s is missing; taken from the database", path);
    b->uuid = host ? arena_strdup(call->arena, host->uuid) : boot_new_uuid(call->arena);
    return write_identity(call->arena, dir, path, b->uuid);
}
