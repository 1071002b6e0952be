/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* fixture.c -- see fixture.h. */
#include "fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "libxapi/base/memory.h"

static void find_program(struct fixture *f)
{
    const char *named = getenv("XAPID_SIM");
    char self[192] = "";
    char *slash;

    if (readlink("/proc/self/exe", self, sizeof self - 1) < 0)
        fail_msg("/proc/self/exe cannot be read");
    slash = strrchr(self, '/');
    *slash = '\0';
    if (named)
        snprintf(f->program, sizeof f->program, "%s", named);
    else
        snprintf(f->program, sizeof f->program, "%s/xapid-sim", self);
}

void fixture_start(struct fixture *f)
{
    struct hv_simulator sim = {
        .program = f->program, .socket_path = f->socket_path, .dir = f->dir, .boot_ms = 20};

    assert_ok(f, hv_start_simulator(&f->arena, &sim, PATIENCE));
}

static void note_change(void *ctx, const char *uuid)
{
    struct fixture *f = ctx;
    MUTEX_GUARD(&f->lock);

    f->n_changes++;
    f->n_resyncs += !*uuid;
    cond_broadcast(&f->changed);
}

void fixture_connect(struct fixture *f)
{
    f->hv = hv_new(f->socket_path);
    hv_watch(f->hv, note_change, f);
}

