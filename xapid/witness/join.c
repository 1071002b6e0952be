/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * join.c -- a witness's words with its pool.
 *
 * The file is on disk before the pool is asked, so that a witness that is killed asks again under
 * the same number; it votes only from "run" on, once the pool has said that it is in.
 */
#include "xapid/witness/witness.h"

#include <errno.h>
#include <inttypes.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "libxapi/base/seam.h"
#include "libxapi/include/xapi/session.h"
#include "libxapi/value/value.h"
#include "pool/peer/peer.h"
#include "xapid/join/link.h"
#include "xapid/ops/faults.h"

#define USUAL_PORT 443
#define POOL_PORT 7400
#define PATIENCE (30 * USEC_PER_SEC)
/* How long a running witness may take to learn that it was removed. */
#define ENDS_WITHIN (60 * USEC_PER_SEC)

/*** the pool ***/

static void session_end(struct xapi_session **session)
{
    xapi_disconnect(*session);
}

/* "host", "host:port", "[v6]:port". */
static struct error *split(struct arena *arena, const char *text, int usual, const char **host,
                           int *port)
{
    const char *colon = strrchr(text, ':'), *end = text + strlen(text);
    int64_t n = usual;

    if (colon && (*text == '[' ? colon[-1] == ']' : strchr(text, ':') == colon)) {
        if (!int_from_text(colon + 1, &n) || n < 1 || n > 65535)
            return error_new(arena, "INVALID_VALUE", 2, "address", text);
        end = colon;
    }
    *host = arena_strndup(arena, text, (size_t)(end - text));
    *port = (int)n;
    return **host ? OK : error_new(arena, "INVALID_VALUE", 2, "address", text);
}

/* Without the brackets that tell an IPv6 address from its port. */
static const char *bare(struct arena *arena, const char *host)
{
    size_t n = strlen(host);

    return *host == '[' && n > 2 ? arena_strndup(arena, host + 1, n - 2) : host;
}

static struct error *connect_to(struct arena *arena, const struct witness_words *words,
                                const char *host, int port, const char *fingerprint,
                                struct xapi_session **out)
{
    const struct xapi_options options = {.host = bare(arena, host),
                                         .port = port,
                                         .user = words->user,
                                         .password = words->password,
                                         .originator = "xapi-witness",
                                         .fingerprint = fingerprint,
                                         .timeout = PATIENCE};
    struct error *e = xapi_connect(&options, out);

    return e ? error_copy(arena, e) : OK;
}

/*** this machine ***/

/* Which of its addresses the pool sees: the one that packets to it leave from. */
static struct error *own_host(struct arena *arena, const char *pool, const char **out)
{
    const struct addrinfo hints = {.ai_socktype = SOCK_DGRAM};
    struct sockaddr_storage own = {0};
    socklen_t size = sizeof own;
    struct addrinfo *found = NULL;
    char text[NI_MAXHOST] = "";
    int fd = -1;

    if (getaddrinfo(bare(arena, pool), "443", &hints, &found) == 0) {
        fd = socket(found->ai_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        if (fd >= 0 && connect(fd, found->ai_addr, found->ai_addrlen) == 0 &&
            getsockname(fd, (struct sockaddr *)&own, &size) == 0)
            getnameinfo((struct sockaddr *)&own, size, text, sizeof text, NULL, 0, NI_NUMERICHOST);
        if (fd >= 0)
            close(fd);
        freeaddrinfo(found);
    }
    if (!*text)
        return error_internal(arena, "it is not clear where the hosts reach this machine: "
                                     "--address HOST[:PORT] says it");
    *out = strchr(text, ':') ? arena_printf(arena, "[%s]", text) : arena_strdup(arena, text);
    return OK;
}

/* With the fingerprint of the identity, which is made here the first time. */
static struct error *own_address(struct arena *arena, const struct witness_words *words,
                                 const char *pool, const char **out)
{
    struct peers_options options = {.dir = words->dir};
    int port = POOL_PORT;
    struct peers *peers;
    const char *host;

    if (words->address)
        TRY(split(arena, words->address, POOL_PORT, &host, &port));
    else
        TRY(own_host(arena, pool, &host));
    TRY(peers_open(arena, &options, &peers));
    *out = arena_printf(arena, "%s:%d/%s", host, port, peers_fingerprint(peers));
    peers_close(peers);
    return peer_address_ok(*out) ? OK : error_new(arena, "INVALID_VALUE", 2, "address", *out);
}

static struct error *check_free(struct arena *arena, const struct witness_words *words,
                                struct witness_file *file, bool *found)
{
    TRY(witness_file_read(arena, words->dir, file, found));
    if (*found && file->in)
        return error_internal(arena,
                              "%s is a witness already, of the pool of %s: it works while "
                              "\"xapi-witness run\" does; \"xapi-witness leave\" ends it",
                              words->dir, file->pool);
    return OK;
}

/* A number for this directory, on its disk before anybody hears of it. */
static struct error *begin(struct arena *arena, const struct witness_words *words,
                           struct witness_file *file)
{
    char name[256] = "witness";
    bool found;

