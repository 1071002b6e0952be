/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * xen.c -- a libxl context for one call, with a logger that keeps what libxl says of failures: that
 * text is the only explanation there is, a return code says next to nothing.
 */
#include <dlfcn.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "libxapi/base/log.h"
#include "libxapi/base/memory.h"
#include "libxapi/base/seam.h"
#include "xapid/hypervisor/executor/executor.h"

#define LINES_MAX 12
#define LINE_MAX_BYTES 400

struct xen_log {
    xentoollog_logger vtable; /* first: libxl knows no more of it */
    int n;
    char lines[LINES_MAX][LINE_MAX_BYTES];
};

/* libxl begins with "FILE.c:LINE:FUNCTION: ", libxc with "panic: FILE.c:LINE: FUNCTION: ". */
const char *xen_words(const char *message)
{
    static const char panic[] = "panic: ";
    const char *at = message, *colon, *words;

    if (strncmp(at, panic, sizeof panic - 1) == 0)
        at += sizeof panic - 1;
    colon = strstr(at, ".c:");
    if (!colon || memchr(at, ' ', (size_t)(colon - at)))
        return message;
    at = colon + 3;
    at += strspn(at, "0123456789");
    at += strspn(at, ": ");
    words = at + strcspn(at, " ");
    return words > at && *words && words[-1] == ':' ? words + 1 : message;
}

static void log_vmessage(xentoollog_logger *logger, xentoollog_level level, int errnoval,
                         const char *context, const char *format, va_list ap)
{
    struct xen_log *log = (struct xen_log *)logger;
    char line[LINE_MAX_BYTES];
    int n;

    (void)context;
    if (level < XTL_WARN)
        return;
    n = vsnprintf(line, sizeof line, format, ap);
    if (n < 0)
        return;
    if (errnoval > 0 && n < (int)sizeof line - 3)
        snprintf(line + n, sizeof line - (size_t)n, ": %s", strerrordesc_np(errnoval));
    line[strcspn(line, "\n")] = '\0';
    if (level == XTL_WARN) {
        log_warning("libxl: %s", line);
        return;
    }
    /* The first lines say what happened, the last what it led to. */
    if (log->n == LINES_MAX) {
        memmove(log->lines[LINES_MAX / 2], log->lines[LINES_MAX / 2 + 1],
                sizeof log->lines[0] * (LINES_MAX / 2 - 1));
        log->n--;
    }
    snprintf(log->lines[log->n++], LINE_MAX_BYTES, "%s", xen_words(line));
}

static void log_progress(xentoollog_logger *logger, const char *context, const char *doing_what,
                         int percent, unsigned long done, unsigned long total)
{
    (void)logger;
    (void)context;
    (void)doing_what;
    (void)percent;
    (void)done;
    (void)total;
}

static void log_destroy(xentoollog_logger *logger)
{
    free(logger);
}

/*** forking ***/

/*
 * libxl forks children that never exec, among them the one that destroys a domain, and a lock that
 * another thread holds at that moment stays locked in the child for ever.  The libraries below
 * libxl have two that belong to the whole process: of all open handles, which are opened and closed
 * under this one here, and of libxencall's buffers, which a handle of one thread needs not.
 */
static struct mutex handles = {.m = PTHREAD_MUTEX_INITIALIZER};

/* Instead of libxenctrl's, which libxl calls: each handle is of one thread. */
xc_interface *xc_interface_open(xentoollog_logger *logger, xentoollog_logger *builder,
                                unsigned flags)
{
    __typeof__(xc_interface_open) *real = dlsym(RTLD_NEXT, "xc_interface_open");

    return real ? real(logger, builder, flags | XC_OPENFLAG_NON_REENTRANT) : NULL;
}

xc_interface *xen_control_open(void)
{
    MUTEX_GUARD(&handles);
    return xc_interface_open(NULL, NULL, 0);
}

void xen_control_close(xc_interface *xc)
{
    MUTEX_GUARD(&handles);
    if (xc)
        xc_interface_close(xc);
}

struct xs_handle *xen_store_open(void)
{
    MUTEX_GUARD(&handles);
    return xs_open(0);
}

void xen_store_close(struct xs_handle *xs)
{
    MUTEX_GUARD(&handles);
    if (xs)
        xs_close(xs);
}

