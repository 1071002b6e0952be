/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xapid/ops/host/system.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "libxapi/base/log.h"
#include "libxapi/codec/codec.h"
#include "xapid/main/xapid.h"
#include "xapid/task/task.h"

#define TIMEOUT (60 * USEC_PER_SEC)
#define OUTPUT_LIMIT ((size_t)1 << 20)
#define FILE_LIMIT ((size_t)1 << 20)
#define ADDRESS_LIMIT 253

/*** where things are ***/

const char *system_path(struct call *call, const char *path)
{
    /* Whoever forgot to say which system it is gets none. */
    const char *root = call->xapid->options.system_root;

    return arena_printf(call->arena, "%s%s", root ? root : "/nonexistent", path);
}

const char *system_program(struct call *call, const char *name)
{
    static const char *const folders[] = {"/usr/sbin", "/usr/bin", "/sbin", "/bin"};

    for (size_t i = 0; i < ARRAY_SIZE(folders); i++) {
        const char *path = system_path(call, arena_printf(call->arena, "%s/%s", folders[i], name));

        if (access(path, X_OK) == 0)
            return path;
    }
    return NULL;
}

bool system_is_simulated(const struct call *call)
{
    const char *which = call->xapid->options.hypervisor;

    return which && strcmp(which, "sim") == 0;
}

/*** programs ***/

static bool still_wanted(void *ctx, const char *text, size_t n)
{
    const struct call *call = ctx;

    (void)text, (void)n;
    return !call->task || !__atomic_load_n(&call->task->cancelled, __ATOMIC_RELAXED);
}

/* What it was to do, for errors. */
static const char *command_line(struct call *call, const char *const *argv)
{
    const char *text = argv[0];

    for (size_t i = 1; argv[i] && i < 8; i++)
        text = arena_printf(call->arena, "%s %s", text, argv[i]);
    return text;
}

static const char *clean(struct call *call, const char *text, size_t n)
{
    size_t len;

    return utf8_clean(call->arena, text, n, &len);
}

/* The last words: what it said on standard error, else what it printed. */
static const char *last_words(struct call *call, const struct child_result *r)
{
    if (*r->errors)
        return clean(call, r->errors, strlen(r->errors));
    if (r->output_size)
        return clean(call, r->output, MIN(r->output_size, (size_t)1024));
    return arena_printf(call->arena, "exit status %d", r->status);
}

struct error *system_run(struct call *call, const struct child_spec *spec,
                         struct child_result *result)
{
    const char *program = system_program(call, spec->argv[0]);
    struct child_spec own = *spec;
    size_t n = 0;

    if (!program)
        return error_internal(call->arena, "this host has no program %s (looked for below %s)",
                              spec->argv[0], system_path(call, "/usr"));
    while (spec->argv[n])
        n++;
    own.argv = arena_memdup(call->arena, spec->argv, (n + 1) * sizeof *spec->argv);
    ((const char **)own.argv)[0] = program;
    own.timeout = spec->timeout ? spec->timeout : TIMEOUT;
    own.output_limit = spec->output_limit ? spec->output_limit : OUTPUT_LIMIT;
    if (!own.watch) {
        own.watch = still_wanted;
        own.ctx = call;
    }
    TRY(child_run(call->arena, &own, result));
    if (result->cancelled && call->task)
        TRY(task_check(call));
    if (result->timed_out)
        return error_internal(call->arena, "%s did not end within %lld seconds",
                              command_line(call, spec->argv),
                              (long long)(own.timeout / USEC_PER_SEC));
    if (result->status != 0)
        return error_internal(call->arena, "%s: %s", command_line(call, spec->argv),
                              last_words(call, result));
    if (result->truncated && !spec->watch)
        return error_internal(call->arena, "%s printed more than %zu bytes",
                              command_line(call, spec->argv), own.output_limit);
    return OK;
}

struct error *system_ask(struct call *call, const char **output, const char *const *argv)
{
    struct child_result result;

