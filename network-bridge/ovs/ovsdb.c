/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "network-bridge/ovs/ovsdb.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "libxapi/base/seam.h"

#define CHUNK 65536

/* ---- messages ---- */

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static void scan_quoted(struct ovsdb_scan *scan, char c)
{
    if (scan->escaped)
        scan->escaped = false;
    else if (c == '\\')
        scan->escaped = true;
    else if (c == '"')
        scan->quoted = false;
}

long ovsdb_frame(struct ovsdb_scan *scan, const char *s, size_t n)
{
    while (scan->at < n) {
        char c = s[scan->at++];

        if (scan->quoted) {
            scan_quoted(scan, c);
        } else if (c == '{' || c == '[') {
            if (++scan->depth > OVSDB_DEPTH || (scan->depth == 1 && c == '['))
                return -1;
        } else if (scan->depth == 0) {
            if (!is_blank(c))
                return -1;
        } else if (c == '"') {
            scan->quoted = true;
        } else if ((c == '}' || c == ']') && --scan->depth == 0) {
            return (long)scan->at;
        }
    }
    return 0;
}

static const char *text_of(json_t *json, const char *otherwise)
{
    const char *text = json_string_value(json);

    return text ? text : otherwise;
}

static const char *refusal(struct arena *arena, json_t *error)
{
    const char *word = text_of(json_object_get(error, "error"), text_of(error, "no reason given"));
    const char *details = text_of(json_object_get(error, "details"), "");

    return arena_printf(arena, "%s%s%s", word, *details ? ": " : "", details);
}

json_t *ovsdb_results(struct arena *arena, json_t *reply, const char **why)
{
    json_t *results = json_object_get(reply, "result"), *error = json_object_get(reply, "error");
    json_t *one;
    size_t i;

    if (error && !json_is_null(error)) {
        *why = refusal(arena, error);
        return NULL;
    }
    if (!json_is_array(results)) {
        *why = "an answer without results";
        return NULL;
    }
    json_array_foreach(results, i, one)
    {
        if (!json_object_get(one, "error"))
            continue;
        *why = refusal(arena, one);
        return NULL;
    }
    return results;
}

/* ---- a connection ---- */

void ovsdb_release(struct ovsdb *db)
{
    if (db->open)
        close(db->fd);
    buf_release(&db->in);
    *db = (struct ovsdb){0};
}

const char *ovsdb_open(struct ovsdb *db, struct arena *arena, const char *path)
{
    struct sockaddr_un to = {.sun_family = AF_UNIX};

    if (strlen(path) >= sizeof to.sun_path)
        return arena_printf(arena, "the path %s is too long for a socket", path);
    memcpy(to.sun_path, path, strlen(path) + 1);
    db->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (db->fd < 0)
        return arena_printf(arena, "no socket: %s", strerrordesc_np(errno));
    db->open = true;
    /* Of a server that is there it succeeds at once, also where that one is busy. */
    if (connect(db->fd, (struct sockaddr *)&to, sizeof to) < 0)
        return arena_printf(arena, "ovsdb-server is not there (%s: %s)", path,
                            strerrordesc_np(errno));
    return NULL;
}

/* NULL once there is something to be done. */
static const char *wait_for(struct ovsdb *db, short events, usec_t deadline)
{
    struct pollfd p = {.fd = db->fd, .events = events};

    while (true) {
        usec_t left = deadline - clock_mono();
        int n;

        if (left <= 0)
            return "ovsdb-server does not answer in time";
        n = poll(&p, 1, (int)(left / 1000 + 1));
        if (n > 0)
            return NULL;
        if (n < 0 && errno != EINTR)
            return strerrordesc_np(errno);
    }
}

static const char *send_all(struct ovsdb *db, const char *text, usec_t deadline)
{
    for (size_t left = strlen(text); left > 0;) {
        const char *why = wait_for(db, POLLOUT, deadline);
        ssize_t n = why ? 0 : send(db->fd, text, left, MSG_NOSIGNAL | MSG_DONTWAIT);

        if (why)
            return why;
        if (n < 0 && errno != EINTR && errno != EAGAIN)
            return "ovsdb-server has ended the connection";
        if (n > 0) {
            text += n;
            left -= (size_t)n;
        }
    }
    return NULL;
}

/* One message, to be dropped. */
static const char *receive(struct ovsdb *db, struct arena *arena, usec_t deadline, json_t **out)
{
    struct ovsdb_scan scan = {0};
    json_error_t wrong;
    long size;

    while ((size = ovsdb_frame(&scan, db->in.data, db->in.len)) == 0) {
        const char *why = wait_for(db, POLLIN, deadline);
        ssize_t n;

        if (why)
            return why;
        if (db->in.len > OVSDB_REPLY_LIMIT)
            return "ovsdb-server says too much";
        buf_reserve(&db->in, CHUNK);
        n = recv(db->fd, db->in.data + db->in.len, CHUNK - 1, MSG_DONTWAIT);
        if (n == 0 || (n < 0 && errno != EINTR && errno != EAGAIN))
            return "ovsdb-server has ended the connection";
        db->in.len += n > 0 ? (size_t)n : 0;
    }
    if (size < 0)
        return "ovsdb-server says something that is no answer";
    *out = json_loadb(db->in.data, (size_t)size, 0, &wrong);
    db->in.len -= (size_t)size;
    memmove(db->in.data, db->in.data + size, db->in.len);
    return *out ? NULL : arena_printf(arena, "ovsdb-server's answer is no JSON: %s", wrong.text);
}

/* The reply to our request.  The server may ask whether we are still there (echo), and tell what we
 * did not ask for; neither needs an answer within the time that a connection is kept. */
static const char *receive_reply(struct ovsdb *db, struct arena *arena, usec_t deadline,
                                 json_t **out)
{
    while (true) {
        const char *why = receive(db, arena, deadline, out);

        if (why)
            return why;
        if (json_integer_value(json_object_get(*out, "id")) == db->id)
            return NULL;
        json_decref(*out);
    }
}

const char *ovsdb_transact(struct ovsdb *db, struct arena *arena, json_t *operations,
                           usec_t patience, json_t **results)
{
    usec_t deadline = clock_mono() + patience + OVSDB_ANSWER_TIME;
    OVSDB_JSON *reply = NULL;
    OVSDB_JSON *request = NULL;
    const char *why = NULL;
    char *text;

    *results = NULL;
    json_array_insert_new(operations, 0, json_string("Open_vSwitch"));
    request =
        json_pack("{s:s, s:o, s:I}", "method", "transact", "params", operations, "id", ++db->id);
    text = json_dumps(request, JSON_COMPACT);
    if (!text)
        return "the request is no JSON";
    why = send_all(db, text, deadline);
    free(text);
    if (!why)
        why = receive_reply(db, arena, deadline, &reply);
    if (why)
        return why;
    *results = ovsdb_results(arena, reply, &why);
    json_incref(*results);
    return why ? arena_printf(arena, "ovsdb-server refuses the change: %s", why) : NULL;
}
