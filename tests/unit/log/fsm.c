/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* fsm.c -- a small database for the log's tests. */
#include "tests/unit/log/fsm.h"

#include <assert.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static uint64_t mix(uint64_t digest, const uint8_t *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        digest = (digest ^ p[i]) * 1099511628211u;
    return digest;
}

static void fsm_apply(void *ctx, struct arena *arena, uint64_t index, const void *data, size_t size,
                      struct log_result *result)
{
    struct fsm *fsm = ctx;
    uint64_t origin, number;
    const uint8_t *p = data;

    MUTEX_GUARD(&fsm->lock);
    assert(size >= LOG_ID_SIZE && index >= fsm->index);
    memcpy(&origin, p, 8);
    memcpy(&number, p + 8, 8);
    assert(origin < FSM_ORIGINS && number < FSM_NUMBERS);
    fsm->index = index;
    fsm->n_applies++;
    if (size > 16 && p[16] == 'C') {
        result->outcome = LOG_CONFLICT;
        return;
    }
    if (size > 16 && p[16] == 'R') {
        result->outcome = LOG_REJECTED;
        result->error = error_internal(arena, "rejected %d", (int)number);
        return;
    }
    if (fsm->once && fsm->seen[origin * FSM_NUMBERS + number]) {
        result->outcome = LOG_APPLIED;
        result->revision = fsm->revision;
        return;
    }
    fsm->seen[origin * FSM_NUMBERS + number]++;
    fsm->digest = mix(fsm->digest, data, size);
    result->outcome = LOG_APPLIED;
    result->revision = ++fsm->revision;
}

static void fsm_publish(void *ctx, uint64_t index)
{
    struct fsm *fsm = ctx;

    MUTEX_GUARD(&fsm->lock);
    assert(index >= fsm->index);
    fsm->published = fsm->revision;
}

struct held {
    uint64_t revision, digest, index;
    uint8_t seen[FSM_ORIGINS * FSM_NUMBERS];
};

static void *fsm_hold(void *ctx, uint64_t *index)
{
    struct fsm *fsm = ctx;
    struct held *h = xcalloc(1, sizeof *h);

    MUTEX_GUARD(&fsm->lock);
    h->revision = fsm->revision;
    h->digest = fsm->digest;
    h->index = *index = fsm->index;
    memcpy(h->seen, fsm->seen, sizeof h->seen);
    return h;
}

static void fsm_serialise(void *ctx, void *held, struct buf *out)
{
    struct held *h = held;

    (void)ctx;
    buf_add(out, h, 24);
    for (uint64_t i = 0; i < FSM_ORIGINS * (uint64_t)FSM_NUMBERS; i++)
        if (h->seen[i]) {
            buf_add(out, &i, 8);
            buf_add(out, &h->seen[i], 1);
        }
}

static void fsm_unhold(void *ctx, void *held)
{
    (void)ctx;
    free(held);
}

static bool fsm_restore(void *ctx, struct arena *arena, uint64_t index, const void *data,
                        size_t size, const char **why)
{
    struct fsm *fsm = ctx;
    const uint8_t *p = data;

    (void)arena;
    if (fsm->restore_takes)
        clock_sleep(fsm->restore_takes);
    MUTEX_GUARD(&fsm->lock);
    if (size < 24) {
        *why = "it is too short";
        return false;
    }
    memset(fsm->seen, 0, sizeof fsm->seen);
    memcpy(&fsm->revision, p, 8);
    memcpy(&fsm->digest, p + 8, 8);
    fsm->index = index;
    fsm->published = fsm->revision;
    fsm->n_restores++;
    for (size_t at = 24; at + 9 <= size; at += 9) {
        uint64_t i;

        memcpy(&i, p + at, 8);
        fsm->seen[i] = p[at + 8];
    }
    return true;
}

static void fsm_leader(void *ctx, uint64_t leader, uint64_t term, bool me)
{
    struct fsm *fsm = ctx;

    MUTEX_GUARD(&fsm->lock);
    fsm->leader = leader;
    fsm->term = term;
    fsm->leads = me;
    fsm->n_leads += me;
}

static void fsm_failed(void *ctx, const char *why)
{
    struct fsm *fsm = ctx;

    MUTEX_GUARD(&fsm->lock);
    snprintf(fsm->failure, sizeof fsm->failure, "%s", why);
}

struct fsm *fsm_new(void)
{
    struct fsm *fsm = xcalloc(1, sizeof *fsm);

