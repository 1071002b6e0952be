/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xapid/stream/files.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "libxapi/base/memory.h"
#include "xapid/main/xapid.h"
#include "xapid/worker/workers.h"

/* Of one file; the web root holds a user interface, not downloads. */
#define FILE_LIMIT ((int64_t)64 << 20)

/*** what it is ***/

static const char *content_type(const char *path)
{
    static const struct {
        const char *ending, *type;
    } types[] = {
        {".html", "text/html; charset=utf-8"},
        {".htm", "text/html; charset=utf-8"},
        {".css", "text/css; charset=utf-8"},
        {".js", "text/javascript; charset=utf-8"},
        {".mjs", "text/javascript; charset=utf-8"},
        {".json", "application/json"},
        {".map", "application/json"},
        {".xml", "text/xml"},
        {".txt", "text/plain; charset=utf-8"},
        {".svg", "image/svg+xml"},
        {".png", "image/png"},
        {".jpg", "image/jpeg"},
        {".jpeg", "image/jpeg"},
        {".gif", "image/gif"},
        {".ico", "image/x-icon"},
        {".webp", "image/webp"},
        {".woff", "font/woff"},
        {".woff2", "font/woff2"},
        {".ttf", "font/ttf"},
        {".wasm", "application/wasm"},
        {".pdf", "application/pdf"},
        {".webmanifest", "application/manifest+json"},
        {".exe", "application/octet-stream"},
        {".msi", "application/octet-stream"},
    };
    size_t n = strlen(path);

    for (size_t i = 0; i < ARRAY_SIZE(types); i++) {
        size_t size = strlen(types[i].ending);

        if (n > size && strcasecmp(path + n - size, types[i].ending) == 0)
            return types[i].type;
    }
    return "application/octet-stream";
}

/*** sending ***/

struct file_body {
    struct http_body body;
    int fd;
    off_t at;
};

/* On the loop thread: the worker has just read the file into the page cache, so this is a copy. */
static bool file_next(struct http_body *body, struct buf *out, size_t want)
{
    struct file_body *b = (struct file_body *)body;
    size_t left = (size_t)(b->body.size - b->at);
    ssize_t n;

    want = MIN(want, left);
    buf_reserve(out, want);
    n = want ? pread(b->fd, out->data + out->len, want, b->at) : 0;
    if (n <= 0) {
        /* It became shorter meanwhile: the announced length is kept, with zeros. */
        memset(out->data + out->len, 0, want);
        n = (ssize_t)want;
    }
    out->len += (size_t)n;
    out->data[out->len] = '\0';
    b->at += n;
    return b->at < b->body.size;
}

static void file_release(struct http_body *body)
{
    struct file_body *b = (struct file_body *)body;

    close(b->fd);
    free(b);
}

void files_send(struct http_request *request, int fd, int64_t size, const char *type)
{
    static const struct http_pair headers[] = {
        {"Cache-Control", "no-cache"},
        {"X-Content-Type-Options", "nosniff"},
    };
    struct file_body *b = xcalloc(1, sizeof *b);
    struct http_response response = {.status = 200,
                                     .content_type = type,
                                     .n_headers = ARRAY_SIZE(headers),
                                     .headers = headers,
                                     .body = &b->body};

    b->body = (struct http_body){.size = size, .next = file_next, .release = file_release};
    b->fd = fd;
    if (!size) {
        file_release(&b->body);
        response.body = NULL;
        response.data = "";
    }
    http_reply(request, &response);
}

/*** finding ***/

static bool is_inside(const char *path, const char *root)
{
    size_t n = strlen(root);

    return strncmp(path, root, n) == 0 && (!path[n] || path[n] == '/' || root[n - 1] == '/');
}

/* The file's own path, or NULL with the status to answer. */
static const char *find_file(struct arena *arena, const char *root, const char *path, bool index,
                             int *status)
{
    char top[PATH_MAX], real[PATH_MAX];
    struct stat st;

    *status = 404;
    if (!realpath(root, top) || !realpath(arena_printf(arena, "%s/%s", top, path), real)) {
        if (errno == EACCES)
            *status = 403;
        return NULL;
    }
    if (!is_inside(real, top)) {
        *status = 403;
        return NULL;
    }
    if (!index && stat(real, &st) == 0 && S_ISDIR(st.st_mode))
        return find_file(arena, top, arena_printf(arena, "%s/index.html", real + strlen(top)), true,
                         status);
    return arena_strdup(arena, real);
}

/* True for a path with a part that is "..": refused before anything is looked up, so that nobody
 * learns what exists above. */
static bool climbs(const char *path)
{
    for (const char *p = path; (p = strstr(p, "..")); p += 2)
        if ((p == path || p[-1] == '/') && (!p[2] || p[2] == '/'))
            return true;
    return false;
}

struct looking {
    struct http_request *request;
    struct xapid *xapid;
};

static void look(void *arg)
{
    struct looking *l = arg;
    struct http_request *request = l->request;
    int status = 404, fd;
    const char *path =
        find_file(request->arena, l->xapid->options.web_root, request->path, false, &status);
    struct stat st;

    if (!path) {
        http_error(request, status, NULL);
        return;
    }
    /* O_NONBLOCK: something that is no file must not hold the worker. */
    fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0) {
        http_error(request, errno == ENOENT ? 404 : 403, NULL);
        return;
    }
    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_size > FILE_LIMIT) {
        close(fd);
        http_error(request, 403, NULL);
        return;
    }
    /* Its failure costs only time. */
    if (readahead(fd, 0, (size_t)st.st_size) < 0)
        errno = 0;
    files_send(request, fd, st.st_size, content_type(path));
}

void files_get(struct http_request *request, void *ctx)
{
    struct xapid *xapid = ctx;
    struct looking *l = arena_new(request->arena, struct looking);

    *l = (struct looking){request, xapid};
    if (!xapid->options.web_root || climbs(request->path))
        http_error(request, 403, NULL);
    else if (!workers_run(xapid->workers, look, l))
        http_error(request, 503, NULL);
}

void files_options(struct http_request *request, void *ctx)
{
    const char *asked = http_header(request, "access-control-request-headers");
    struct http_pair headers[] = {
        {"Access-Control-Allow-Origin", "*"},
        {"Access-Control-Allow-Headers", "X-Requested-With"},
        {"Access-Control-Allow-Methods", "GET, POST, PUT, OPTIONS"},
    };

    (void)ctx;
    if (asked && *asked)
        headers[1].value = arena_printf(request->arena, "%s, X-Requested-With", asked);
    http_reply(request, &(struct http_response){.status = 200,
                                                .n_headers = ARRAY_SIZE(headers),
                                                .headers = headers,
                                                .data = ""});
}
