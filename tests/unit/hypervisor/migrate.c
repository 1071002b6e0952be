/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* migrate.c -- a domain goes from one simulator to another, over whatever lies between them. */
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "fixture.h"

#define ALL INT64_MAX

/* Two hosts. */
struct pair {
    struct fixture *from, *to;
};

static int setup(void **state)
{
    static struct pair pair;

    *state = &pair;
    return fixture_setup((void **)&pair.from) || fixture_setup((void **)&pair.to);
}

static int teardown(void **state)
{
    struct pair *p = *state;

    return fixture_teardown((void **)&p->from) || fixture_teardown((void **)&p->to);
}

/*** what lies between ***/

static const char *socket_path(struct fixture *f)
{
    return arena_printf(&f->arena, "%s/stream", f->dir);
}

static int listen_on(const char *path)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    unlink(path);
    snprintf(a.sun_path, sizeof a.sun_path, "%s", path);
    assert_return_code(bind(fd, (struct sockaddr *)&a, sizeof a), 0);
    assert_return_code(listen(fd, 1), 0);
    return fd;
}

struct end {
    struct fixture *f;
    const char *uuid, *path;
    struct hv_domain_config config;
    struct hv_request rq; /* with an arena that only its thread uses */
    bool live;
    int domid;
    struct error *e;
    struct thread thread;
};

static void *run_out(void *arg)
{
    struct end *end = arg;

    end->e = hv_migrate_out(end->f->hv, &end->rq, end->uuid, end->path, end->live);
    return NULL;
}

static void *run_in(void *arg)
{
    struct end *end = arg;

    end->e = hv_migrate_in(end->f->hv, &end->rq, &end->config, end->path, &end->domid);
    return NULL;
}

/* Carries at most so many bytes. */
static void carry(int from, int to, int64_t most)
{
    char data[4096];
    ssize_t n;

    while (most > 0 && (n = read(from, data, sizeof data)) > 0) {
        most -= n;
        assert_int_equal(send(to, data, (size_t)n, MSG_NOSIGNAL), n);
    }
}

static struct end end_of(struct fixture *f, const char *uuid)
{
    struct end end = {.f = f, .uuid = uuid, .path = socket_path(f), .rq = *rq_new(f), .live = true};

    end.rq.arena = &f->other;
    return end;
}

/* One of the ends may be missing: then what it would have read or sent is nothing. */
static void migrate(struct end *out, struct end *in, int64_t most)
{
    int a = listen_on(socket_path(out->f)), b = listen_on(socket_path(in->f)), from, to;

    thread_start(&out->thread, "out", run_out, out);
    thread_start(&in->thread, "in", run_in, in);
    from = accept(a, NULL, NULL);
    to = accept(b, NULL, NULL);
    carry(from, to, most);
    close(from);
    close(to);
    thread_join(&out->thread);
    thread_join(&in->thread);
    close(a);
    close(b);
}

static struct hv_domain_config twin_of(struct fixture *f, const char *uuid)
{
    struct hv_domain_config config = guest_config(&f->arena);

    config.uuid = uuid;
    return config;
}

/*** tests ***/

static void a_domain_arrives_with_all_that_its_guest_wrote_meanwhile(void **state)
{
    struct pair *p = *state;
    const char *uuid = start_guest(p->from), *before, *after;
    struct end out = end_of(p->from, uuid), in = end_of(p->to, uuid);
    const struct hv_domain *d;

    in.config = twin_of(p->to, uuid);
    before =
        control(p->from, "guest-memory", uuid, "rate", "100000", "page", "3", "data", "page", NULL);
    migrate(&out, &in, ALL);
    assert_ok(p->from, out.e);
    assert_ok(p->to, in.e);
    after = control(p->from, "guest-memory", uuid, NULL);
    assert_string_not_equal(before, after);
    assert_string_equal(after, control(p->to, "guest-memory", uuid, NULL));
    d = get_domain(p->from, uuid);
    assert_int_equal(d->state, HV_SHUTDOWN);
    assert_int_equal(d->reason, HV_SUSPEND);
    d = get_domain(p->to, uuid);
    assert_int_equal(d->state, HV_PAUSED);
    assert_int_equal(d->domid, in.domid);
    assert_string_equal(guest_key(d, "data/os_distro"), "debian");
    assert_ok(p->to, hv_unpause(p->to->hv, rq_new(p->to), uuid));
    assert_ok(p->from, hv_destroy(p->from->hv, rq_new(p->from), uuid));
}

static void without_live_the_guest_stops_first(void **state)
{
    struct pair *p = *state;
    const char *uuid = start_guest(p->from), *before;
    struct end out = end_of(p->from, uuid), in = end_of(p->to, uuid);

    in.config = twin_of(p->to, uuid);
    out.live = false;
    before = control(p->from, "guest-memory", uuid, "page", "3", "data", "text", NULL);
    migrate(&out, &in, ALL);
    assert_ok(p->from, out.e);
    assert_ok(p->to, in.e);
    assert_string_equal(before, control(p->to, "guest-memory", uuid, NULL));
}