    TRY(check_free(arena, words, file, &found));
    TRY(split(arena, words->pool, USUAL_PORT, &file->pool, &file->port));
    if (!found) {
        gethostname(name, sizeof name - 1);
        file->name = arena_strdup(arena, name);
        file->id = (random_u64() >> 1) | 1;
        file->fingerprint = "";
    }
    TRY(own_address(arena, words, file->pool, &file->address));
    return witness_file_write(arena, words->dir, file);
}

static void read_members(struct arena *arena, const json_t *list, struct witness_file *file)
{
    size_t n = json_array_size(list);
    const char **v = arena_array(arena, const char *, n + 1);

    file->members = (struct strings){0, v};
    for (size_t i = 0; i < n; i++) {
        const char *text = json_string_value(json_array_get(list, i));

        if (text && peer_address_ok(text))
            v[file->members.n++] = arena_strdup(arena, text);
    }
}

struct error *witness_join(struct arena *arena, const struct witness_words *words)
{
    __attribute__((cleanup(session_end))) struct xapi_session *session = NULL;
    AUTO(witness_lock) lock = {0};
    struct witness_file file;
    json_t *json;
    bool lost, found;

    TRY(check_free(arena, words, &file, &found)); /* a running one holds the lock */
    TRY(witness_lock_take(arena, words->dir, 0, &lock));
    TRY(begin(arena, words, &file));
    faults_in(words->faults, "witness_join", "begun");
    TRY(connect_to(arena, words, file.pool, file.port, words->fingerprint, &session));
    file.fingerprint = arena_strdup(arena, xapi_server_fingerprint(session));
    TRY(join_ask(arena, session,
                 arena_printf(arena, "witness=%016" PRIx64 "&address=%s&name=%s&level=%u", file.id,
                              file.address, file.name, words->level),
                 NULL, &json, &lost));
    faults_in(words->faults, "witness_join", "asked");
    read_members(arena, json_object_get(json, "members"), &file);
    json_decref(json);
    if (!file.members.n)
        return error_internal(arena, "the pool's answer names no members");
    file.in = true;
    TRY(witness_file_write(arena, words->dir, &file));
    faults_in(words->faults, "witness_join", "in");
    printf("This machine is the pool's witness, member %016" PRIx64 ", reached at %.*s.\n"
           "The pool's host showed a certificate with the SHA-256 fingerprint %s.\n"
           "The witness votes while it runs: systemctl enable --now xapi-witness\n",
           file.id, (int)strcspn(file.address, "/"), file.address, file.fingerprint);
    return OK;
}

static struct error *ask_to_end(struct arena *arena, struct xapi_session *session,
                                const char *member)
{
    json_t *json;
    bool lost;

    TRY(join_ask(arena, session, arena_printf(arena, "unwitness=%s", member), NULL, &json, &lost));
    json_decref(json);
    return OK;
}

struct error *witness_leave(struct arena *arena, const struct witness_words *words)
{
    __attribute__((cleanup(session_end))) struct xapi_session *session = NULL;
    const char *fingerprint = words->fingerprint;
    AUTO(witness_lock) lock = {0};
    struct witness_file file;
    bool found;

    TRY(witness_file_read(arena, words->dir, &file, &found));
    if (!found)
        return error_internal(arena, "%s is no witness's directory", words->dir);
    if (words->pool)
        TRY(split(arena, words->pool, USUAL_PORT, &file.pool, &file.port));
    else if (!fingerprint && *file.fingerprint)
        fingerprint = file.fingerprint;
    TRY(connect_to(arena, words, file.pool, file.port, fingerprint, &session));
    TRY(ask_to_end(arena, session, arena_printf(arena, "%016" PRIx64, file.id)));
    faults_in(words->faults, "witness_leave", "asked");
    TRY(witness_lock_take(arena, words->dir, ENDS_WITHIN, &lock));
    TRY(witness_forget(arena, words->dir, &file, words->faults));
    printf("This machine is a witness no longer; its log is kept in %s/db.of-%016" PRIx64 ".\n",
           words->dir, file.id);
    return OK;
}

struct error *witness_drop(struct arena *arena, const struct witness_words *words)
{
    __attribute__((cleanup(session_end))) struct xapi_session *session = NULL;
    const char *host;
    int port;

    TRY(split(arena, words->pool, USUAL_PORT, &host, &port));
    TRY(connect_to(arena, words, host, port, words->fingerprint, &session));
    TRY(ask_to_end(arena, session, ""));
    printf("The pool has no witness any more.\n");
    return OK;
}
