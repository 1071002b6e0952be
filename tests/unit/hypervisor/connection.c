/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* connection.c -- lost connections, repeated ids, epochs, many threads, processes that die. */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fixture.h"
#include "xapid/hypervisor/protocol.h"

static size_t count_domains(struct fixture *f)
{
    const struct hv_domain *all;
    size_t n;

    assert_ok(f, hv_list(f->hv, rq_read(f), &n, &all));
    return n;
}

static void a_call_whose_answer_is_lost_was_done_once(void **state)
{
    struct fixture *f = *state;
    struct hv_domain_config config = guest_config(&f->arena);
    int domid = 0;

    control(f, "lose-answer", "build", NULL);
    assert_ok(f, hv_build(f->hv, rq_new(f), &config, &domid));
    assert_int_equal(domid, 1);
    assert_int_equal(get_domain(f, config.uuid)->domid, 1);
    assert_int_equal(count_domains(f), 1);
}

static void a_failure_whose_answer_is_lost_is_still_that_failure(void **state)
{
    struct fixture *f = *state;
    const char *uuid = start_guest(f);

    control(f, "fail", "pause", "text", "libxl: no", NULL);
    control(f, "lose-answer", "pause", NULL);
    assert_fails(f, "INTERNAL_ERROR(libxl: no)", hv_pause(f->hv, rq_new(f), uuid));
    assert_int_equal(get_domain(f, uuid)->state, HV_RUNNING);
}

static void a_call_that_never_arrived_is_made_again(void **state)
{
    struct fixture *f = *state;
    struct hv_domain_config config = guest_config(&f->arena);
    struct hv_host_info info;

    control(f, "lose-request", "build", NULL);
    build_guest(f, &config);
    control(f, "lose-request", "host", NULL);
    assert_ok(f, hv_host(f->hv, rq_read(f), &info));
    control(f, "lose-answer", "host", NULL);
    assert_ok(f, hv_host(f->hv, rq_read(f), &info));
}

/* A build on a thread of its own. */
struct builder {
    struct fixture *f;
    struct arena arena;
    struct hv_domain_config config;
    struct hv_request rq;
    struct error *e;
    int domid;
    struct thread thread;
};

static void *build_thread(void *arg)
{
    struct builder *b = arg;

    b->e = hv_build(b->f->hv, &b->rq, &b->config, &b->domid);
    return NULL;
}

static struct builder *start_building(struct fixture *f, usec_t timeout)
{
    struct builder *b = arena_new(&f->arena, struct builder);

    b->f = f;
    b->config = guest_config(&f->arena);
    b->rq = *rq_new(f);
    b->rq.arena = &b->arena;
    b->rq.timeout = timeout;
    thread_start(&b->thread, "builder", build_thread, b);
    return b;
}

static void finish_building(struct builder *b)
{
    thread_join(&b->thread);
}

/* Asks until the simulator has the request and is sitting on it. */
static void wait_until_pending(struct fixture *f, const char *call)
{
    usec_t deadline = clock_mono() + PATIENCE;

    while (strcmp(control(f, "pending", call, NULL), "0") == 0)
        assert_true(clock_mono() < deadline);
}

static void a_call_goes_on_while_its_connection_is_lost(void **state)
{
    struct fixture *f = *state;
    struct builder *b;

    control(f, "delay", "build", "ms", "3600000", NULL);
    b = start_building(f, PATIENCE);
    /* Whether the request is there yet or not when the connections break: both must end well. */
    for (int i = 0; i < 5; i++) {
        struct strpair drop = {"drop-connections", ""};
        struct hv *other = hv_new(f->socket_path);
        struct strmap answer;

        assert_ok(f, hv_control(other, rq_read(f), &(struct strmap){1, &drop}, &answer));
        hv_free(other);
    }
    control(f, "delay", "build", "ms", "0", NULL);
    control(f, "advance-ms", "3600000", NULL);
    finish_building(b);
    assert_ok(f, b->e);
    assert_int_equal(b->domid, 1);
    assert_int_equal(count_domains(f), 1);
    arena_release(&b->arena);
}

