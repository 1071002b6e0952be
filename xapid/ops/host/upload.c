/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xapid/ops/host/upload.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "libxapi/base/buf.h"
#include "libxapi/base/log.h"
#include "libxapi/value/value.h"
#include "xapid/main/xapid.h"
#include "xapid/ops/host/folder.h"
#include "xapid/ops/host/settle.h"
#include "xapid/ops/host/system.h"

#define URL_LIMIT 2048
#define BODY_LIMIT ((size_t)1 << 20)
#define ANSWER_LIMIT ((size_t)1 << 20)
#define TIMEOUT (3600 * USEC_PER_SEC)
#define POST_TIMEOUT (60 * USEC_PER_SEC)

/*** files ***/

struct error *upload_check_url(struct call *call, const char *url)
{
    static const char *const schemes[] = {"https://", "http://", "ftp://"};

    for (size_t i = 0; i < ARRAY_SIZE(schemes); i++)
        if (strncasecmp(url, schemes[i], strlen(schemes[i])) == 0 && url[strlen(schemes[i])] &&
            strlen(url) <= URL_LIMIT && !strpbrk(url, " \t\r\n"))
            return OK;
    /* What is wrong is shown in logs and tasks: not with a password in it. */
    return err_invalid_value(call, "url", strchr(url, '@') ? "(hidden)" : url);
}

/* A line of curl's configuration. */
static void put_setting(struct buf *out, const char *name, const char *value)
{
    buf_printf(out, "%s = \"", name);
    for (; *value; value++) {
        if (*value == '"' || *value == '\\')
            buf_putc(out, '\\');
        buf_putc(out, *value);
    }
    buf_puts(out, "\"\n");
}

static struct error *check_proxy(struct call *call, const char *proxy)
{
    for (const char *p = proxy; *p; p++)
        if (iscntrl((unsigned char)*p) || p - proxy >= URL_LIMIT)
            return err_invalid_value(call, "http_proxy",
                                     "it is too long or has control characters");
    return OK;
}

struct error *upload_file(struct call *call, const char *path, const char *url,
                          const struct strmap *options)
{
    const char *proxy = strmap_get(options, "http_proxy");
    /* Addresses may have passwords in them, and arguments are seen by everybody on the host. */
    const char *argv[] = {"curl",          "--silent", "--show-error", "--fail", "--globoff",
                          "--upload-file", path,       "--config",     "-",      NULL};
    struct child_result result;
    struct buf settings = {0};
    struct error *e;

    TRY(upload_check_url(call, url));
    TRY(check_proxy(call, proxy ? proxy : ""));
    put_setting(&settings, "url", url);
    if (proxy && *proxy)
        put_setting(&settings, "proxy", proxy);
    e = system_run(
        call,
        &(struct child_spec){
            .argv = argv, .input = settings.data, .input_size = settings.len, .timeout = TIMEOUT},
        &result);
    buf_release(&settings);
    return e;
}

static const char *spool_folder(const struct call *call)
{
    return arena_printf(call->arena, "%s/spool", call->xapid->options.state_dir);
}

struct error *upload_spool_make(struct call *call, const char *name, struct upload_spool *out)
{
    const char *folder = spool_folder(call);
    char *path = arena_printf(call->arena, "%s/%s.XXXXXX", folder, name);
    int fd;

    if (mkdir(folder, 0700) < 0 && errno != EEXIST)
        return error_internal(call->arena, "cannot make %s: %s", folder, strerror(errno));
    fd = mkostemp(path, O_CLOEXEC);
    if (fd < 0)
        return error_internal(call->arena, "cannot make %s: %s", path, strerror(errno));
    *out = (struct upload_spool){path, fd};
    return OK;
}

void upload_spool_release(struct upload_spool *spool)
{
    if (!spool->path)
        return;
    close(spool->fd);
    unlink(spool->path);
}

void upload_settle(struct call *call)
{
    struct error *e = folder_remove(call, spool_folder(call));

    if (e)
        log_warning("files of uploads that were cut short stay: %s", error_line(call->arena, e));
}

/*** a test ***/

/* curl says the number of what went wrong as its exit status; what it is about is in its words. */
struct error *pool_send_test_post(struct call *call, const struct pool_send_test_post_args *args,
                                  const char **result)
{
    const char *port = arena_printf(call->arena, "%lld", (long long)args->port);
    const char *host =
        strchr(args->host, ':') ? arena_printf(call->arena, "[%s]", args->host) : args->host;
    const char *argv[] = {"curl",
                          "--silent",
                          "--show-error",
                          "--fail",
                          "--globoff",
                          "--data-binary",
                          "@-",
                          "--header",
                          "Content-Type: text/plain",
                          "--",
                          arena_printf(call->arena, "https://%s:%s/", host, port),
                          NULL};
    struct child_result answer;
    struct error *e;

    if (!system_is_address(args->host))
        return err_invalid_value(call, "host", args->host);
    if (args->port < 1 || args->port > 65535)
        return err_invalid_value(call, "port", port);
    if (strlen(args->body) > BODY_LIMIT)
        return err_invalid_value(call, "body", "longer than 1 MiB");
    e = system_run(call,
                   &(struct child_spec){.argv = argv,
                                        .input = args->body,
                                        .input_size = strlen(args->body),
                                        .output_limit = ANSWER_LIMIT,
                                        .timeout = POST_TIMEOUT},
                   &answer);
    if (error_is(e, "INTERNAL_ERROR")) /* why stands behind what is declared */
        return error_new(call->arena, "TLS_CONNECTION_FAILED", 3, args->host, port, e->params[0]);
    TRY(e);
    *result = answer.output;
    return OK;
}