    TRY(system_run(call, &(struct child_spec){.argv = argv}, &result));
    if (output)
        *output = clean(call, result.output, result.output_size);
    return OK;
}

/*** files ***/

const char *system_read(struct call *call, const char *path)
{
    int fd = open(system_path(call, path), O_RDONLY | O_CLOEXEC);
    char *text;
    size_t n = 0;
    ssize_t got;

    if (fd < 0)
        return NULL;
    text = arena_alloc(call->arena, FILE_LIMIT + 1);
    while (n < FILE_LIMIT && (got = read(fd, text + n, FILE_LIMIT - n)) > 0)
        n += (size_t)got;
    close(fd);
    return clean(call, text, n);
}

static struct error *failed(struct call *call, const char *path)
{
    return error_internal(call->arena, "cannot write %s: %s", path, strerror(errno));
}

/* The folders above the file, where they are not there yet. */
static void make_folders(struct call *call, const char *path)
{
    char *folder = arena_strdup(call->arena, path);

    for (char *p = strchr(folder + 1, '/'); p; p = strchr(p + 1, '/')) {
        *p = '\0';
        mkdir(folder, 0755); /* one that cannot be made is noticed when the file is */
        *p = '/';
    }
}

static bool sync_folder(struct call *call, const char *path)
{
    char *folder = arena_strdup(call->arena, path);
    bool good;
    int fd;

    *strrchr(folder, '/') = '\0';
    fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    good = fd >= 0 && fsync(fd) == 0;
    if (fd >= 0)
        close(fd);
    return good;
}

/* Complete or as before, also after a power cut. */
static struct error *write_file(struct call *call, const char *path, const char *text)
{
    const char *temp = arena_printf(call->arena, "%s.xapid-new", path);
    size_t n = strlen(text);
    bool good;
    int fd;

    make_folders(call, path);
    fd = open(temp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0644);
    if (fd < 0)
        return failed(call, temp);
    good = write(fd, text, n) == (ssize_t)n && fsync(fd) == 0;
    if (close(fd) < 0 || !good || rename(temp, path) < 0) {
        struct error *e = failed(call, path);

        unlink(temp);
        return e;
    }
    return sync_folder(call, path) ? OK : failed(call, path);
}

static struct error *put_file(struct call *call, const char *path, const char *text)
{
    if (text)
        return write_file(call, path, text);
    if (unlink(path) < 0 && errno != ENOENT)
        return failed(call, path);
    return OK;
}

static bool is_as_it_shall_be(const char *now, const char *text)
{
    return now && text ? strcmp(now, text) == 0 : !now && !text;
}

struct error *system_configure(struct call *call, const struct system_file *file)
{
    const char *path = system_path(call, file->path), *before = system_read(call, file->path);
    struct error *e, *again;

    if (!is_as_it_shall_be(before, file->text))
        TRY(put_file(call, path, file->text));
    e = file->apply ? file->apply(call, file->arg) : OK;
    if (!e || is_as_it_shall_be(before, file->text))
        return e;
    again = put_file(call, path, before);
    if (again)
        log_error("after a failure: %s", error_line(call->arena, again));
    return e;
}

static struct error *update_grub(struct call *call, void *arg)
{
    (void)arg;
    return SYSTEM_RUN(call, NULL, "update-grub");
}

struct error *system_configure_boot(struct call *call, const char *path, const char *text)
{
    return system_configure(call, &(struct system_file){path, text, update_grub, NULL});
}

void system_settle(struct call *call, const struct system_file *file)
{
    struct error *e;

    if (is_as_it_shall_be(system_read(call, file->path), file->text))
        return;
    e = system_configure(call, file);
    if (e)
        log_error("%s is not as the settings of this host say: %s", file->path,
                  error_line(call->arena, e));
}

bool system_is_address(const char *text)
{
    size_t n = strlen(text);

    if (!n || n > ADDRESS_LIMIT || *text == '-')
        return false;
    for (const char *p = text; *p; p++)
        if (!isalnum((unsigned char)*p) && !strchr(".:-", *p))
            return false;
    return true;
}