static void a_repeated_id_gets_the_first_answer(void **state)
{
    struct fixture *f = *state;
    struct hv_domain_config config = guest_config(&f->arena), other = guest_config(&f->arena);
    const struct hv_request *rq = rq_new(f);
    int first, again;

    assert_ok(f, hv_build(f->hv, rq, &config, &first));
    assert_ok(f, hv_build(f->hv, rq, &config, &again));
    assert_int_equal(first, again);
    assert_int_equal(count_domains(f), 1);
    assert_ok(f, hv_destroy(f->hv, rq_new(f), config.uuid));
    assert_ok(f, hv_build(f->hv, rq, &config, &again));
    assert_int_equal(count_domains(f), 0);
    assert_fails(f, "used for another request", hv_build(f->hv, rq, &other, &again));
}

static void the_outcome_of_an_id_can_be_asked_for(void **state)
{
    struct fixture *f = *state;
    struct hv_domain_config config = guest_config(&f->arena);
    const struct hv_request *done = rq_new(f), *failed = rq_new(f), *never = rq_new(f);
    struct error *outcome;
    bool known;

    assert_ok(f, hv_build(f->hv, done, &config, &(int){0}));
    assert_fails(f, "DOMAIN_EXISTS", hv_build(f->hv, failed, &config, &(int){0}));
    assert_ok(f, hv_outcome(f->hv, done, &known, &outcome));
    assert_true(known);
    assert_null(outcome);
    assert_ok(f, hv_outcome(f->hv, failed, &known, &outcome));
    assert_true(known);
    assert_fails(f, "DOMAIN_EXISTS", outcome);
    assert_ok(f, hv_outcome(f->hv, never, &known, &outcome));
    assert_false(known);
    /* It was told to be unknown, so it must never be done. */
    assert_fails(f, "given up", hv_destroy(f->hv, never, config.uuid));
    assert_ok(f, hv_outcome(f->hv, never, &known, &outcome));
    assert_false(known);
    assert_int_equal(count_domains(f), 1);
}

static void no_answer_in_time_means_unknown_and_the_outcome_tells_later(void **state)
{
    struct fixture *f = *state;
    struct hv_domain_config config = guest_config(&f->arena);
    struct hv_request rq = *rq_new(f);
    struct error *outcome;
    bool known = false;

    control(f, "delay", "build", "ms", "200", NULL);
    rq.timeout = 50 * USEC_PER_MSEC;
    assert_int_equal(hv_failure_of(hv_build(f->hv, &rq, &config, &(int){0})), HV_UNKNOWN);
    rq.timeout = PATIENCE;
    assert_ok(f, hv_outcome(f->hv, &rq, &known, &outcome));
    assert_true(known);
    assert_null(outcome);
    assert_non_null(get_domain(f, config.uuid));
}

static void an_older_epoch_changes_nothing_but_may_read(void **state)
{
    struct fixture *f = *state;
    const char *uuid = start_guest(f);
    struct hv *other = hv_new(f->socket_path);
    const struct hv_domain *domain;
    struct error *e;

    f->epoch = 7;
    assert_ok(f, hv_pause(f->hv, rq_new(f), uuid));
    f->epoch = 6;
    e = hv_unpause(other, rq_new(f), uuid);
    assert_int_equal(hv_failure_of(e), HV_STALE);
    assert_fails(f, "6, already seen: 7", e);
    assert_ok(f, hv_get(other, rq_new(f), uuid, &domain));
    assert_int_equal(domain->state, HV_PAUSED);
    f->epoch = 7;
    assert_ok(f, hv_unpause(other, rq_new(f), uuid));
    hv_free(other);
}

