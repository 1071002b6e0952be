/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xapid/ops/faults.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "libxapi/base/memory.h"
#include "libxapi/base/seam.h"
#include "xapid/main/xapid.h"

#define WAIT_LIMIT (300 * USEC_PER_SEC)
#define WAIT_STEP (20 * USEC_PER_MSEC)

struct faults {
    struct mutex lock;
    char *dir;
};

struct faults *faults_new(const char *state_dir)
{
    struct faults *f = xcalloc(1, sizeof *f);

    mutex_init(&f->lock);
    f->dir = xstrdup(state_dir);
    return f;
}

void faults_free(struct faults *f)
{
    if (!f)
        return;
    mutex_release(&f->lock);
    free(f->dir);
    free(f);
}

/* Looks for a line that begins with 'name' and a blank; copies what follows. False if there is
 * none. */
static bool find_line(const char *path, const char *name, char *rest, size_t size)
{
    FILE *file = fopen(path, "re");
    char line[256];
    bool found = false;
    size_t n = strlen(name);

    if (!file)
        return false;
    while (!found && fgets(line, sizeof line, file)) {
        line[strcspn(line, "\n")] = '\0';
        found = strncmp(line, name, n) == 0 && (line[n] == ' ' || line[n] == '\0');
        if (found)
            snprintf(rest, size, "%s", line[n] ? line + n + 1 : "");
    }
    fclose(file);
    return found;
}

static void note(struct faults *f, const char *name)
{
    char path[4096], rest[8];
    FILE *file;

    snprintf(path, sizeof path, "%s/steps", f->dir);
    MUTEX_GUARD(&f->lock);
    if (find_line(path, name, rest, sizeof rest))
        return;
    file = fopen(path, "ae");
    if (!file)
        return;
    fprintf(file, "%s\n", name);
    fclose(file);
}

/* What the line says once it does not say "wait" any more; false if it has gone. */
static bool wait_for_line(const char *path, const char *name, char *what, size_t size)
{
    usec_t deadline = clock_mono() + WAIT_LIMIT;
    bool found;

    while ((found = find_line(path, name, what, size)) && strcmp(what, "wait") == 0 &&
           clock_mono() < deadline)
        clock_sleep(WAIT_STEP);
    return found && strcmp(what, "wait") != 0;
}

static struct error *reach(struct faults *f, struct arena *arena, const char *intent,
                           const char *step)
{
    char path[4096], what[64];
    const char *name;

    if (!f)
        return OK;
    name = arena_printf(arena, "%s/%s", intent, step);
    note(f, name);
    snprintf(path, sizeof path, "%s/faults", f->dir);
    if (!wait_for_line(path, name, what, sizeof what))
        return OK;
    if (strcmp(what, "kill") == 0)
        kill(getpid(), SIGKILL);
    return error_internal(arena, "a test made step %s fail", name);
}

struct error *faults_step(struct call *call, const char *intent, const char *step)
{
    return reach(call->xapid->faults, call->arena, intent, step);
}

void faults_step_ignored(struct call *call, const char *intent, const char *step)
{
    /* The work is done and recorded: an error here would be a lie. */
    error_ignore(faults_step(call, intent, step));
}

void faults_in(struct faults *faults, const char *intent, const char *step)
{
    AUTO(arena) arena = {0};

    error_ignore(reach(faults, &arena, intent, step));
}

void faults_at(struct xapid *xapid, const char *intent, const char *step)
{
    faults_in(xapid->faults, intent, step);
}

usec_t faults_clock(struct xapid *xapid)
{
    struct faults *f = xapid->faults;
    long long seconds = 0;
    char path[4096];
    FILE *file;

    if (!f)
        return 0;
    snprintf(path, sizeof path, "%s/clock", f->dir);
    file = fopen(path, "re");
    if (file && fscanf(file, "%lld", &seconds) != 1)
        seconds = 0;
    if (file)
        fclose(file);
    return seconds * USEC_PER_SEC;
}