/*
 * libxl's children get signals as a new process has them, whatever this thread blocks and the
 * process ignores.  They end with this thread, which waits for all of them: libxl forks some that
 * never exec, and after a kill -9 they would stand there for good, with our lock in their hands.
 * A device model is a child's child, forked by the same hook, and stays.  'user' is this process.
 */
static pid_t fork_clean(void *user)
{
    pid_t parent = getpid(), pid;
    bool is_ours = parent == (pid_t)(intptr_t)user;
    sigset_t none;

    mutex_lock(&handles);
    pid = fork();
    mutex_unlock(&handles); /* in both */
    if (pid == 0) {
        if (is_ours && (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || getppid() != parent))
            _exit(127);
        signal(SIGHUP, SIG_DFL);
        signal(SIGPIPE, SIG_DFL);
        sigemptyset(&none);
        sigprocmask(SIG_SETMASK, &none, NULL);
    }
    return pid;
}

struct error *xen_open(struct arena *arena, struct xen *out)
{
    /* Many contexts, each reaping its own children and nothing else; the process has none itself.
     */
    static const libxl_childproc_hooks hooks = {
        .chldowner = libxl_sigchld_owner_libxl_always_selective_reap,
        .fork_replacement = fork_clean,
    };
    struct error *e;
    bool failed;

    out->log = xcalloc(1, sizeof *out->log);
    out->log->vtable = (xentoollog_logger){log_vmessage, log_progress, log_destroy};
    mutex_lock(&handles);
    failed = libxl_ctx_alloc(&out->ctx, LIBXL_VERSION, 0, &out->log->vtable) != 0;
    out->xs = failed ? NULL : xs_open(0);
    mutex_unlock(&handles);
    if (failed) {
        out->ctx = NULL;
        e = xen_failed(arena, out, "this host has no Xen that can be driven", 0);
        xen_release(out);
        return e;
    }
    libxl_childproc_setmode(out->ctx, &hooks, (void *)(intptr_t)getpid());
    if (out->xs)
        return OK;
    xen_release(out);
    return error_internal(arena, "xenstore does not answer");
}

void xen_release(struct xen *xen)
{
    mutex_lock(&handles);
    if (xen->xs)
        xs_close(xen->xs);
    if (xen->ctx)
        libxl_ctx_free(xen->ctx);
    mutex_unlock(&handles);
    if (xen->log) {
        for (int i = 0; i < xen->log->n; i++)
            log_info("libxl: %s", xen->log->lines[i]);
        xtl_logger_destroy(&xen->log->vtable);
    }
    *xen = (struct xen){0};
}

struct error *xen_failed(struct arena *arena, struct xen *xen, const char *what, int rc)
{
    struct xen_log *log = xen->log;
    char *text = arena_strdup(arena, what);

    for (int i = 0; i < log->n; i++)
        text = arena_printf(arena, "%s%s%s", text, i ? "; " : ": ", log->lines[i]);
    if (!log->n && rc)
        text = arena_printf(arena, "%s: %s", text, libxl_error_to_string(rc));
    log->n = 0;
    return error_internal(arena, "%s", text);
}

void xen_forget(struct xen *xen)
{
    xen->log->n = 0;
}

const char *xen_said(const struct xen *xen, const char *words)
{
    for (int i = 0; i < xen->log->n; i++)
        if (strstr(xen->log->lines[i], words))
            return xen->log->lines[i];
    return NULL;
}

const char *xs_text(struct arena *arena, struct xen *xen, const char *path)
{
    unsigned n = 0;
    char *value = xs_read(xen->xs, XBT_NULL, path, &n);
    const char *copy = value ? arena_strndup(arena, value, n) : NULL;

    free(value);
    return copy;
}

char **xs_list(struct xen *xen, const char *path, unsigned *n)
{
    char **names;

    *n = 0;
    names = xs_directory(xen->xs, XBT_NULL, path, n);
    return names;
}

struct error *xs_put(struct arena *arena, struct xen *xen, const char *path, const char *value)
{
    if (xs_write(xen->xs, XBT_NULL, path, value, (unsigned)strlen(value)))
        return OK;
    return error_internal(arena, "xenstore: %s: %m", path);
}

void xs_drop(struct xen *xen, const char *path)
{
    xs_rm(xen->xs, XBT_NULL, path);
}