static void what_was_begun_under_one_coordinator_goes_on_under_the_next(void **state)
{
    struct fixture *f = *state;
    const char *uuid = start_guest(f);

    f->epoch = 6;
    assert_ok(f, hv_pause(f->hv, rq_new(f), uuid));
    f->epoch = 7;
    get_domain(f, uuid);
    f->epoch = 6;
    assert_ok(f, hv_unpause(f->hv, rq_new(f), uuid));
}

static void a_process_that_was_replaced_knows_nothing_and_nothing_is_done_twice(void **state)
{
    struct fixture *f = *state;
    struct builder *b;
    struct hv_domain_config first = guest_config(&f->arena);

    build_guest(f, &first);
    control(f, "delay", "build", "ms", "3600000", NULL);
    b = start_building(f, PATIENCE);
    wait_until_pending(f, "build");
    fixture_kill(f);
    fixture_start(f);
    finish_building(b);
    assert_int_equal(hv_failure_of(b->e), HV_UNKNOWN);
    assert_int_equal(count_domains(f), 0);
    arena_release(&b->arena);
}

static void nobody_there_is_an_error_in_time_and_no_riddle(void **state)
{
    struct fixture *f = *state;
    struct hv *nowhere = hv_new("/nowhere/socket");
    struct hv_host_info info;
    struct error *e = hv_host(nowhere, rq_for(f, 50 * USEC_PER_MSEC), &info);

    assert_fails(f, "No such file or directory (/nowhere/socket)", e);
    assert_int_equal(hv_failure_of(e), HV_FAILED);
    hv_free(nowhere);
}

static void starting_twice_leaves_the_first_alone(void **state)
{
    struct fixture *f = *state;
    struct hv_domain_config config = guest_config(&f->arena);
    struct hv_simulator wrong = {
        .program = "/nowhere/xapid-sim", .socket_path = "/nowhere/s", .dir = "/nowhere"};
    struct hv_simulator rival = {.program = f->program, .dir = f->dir};

    build_guest(f, &config);
    fixture_start(f);
    assert_non_null(get_domain(f, config.uuid));
    assert_fails(f, "/nowhere/xapid-sim: No such file",
                 hv_start_simulator(&f->arena, &wrong, PATIENCE));
    /* Another socket for the same directory. */
    rival.socket_path = arena_printf(&f->arena, "%s/other", f->dir);
    assert_fails(f, "holds", hv_start_simulator(&f->arena, &rival, 200 * USEC_PER_MSEC));
    assert_non_null(get_domain(f, config.uuid));
}

static bool has_role(const struct hv_domain *d)
{
    return d && guest_key(d, "data/role");
}

static uint64_t resyncs(struct fixture *f)
{
    MUTEX_GUARD(&f->lock);

    return f->n_resyncs;
}

static void a_watch_survives_a_lost_connection_and_says_so(void **state)
{
    struct fixture *f = *state;
    const char *uuid = start_guest(f);
    usec_t deadline = clock_mono() + PATIENCE;
    uint64_t before;
    bool in_time = true;

    wait_domain(f, uuid, is_booted);
    before = resyncs(f);
    control(f, "lose-answer", "list", NULL);
    count_domains(f);
    mutex_lock(&f->lock);
    while (in_time && f->n_resyncs == before)
        in_time = cond_wait_until(&f->changed, &f->lock, deadline);
    mutex_unlock(&f->lock);
    assert_true(in_time);
    control(f, "guest-key", uuid, "key", "data/role", "value", "db", NULL);
    wait_domain(f, uuid, has_role);
}

#define THREADS 16
#define ROUNDS 12

struct worker {
    struct fixture *f;
    int domids[ROUNDS];
    char failure[256];
    struct thread thread;
};

static struct error *one_life(struct fixture *f, struct arena *arena, int *domid)
{
    struct hv_request rq = {.arena = arena, .timeout = PATIENCE};
    struct hv_domain_config config = guest_config(arena);
    const struct hv_domain *d;
    enum hv_reason reason;
    struct error *e;