int fixture_setup_unconnected(void **state)
{
    struct fixture *f = xcalloc(1, sizeof *f);

    *state = f;
    find_program(f);
    snprintf(f->dir, sizeof f->dir, "/tmp/hv-test-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    snprintf(f->socket_path, sizeof f->socket_path, "%s/hv.socket", f->dir);
    mutex_init(&f->lock);
    cond_init(&f->changed);
    fixture_start(f);
    return 0;
}

int fixture_setup(void **state)
{
    fixture_setup_unconnected(state);
    fixture_connect(*state);
    return 0;
}

/* Signals the simulator and waits for its end: the lock on its pid file becomes free. */
static void end_simulator(struct fixture *f, int signal)
{
    char path[128];
    char pid[16] = "";
    int fd;

    snprintf(path, sizeof path, "%s/xapid-sim.pid", f->dir);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_true(read(fd, pid, sizeof pid - 1) > 0);
    assert_int_equal(kill(atoi(pid), signal), 0);
    assert_int_equal(flock(fd, LOCK_SH), 0);
    close(fd);
}

void fixture_kill(struct fixture *f)
{
    end_simulator(f, SIGKILL);
}

static void check_log(struct fixture *f)
{
    static const char *const complaints[] = {"Sanitizer", "runtime error"};
    static char text[1 << 16];
    char path[128];
    ssize_t n;
    int fd;

    snprintf(path, sizeof path, "%s/xapid-sim.log", f->dir);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    n = read(fd, text, sizeof text - 1);
    close(fd);
    text[n > 0 ? n : 0] = '\0';
    for (size_t i = 0; i < ARRAY_SIZE(complaints); i++)
        if (strstr(text, complaints[i]))
            fail_msg("the simulator says:\n%s", text);
}

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

int fixture_teardown(void **state)
{
    struct fixture *f = *state;

    hv_free(f->hv);
    end_simulator(f, SIGTERM);
    check_log(f);
    assert_int_equal(nftw(f->dir, remove_entry, 16, FTW_DEPTH | FTW_PHYS), 0);
    cond_release(&f->changed);
    mutex_release(&f->lock);
    arena_release(&f->other);
    arena_release(&f->arena);
    free(f);
    return 0;
}

void fixture_assert_fails(struct fixture *f, const struct error *e, const char *part,
                          const char *what)
{
    if (!e)
        fail_msg("%s succeeded, expected %s", what, part);
    if (!strstr(error_line(&f->arena, e), part))
        fail_msg("%s: %s, expected %s", what, error_line(&f->arena, e), part);
}

const struct hv_request *rq_for(struct fixture *f, usec_t timeout)
{
    struct hv_request *rq = arena_new(&f->arena, struct hv_request);

    rq->arena = &f->arena;
    rq->epoch = f->epoch;
    rq->timeout = timeout;
    return rq;
}

const struct hv_request *rq_read(struct fixture *f)
{
    return rq_for(f, PATIENCE);
}

const struct hv_request *rq_new(struct fixture *f)
{
    struct hv_request *rq = (struct hv_request *)rq_for(f, PATIENCE);

    uuid_new(rq->id);
    return rq;
}

const char *control(struct fixture *f, const char *key, const char *value, ...)
{
    struct strpair pairs[8] = {{key, value}};
    struct strmap command = {1, pairs};
    struct strmap answer;
    va_list ap;

    va_start(ap, value);
    while ((pairs[command.n].key = va_arg(ap, const char *)))
        pairs[command.n++].value = va_arg(ap, const char *);
    va_end(ap);
    assert_ok(f, hv_control(f->hv, rq_read(f), &command, &answer));
    for (size_t i = 0; i < answer.n; i++)
        if (strcmp(answer.v[i].key, "data") == 0)
            return answer.v[i].value;
    return "";
}

struct hv_domain_config guest_config(struct arena *arena)
{
    char *uuid = arena_alloc(arena, UUID_TEXT_SIZE);

    return (struct hv_domain_config){
        .uuid = uuid_new(uuid),
        .name = "web",
        .type = "hvm",
        .memory_static_max = 512 * MIB,
        .memory_target = 256 * MIB,
        .vcpus_max = 4,
        .vcpus = 2,
        .boot_order = "cd",
        .firmware = "bios",
    };
}

const char *build_guest(struct fixture *f, const struct hv_domain_config *config)
{
    int domid = 0;

    assert_ok(f, hv_build(f->hv, rq_new(f), config, &domid));
    assert_true(domid >= 1);
    return config->uuid;
}

bool is_booted(const struct hv_domain *d)
{
    return d && guest_key(d, "data/updated");
}

bool has_ended(const struct hv_domain *d)
{
    return d && d->state == HV_SHUTDOWN;
}

const char *start_guest(struct fixture *f)
{
    struct hv_domain_config config = guest_config(&f->arena);

    build_guest(f, &config);
    assert_ok(f, hv_unpause(f->hv, rq_new(f), config.uuid));
    wait_domain(f, config.uuid, is_booted);
    return config.uuid;
}

const struct hv_domain *get_domain(struct fixture *f, const char *uuid)
{
    const struct hv_domain *d;

    assert_ok(f, hv_get(f->hv, rq_read(f), uuid, &d));
    return d;
}

const char *guest_key(const struct hv_domain *d, const char *key)
{
    for (size_t i = 0; i < d->guest.n; i++)
        if (strcmp(d->guest.v[i].key, key) == 0)
            return d->guest.v[i].value;
    return NULL;
}

const struct hv_domain *wait_domain(struct fixture *f, const char *uuid,
                                    bool (*holds)(const struct hv_domain *d))
{
    usec_t deadline = clock_mono() + PATIENCE;

    for (;;) {
        const struct hv_domain *d;
        uint64_t before;
        bool in_time = true;

        mutex_lock(&f->lock);
        before = f->n_changes;
        mutex_unlock(&f->lock);
        d = get_domain(f, uuid);
        if (holds(d))
            return d;
        mutex_lock(&f->lock);
        while (in_time && f->n_changes == before)
            in_time = cond_wait_until(&f->changed, &f->lock, deadline);
        mutex_unlock(&f->lock);
        if (!in_time)
            fail_msg("the domain %s did not get there in time", uuid);
    }
}

const char *make_file(struct fixture *f, const char *name, int64_t size)
{
    const char *path = arena_printf(&f->arena, "%s/%s", f->dir, name);
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, size), 0);
    close(fd);
    return path;
}