static void a_guest_whose_way_breaks_off_runs_on_and_nothing_is_left_of_the_other(void **state)
{
    struct pair *p = *state;
    const char *uuid = start_guest(p->from);
    struct end out = end_of(p->from, uuid), in = end_of(p->to, uuid);

    in.config = twin_of(p->to, uuid);
    migrate(&out, &in, 50000);
    assert_fails(p->from, "sending the domain", out.e);
    assert_fails(p->to, "cut short", in.e);
    assert_int_equal(get_domain(p->from, uuid)->state, HV_RUNNING);
    assert_null(get_domain(p->to, uuid));
}

static void a_test_can_break_it_at_a_page(void **state)
{
    struct pair *p = *state;
    const char *uuid = start_guest(p->from);
    struct end out = end_of(p->from, uuid), in = end_of(p->to, uuid);

    in.config = twin_of(p->to, uuid);
    control(p->from, "migrate-break", "20", NULL);
    migrate(&out, &in, ALL);
    assert_fails(p->from, "a test breaks it", out.e);
    assert_fails(p->to, "cut short", in.e);
    assert_int_equal(get_domain(p->from, uuid)->state, HV_RUNNING);
}

static void a_guest_that_has_stopped_to_go_elsewhere_goes_on_if_it_is_told_to(void **state)
{
    struct pair *p = *state;
    const char *uuid = start_guest(p->from), *before;
    struct end out = end_of(p->from, uuid), in = end_of(p->to, uuid);

    in.config = twin_of(p->to, uuid);
    migrate(&out, &in, ALL);
    assert_ok(p->from, out.e);
    before = control(p->from, "guest-memory", uuid, NULL);
    assert_ok(p->to, hv_destroy(p->to->hv, rq_new(p->to), uuid));
    assert_ok(p->from, hv_resume(p->from->hv, rq_new(p->from), uuid));
    assert_ok(p->from, hv_resume(p->from->hv, rq_new(p->from), uuid));
    assert_int_equal(get_domain(p->from, uuid)->state, HV_RUNNING);
    assert_string_equal(before, control(p->from, "guest-memory", uuid, NULL));
}

static void a_domain_that_is_destroyed_on_its_way_ends_both_ends(void **state)
{
    struct pair *p = *state;
    const char *uuid = start_guest(p->from);
    struct end out = end_of(p->from, uuid);
    int a = listen_on(socket_path(p->from)), fd;

    control(p->from, "migrate-rate", "1", NULL);
    thread_start(&out.thread, "out", run_out, &out);
    fd = accept(a, NULL, NULL);
    assert_ok(p->from, hv_destroy(p->from->hv, rq_new(p->from), uuid));
    thread_join(&out.thread);
    assert_int_equal(hv_failure_of(out.e), HV_NO_DOMAIN);
    close(fd);
    close(a);
}

static void a_domain_that_is_not_all_there_does_not_run(void **state)
{
    struct pair *p = *state;
    struct end in = end_of(p->to, NULL);
    int b = listen_on(socket_path(p->to)), fd;

    in.config = guest_config(&p->to->arena);
    thread_start(&in.thread, "in", run_in, &in);
    fd = accept(b, NULL, NULL);
    assert_fails(p->to, "not all here yet", hv_unpause(p->to->hv, rq_new(p->to), in.config.uuid));
    close(fd);
    thread_join(&in.thread);
    assert_fails(p->to, "cut short", in.e);
    assert_null(get_domain(p->to, in.config.uuid));
    close(b);
}

static void bytes_that_are_no_domain_are_refused(void **state)
{
    static const char *const bad[] = {"nothing that was ever a domain", "XAPIRAM1\0\0\0\0\0\0\0\0",
                                      "XAPIRAM1\1\0\0\0\0\0\0\0\377\377\377\377\377\377\377\377"
                                      "\2\0\0\0\0\0\0\0{}"};
    static const size_t sizes[] = {30, 16, 34};
    struct pair *p = *state;
    int b = listen_on(socket_path(p->to)), fd;

    for (size_t i = 0; i < 3; i++) {
        struct end in = end_of(p->to, NULL);

        in.config = guest_config(&p->to->arena);
        thread_start(&in.thread, "in", run_in, &in);
        fd = accept(b, NULL, NULL);
        assert_int_equal(send(fd, bad[i], sizes[i], MSG_NOSIGNAL), (ssize_t)sizes[i]);
        thread_join(&in.thread);
        assert_fails(p->to, "receiving the domain", in.e);
        assert_null(get_domain(p->to, in.config.uuid));
        close(fd);
    }
    close(b);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_domain_arrives_with_all_that_its_guest_wrote_meanwhile),
        TEST(without_live_the_guest_stops_first),
        TEST(a_guest_whose_way_breaks_off_runs_on_and_nothing_is_left_of_the_other),
        TEST(a_test_can_break_it_at_a_page),
        TEST(a_guest_that_has_stopped_to_go_elsewhere_goes_on_if_it_is_told_to),
        TEST(a_domain_that_is_destroyed_on_its_way_ends_both_ends),
        TEST(a_domain_that_is_not_all_there_does_not_run),
        TEST(bytes_that_are_no_domain_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