    uuid_new(rq.id);
    TRY(hv_build(f->hv, &rq, &config, domid));
    uuid_new(rq.id);
    TRY(hv_unpause(f->hv, &rq, config.uuid));
    uuid_new(rq.id);
    TRY(hv_shutdown_request(f->hv, &rq, config.uuid, HV_REBOOT));
    TRY(hv_wait_death(f->hv, &rq, config.uuid, &reason));
    if (reason != HV_REBOOT)
        return error_internal(arena, "reason %d", (int)reason);
    TRY(hv_get(f->hv, &rq, config.uuid, &d));
    if (!d || d->domid != *domid)
        return error_internal(arena, "the domain is not the one that was built");
    uuid_new(rq.id);
    e = hv_destroy(f->hv, &rq, config.uuid);
    return e;
}

static void *work(void *arg)
{
    struct worker *w = arg;

    for (int i = 0; i < ROUNDS && !*w->failure; i++) {
        AUTO(arena) arena = {0};
        struct error *e = one_life(w->f, &arena, &w->domids[i]);

        if (e)
            snprintf(w->failure, sizeof w->failure, "%s", error_line(&arena, e));
    }
    return NULL;
}

struct dropper {
    struct fixture *f;
    struct mutex lock;
    struct cond stop;
    bool stopping;
    int drops;
    struct thread thread;
};

/* Breaks all connections again and again. */
static void *drop_and_drop(void *arg)
{
    struct dropper *dropper = arg;
    struct strpair drop = {"drop-connections", ""};
    AUTO(arena) arena = {0};
    struct hv_request rq = {.arena = &arena, .timeout = PATIENCE};
    struct hv *hv = hv_new(dropper->f->socket_path);
    struct strmap answer;

    mutex_lock(&dropper->lock);
    while (!dropper->stopping) {
        mutex_unlock(&dropper->lock);
        error_ignore(hv_control(hv, &rq, &(struct strmap){1, &drop}, &answer));
        mutex_lock(&dropper->lock);
        dropper->drops++;
        cond_wait_until(&dropper->stop, &dropper->lock, clock_mono() + 15 * USEC_PER_MSEC);
    }
    mutex_unlock(&dropper->lock);
    hv_free(hv);
    return NULL;
}

static void sixteen_threads_work_while_connections_break(void **state)
{
    static struct worker workers[THREADS];
    struct fixture *f = *state;
    struct dropper dropper = {.f = f};
    bool seen[THREADS * ROUNDS + 1] = {false};
    struct hv_host_info info;

    memset(workers, 0, sizeof workers);
    mutex_init(&dropper.lock);
    cond_init(&dropper.stop);
    control(f, "boot-ms", "1", NULL);
    control(f, "end-ms", "1", NULL);
    thread_start(&dropper.thread, "dropper", drop_and_drop, &dropper);
    for (int i = 0; i < THREADS; i++) {
        workers[i].f = f;
        thread_start(&workers[i].thread, "worker", work, &workers[i]);
    }
    for (int i = 0; i < THREADS; i++)
        thread_join(&workers[i].thread);
    mutex_lock(&dropper.lock);
    dropper.stopping = true;
    cond_signal(&dropper.stop);
    mutex_unlock(&dropper.lock);
    thread_join(&dropper.thread);
    cond_release(&dropper.stop);
    mutex_release(&dropper.lock);
    /* Every build was done exactly once: the numbers are all there, each once. */
    for (int i = 0; i < THREADS; i++) {
        assert_string_equal(workers[i].failure, "");
        for (int k = 0; k < ROUNDS; k++) {
            assert_in_range(workers[i].domids[k], 1, THREADS * ROUNDS);
            assert_false(seen[workers[i].domids[k]]);
            seen[workers[i].domids[k]] = true;
        }
    }
    assert_true(dropper.drops > 1);
    assert_int_equal(count_domains(f), 0);
    assert_ok(f, hv_host(f->hv, rq_read(f), &info));
    assert_int_equal(info.memory_free, info.memory_total);
}