    mutex_init(&fsm->lock);
    fsm->digest = 14695981039346656037u;
    fsm->log = (struct log_fsm){.ctx = fsm,
                                .apply = fsm_apply,
                                .publish = fsm_publish,
                                .hold = fsm_hold,
                                .serialise = fsm_serialise,
                                .unhold = fsm_unhold,
                                .restore = fsm_restore,
                                .leader = fsm_leader,
                                .failed = fsm_failed};
    return fsm;
}

void fsm_free(struct fsm *fsm)
{
    mutex_release(&fsm->lock);
    free(fsm);
}

bool fsm_has(struct fsm *fsm, uint64_t origin, uint64_t number)
{
    MUTEX_GUARD(&fsm->lock);
    return fsm->seen[origin * FSM_NUMBERS + number] == 1;
}

uint64_t fsm_revision(struct fsm *fsm)
{
    MUTEX_GUARD(&fsm->lock);
    return fsm->revision;
}

static void on_done(struct log_proposal *proposal, const struct log_result *result)
{
    struct ask *ask = container_of(proposal, struct ask, proposal);

    MUTEX_GUARD(&ask->lock);
    assert(!ask->answered);
    ask->outcome = result->outcome;
    ask->revision = result->revision;
    ask->error[0] = '\0';
    if (result->error)
        snprintf(ask->error, sizeof ask->error, "%s", result->error->params[0]);
    ask->answered = true;
    cond_signal(&ask->done);
}

void ask_init(struct ask *ask, uint64_t origin, uint64_t number, char kind, size_t size)
{
    memset(ask, 0, sizeof *ask);
    mutex_init(&ask->lock);
    cond_init(&ask->done);
    ask->bytes = xmalloc(size + 17);
    memset(ask->bytes, 'x', size + 17);
    memcpy(ask->bytes, &origin, 8);
    memcpy(ask->bytes + 8, &number, 8);
    ask->bytes[16] = (uint8_t)kind;
    ask->proposal = (struct log_proposal){.data = ask->bytes, .size = size, .done = on_done};
}

void ask_release(struct ask *ask)
{
    free(ask->bytes);
    cond_release(&ask->done);
    mutex_release(&ask->lock);
}

enum log_outcome ask_wait(struct ask *ask)
{
    MUTEX_GUARD(&ask->lock);
    while (!ask->answered)
        cond_wait(&ask->done, &ask->lock);
    return ask->outcome;
}

enum log_outcome ask_once(struct log *log, uint64_t origin, uint64_t number, char kind, size_t size)
{
    enum log_outcome outcome;
    struct ask ask;

    ask_init(&ask, origin, number, kind, size);
    log_propose(log, &ask.proposal);
    outcome = ask_wait(&ask);
    ask_release(&ask);
    return outcome;
}

char *temp_dir(void)
{
    const char *base = getenv("TMPDIR");
    char *dir = xasprintf("%s/xapid-log-XXXXXX", base ? base : "/tmp");

    if (!mkdtemp(dir))
        abort();
    return dir;
}

static void remove_tree(const char *dir)
{
    DIR *d = opendir(dir);
    struct dirent *e;

    while (d && (e = readdir(d)) != NULL) {
        char *path = xasprintf("%s/%s", dir, e->d_name);

        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0 && unlink(path) < 0)
            remove_tree(path);
        free(path);
    }
    if (d)
        closedir(d);
    rmdir(dir);
}

void temp_dir_remove(char *dir)
{
    remove_tree(dir);
    free(dir);
}

static void copy_file(const char *from, const char *to)
{
    static const size_t chunk = 1 << 16;
    int in = open(from, O_RDONLY), out = open(to, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    char *buf = xmalloc(chunk);
    struct stat st;
    ssize_t n;

    assert(in >= 0 && out >= 0 && fstat(in, &st) == 0);
    while ((n = read(in, buf, chunk)) > 0) {
        /* Zeros stay holes: most of a segment is unused. */
        if (buf[0] == 0 && memcmp(buf, buf + 1, (size_t)n - 1) == 0)
            lseek(out, n, SEEK_CUR);
        else if (write(out, buf, (size_t)n) != n)
            abort();
    }
    if (ftruncate(out, st.st_size) < 0)
        abort();
    free(buf);
    close(in);
    close(out);
}

void copy_dir(const char *from, const char *to)
{
    DIR *d = opendir(from);
    struct dirent *e;

    mkdir(to, 0700);
    while (d && (e = readdir(d)) != NULL) {
        char *a = xasprintf("%s/%s", from, e->d_name), *b = xasprintf("%s/%s", to, e->d_name);

        if (e->d_name[0] != '.')
            copy_file(a, b);
        free(a);
        free(b);
    }
    closedir(d);
}