#define MANY 50

/* A daemon that will be killed: builds, starts, says so, and makes calls for ever. */
static void doomed_daemon(struct fixture *f, int ready_fd)
{
    fixture_connect(f);
    for (int i = 0; i < MANY; i++)
        start_guest(f);
    if (write(ready_fd, "1", 1) != 1)
        _exit(1);
    for (;;) {
        struct hv_domain_config config = guest_config(&f->arena);

        error_ignore(hv_build(f->hv, rq_new(f), &config, &(int){0}));
        error_ignore(hv_destroy(f->hv, rq_new(f), config.uuid));
    }
}

static void fifty_guests_do_not_notice_that_the_daemon_was_killed(void **state)
{
    struct fixture *f = *state;
    const struct hv_domain *all;
    size_t n, running = 0;
    int ends[2];
    char byte;
    pid_t pid;

    assert_int_equal(pipe(ends), 0);
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0)
        doomed_daemon(f, ends[1]);
    assert_int_equal(read(ends[0], &byte, 1), 1);
    assert_int_equal(kill(pid, SIGKILL), 0);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    close(ends[0]);
    close(ends[1]);
    fixture_connect(f);
    assert_ok(f, hv_list(f->hv, rq_read(f), &n, &all));
    assert_in_range(n, MANY, MANY + 1);
    for (size_t i = 0; i < n; i++)
        running += all[i].state == HV_RUNNING && is_booted(&all[i]);
    assert_int_equal(running, MANY);
    for (size_t i = 0; i < n; i++)
        if (all[i].state == HV_RUNNING)
            assert_ok(f, hv_shutdown_request(f->hv, rq_new(f), all[i].uuid, HV_POWEROFF));
}

/*
 * Bytes instead of hv.h.
 */
static int raw_connect(struct fixture *f)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    memcpy(addr.sun_path, f->socket_path, strlen(f->socket_path));
    assert_int_equal(connect(fd, (struct sockaddr *)&addr, sizeof addr), 0);
    return fd;
}

static void raw_frame(int fd, const char *body)
{
    size_t n = strlen(body);
    uint8_t head[4] = {(uint8_t)(n >> 24), (uint8_t)(n >> 16), (uint8_t)(n >> 8), (uint8_t)n};

    assert_int_equal(send(fd, head, 4, MSG_NOSIGNAL), 4);
    assert_int_equal(send(fd, body, n, MSG_NOSIGNAL), (ssize_t)n);
}

/* Reads until the text contains 'part', or to the end of the connection where that is NULL. */
static void raw_expect(int fd, const char *part)
{
    char text[8192];
    size_t n = 0;

    for (;;) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        ssize_t got;

        assert_int_equal(poll(&p, 1, (int)(PATIENCE / USEC_PER_MSEC)), 1);
        got = recv(fd, text + n, sizeof text - n, 0);
        if (got <= 0) {
            assert_null(part);
            return;
        }
        n += (size_t)got;
        if (part && memmem(text, n, part, strlen(part)))
            return;
    }
}

#define TEXT(x) #x
#define NUMBER(x) TEXT(x)
#define VERSION "\"version\":" NUMBER(PROTOCOL_NEWEST)
#define HELLO "{\"hello\":\"xapid-hypervisor\",\"oldest\":1,\"newest\":9}"
#define ENVELOPE(serial, call, args)                                                               \
    "{\"serial\":" serial ",\"call\":\"" call                                                      \
    "\",\"id\":\"\",\"epoch\":0,\"timeout_ms\":5000,\"args\":" args "}"

static void what_is_no_protocol_ends_the_connection_and_nothing_else(void **state)
{
    static const char *const wrong[] = {
        "\xff\xff\xff\xff", /* four gigabytes */
        "\0\0\0\0",         /* nothing */
        "\0\0\0\4[1]x",     /* no JSON */
        "\0\0\0\3[1]",      /* no object */
        "GET / HTTP/1.1\r\n\r\n",
        "\0\0\0\x0c{\"serial\":1}",
    };
    static const size_t sizes[] = {4, 4, 8, 7, 18, 16};
    struct fixture *f = *state;
    int fd;

    for (size_t i = 0; i < 2 * ARRAY_SIZE(wrong); i++) {
        fd = raw_connect(f);
        if (i % 2) {
            raw_frame(fd, HELLO);
            raw_expect(fd, VERSION);
        }
        assert_int_equal(send(fd, wrong[i / 2], sizes[i / 2], MSG_NOSIGNAL), (ssize_t)sizes[i / 2]);
        raw_expect(fd, NULL);
        close(fd);
    }
    assert_int_equal(count_domains(f), 0);
}

static void another_version_is_refused(void **state)
{
    int fd = raw_connect(*state);

    raw_frame(fd, "{\"hello\":\"xapid-hypervisor\",\"oldest\":1000,\"newest\":1001}");
    raw_expect(fd, "\"refused\"");
    raw_expect(fd, NULL);
    close(fd);
}

static void a_frame_may_come_in_pieces_and_many_at_once(void **state)
{
    static const char body[] = ENVELOPE("5", "host", "{}");
    int fd = raw_connect(*state), other = raw_connect(*state);

    raw_frame(fd, HELLO);
    raw_expect(fd, VERSION);
    assert_int_equal(send(fd, "\0\0\0", 3, 0), 3);
    raw_frame(other, HELLO);
    raw_expect(other, VERSION);
    assert_int_equal(send(fd, &(char){sizeof body - 1}, 1, 0), 1);
    for (size_t i = 0; i < sizeof body - 1; i++)
        assert_int_equal(send(fd, body + i, 1, 0), 1);
    raw_expect(fd, "\"serial\":5");
    raw_frame(fd, ENVELOPE("6", "nonsense", "{}"));
    raw_frame(fd, ENVELOPE("7", "get", "{\"uuid\":1}"));
    raw_frame(fd, ENVELOPE("8", "host", "{}"));
    raw_expect(fd, "\"serial\":8");
    close(other);
    close(fd);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(fifty_guests_do_not_notice_that_the_daemon_was_killed,
                                        fixture_setup_unconnected, fixture_teardown),
        TEST(a_call_whose_answer_is_lost_was_done_once),
        TEST(a_failure_whose_answer_is_lost_is_still_that_failure),
        TEST(a_call_that_never_arrived_is_made_again),
        TEST(a_call_goes_on_while_its_connection_is_lost),
        TEST(a_repeated_id_gets_the_first_answer),
        TEST(the_outcome_of_an_id_can_be_asked_for),
        TEST(no_answer_in_time_means_unknown_and_the_outcome_tells_later),
        TEST(an_older_epoch_changes_nothing_but_may_read),
        TEST(what_was_begun_under_one_coordinator_goes_on_under_the_next),
        TEST(a_process_that_was_replaced_knows_nothing_and_nothing_is_done_twice),
        TEST(nobody_there_is_an_error_in_time_and_no_riddle),
        TEST(starting_twice_leaves_the_first_alone),
        TEST(a_watch_survives_a_lost_connection_and_says_so),
        TEST(sixteen_threads_work_while_connections_break),
        TEST(what_is_no_protocol_ends_the_connection_and_nothing_else),
        TEST(another_version_is_refused),
        TEST(a_frame_may_come_in_pieces_and_many_at_once),
    };

    return cmocka_run_group_tests_name("hypervisor-connection", tests, NULL, NULL);
}
