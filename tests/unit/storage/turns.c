/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * turns.c -- a volume group that two hosts have: who takes a turn for what, what each sees of the
 * other's changes, and what becomes of a host that was given up and wakes.  LVM is played
 * (fake-lvm): it says where two changes met.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "libxapi/base/seam.h"
#include "libxapi/value/value.h"
#include "storage-repos/apart/apart.h"
#include "storage-repos/lvm/volumes.h"
#include "tests/unit/storage/lab.h"

#define U "0e3f3f6a-6d7d-4e0c-8f19-5d6a7b0c1d2e"
#define V "1e3f3f6a-6d7d-4e0c-8f19-5d6a7b0c1d2e"
#define W "2e3f3f6a-6d7d-4e0c-8f19-5d6a7b0c1d2e"
#define SR "3e3f3f6a-6d7d-4e0c-8f19-5d6a7b0c1d2e"

/* ---- two hosts ---- */

struct pool;

struct side {
    struct sr_site site; /* first: a turn is taken by whom the handle's site belongs to */
    struct pool *pool;
    const char *name, *root;
    struct arena arena;
    struct call call;
    struct sr_handle sr;
    int turn; /* that it goes on having; 0: it gets the next */
};

struct pool {
    char root[32];
    struct sr_driver driver;
    struct side a, b;
    int turns;
};

static struct error *take(struct call *call, const struct sr_handle *sr, const char **name,
                          void **turn)
{
    struct side *s = (struct side *)sr->site;
    int number = s->turn ? s->turn : ++s->pool->turns;

    *turn = s;
    *name = arena_printf(call->arena, "pool.%016x.%016x.%s", 1, number, s->name);
    return OK;
}

static void give(void *turn, bool ended)
{
    (void)turn, (void)ended;
}

static const struct sr_turns turns = {take, give};

static const char *in(struct side *s, const char *name)
{
    return arena_printf(&s->arena, "%s/%s", s->root, name);
}

#define RUN(s, ...) lab_run(&(s)->arena, (const char *const[]){__VA_ARGS__, NULL})

static const char *text_of(struct side *s, const char *name)
{
    FILE *f = fopen(in(s, name), "r");
    char *text = arena_zalloc(&s->arena, 65536);

    if (f) {
        assert_true(fread(text, 1, 65535, f) < 65535);
        fclose(f);
    }
    return text;
}

static void put(struct side *s, const char *name, const char *text)
{
    FILE *f = fopen(in(s, name), "w");

    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
}

static void must(struct side *s, struct error *e)
{
    if (e)
        fail_msg("%s: %s", s->name, error_line(&s->arena, e));
}

static void fails(struct side *s, struct error *e, const char *words)
{
    if (!e)
        fail_msg("an error with '%s' was expected", words);
    if (e->n_params < 2 || !strstr(e->params[1], words))
        fail_msg("'%s' was expected: %s", words, error_line(&s->arena, e));
}

static void side_open(struct pool *p, struct side *s, const char *name)
{
    char self[4096] = "";
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    struct strmap config = {0};

    assert_true(n > 0);
    *strrchr(self, '/') = '\0';
    *s = (struct side){.pool = p, .name = name};
    s->call.arena = &s->arena;
    s->root = arena_printf(&s->arena, "%s/%s", p->root, name);
    s->site =
        (struct sr_site){.program = arena_printf(&s->arena, "%s/../xapid/xapid-storage", self),
                         .mounts = in(s, "mounts"),
                         .system_root = s->root,
                         .timeout = 60 * USEC_PER_SEC,
                         .turns = &turns};
    RUN(s, "mkdir", "-p", in(s, "usr/sbin"), in(s, "../lun"));
    RUN(s, "cp", FAKE_LVM, in(s, "usr/sbin/lvm"));
    RUN(s, "ln", "-s", "../lun", in(s, "lun"));
    s->sr =
        (struct sr_handle){.driver = &p->driver,
                           .site = &s->site,
                           .uuid = SR,
                           .shared = true,
                           .device_config = strmap_with(&s->arena, config, "device", "/dev/none"),
                           .state = arena_zalloc(&s->arena, p->driver.state_size)};
}

static struct pool *pool_open(void)
{
    struct pool *p = calloc(1, sizeof *p);

    assert_non_null(p);
    strcpy(p->root, "/tmp/xapid-turns-XXXXXX");
    assert_non_null(mkdtemp(p->root));
    p->driver = sr_lvm;
    p->driver.in_turns = true;
    side_open(p, &p->a, "a");
    side_open(p, &p->b, "b");
    must(&p->a, p->driver.create(&p->a.call, &p->a.sr, 0));
    must(&p->a, p->driver.attach(&p->a.call, &p->a.sr));
    must(&p->b, p->driver.attach(&p->b.call, &p->b.sr));
    return p;
}

/* No two changes met. */
static void pool_close(struct pool *p)
{
    assert_string_equal(text_of(&p->a, "lun/collisions"), "");
    RUN(&p->a, "rm", "-rf", p->root);
    arena_release(&p->a.arena);
    arena_release(&p->b.arena);
    free(p);
}

static struct error *make(struct side *s, const char *location)
{
    struct vdi_spec spec = {.location = location, .virtual_size = 8 * MIB};
    struct vdi_info info;

    return s->sr.driver->vdi_create(&s->call, &s->sr, &spec, &info);
}

static struct error *fork_disk(struct side *s, const char *location, const char *base,
                               const char *new)
{
    struct vdi_spec spec = {.location = new};
    struct vdi_info info;

    return s->sr.driver->vdi_fork(&s->call, &s->sr, location, base, &spec, &info);
}

static struct error *give_path(struct side *s, const char *location, bool writable)
{
    struct vdi_path path;

    return s->sr.driver->vdi_attach(&s->call, &s->sr, location, writable, &path);
}

static bool has(struct side *s, const char *location)
{
    struct vdi_info info;

    return !s->sr.driver->vdi_stat(&s->call, &s->sr, location, &info);
}

/* Whose the group is, as the host says that is in the turn's name. */
static bool is_owned_by(struct side *s)
{
    const char *id = strstr(text_of(s, "lun/groups"), "\"xapid.pool.");

    return id && id[strcspn(id + 1, "\"")] == s->name[0];
}

static bool is_active(struct side *s, const char *location)
{
    return access(in(s, arena_printf(&s->arena, "dev/VG_XenStorage-" SR "/VDI-%s", location)),
                  F_OK) == 0;
}

/* ---- tests ---- */

static void a_group_is_taken_by_later_turns_alone(void **state)
{
    static const struct {
        const char *id, *turn;
        enum lvm_owner owner;
    } cases[] = {
        {"", "p.1.2.h", LVM_TAKE},
        {"xapid.p.1.2.h", "p.1.9.h", LVM_OWN},
        {"xapid.p.1.9.h", "p.1.2.h", LVM_OWN}, /* of one host the other one waits */
        {"xapid.p.1.2.g", "p.1.3.h", LVM_TAKE},
        {"xapid.p.1.3.g", "p.1.2.h", LVM_LOST},
        {"xapid.p.1.9.g", "p.2.1.h", LVM_TAKE}, /* the log began anew */
        {"xapid.q.9.9.g", "p.1.1.h", LVM_TAKE}, /* another pool had it */
        {"somebody", "p.1.1.h", LVM_STRANGE},
        {"xapid.", "p.1.1.h", LVM_STRANGE},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
        if (lvm_owner(cases[i].id, cases[i].turn) != cases[i].owner)
            fail_msg("'%s' in the turn %s", cases[i].id, cases[i].turn);
}

static void only_what_changes_the_group_takes_a_turn(void **state)
{
    struct pool *p = pool_open();
    struct sr_stat_info stat;
    struct vdi_info *found;
    size_t n;

    (void)state;
    assert_int_equal(p->turns, 0);
    must(&p->a, make(&p->a, U));
    assert_int_equal(p->turns, 1);
    must(&p->b, p->driver.stat(&p->b.call, &p->b.sr, &stat));
    must(&p->b, p->driver.scan(&p->b.call, &p->b.sr, &n, &found));
    assert_int_equal(n, 1);
    must(&p->b, give_path(&p->b, U, true));
    assert_true(is_active(&p->b, U) && !is_active(&p->a, U));
    assert_int_equal(p->turns, 1);
    p->driver.vdi_detach(&p->b.call, &p->b.sr, U);
    assert_false(is_active(&p->b, U));
    must(&p->a, fork_disk(&p->a, U, V, W));
    assert_int_equal(p->turns, 2);
    /* What is written to takes the room that it may need. */
    must(&p->b, give_path(&p->b, W, true));
    assert_int_equal(p->turns, 3);
    assert_true(is_owned_by(&p->b));
    p->driver.vdi_detach(&p->b.call, &p->b.sr, W);
    must(&p->b, give_path(&p->b, W, true));
    assert_int_equal(p->turns, 3);
    pool_close(p);
}

static void a_group_goes_from_host_to_host(void **state)
{
    struct pool *p = pool_open();

    (void)state;
    must(&p->a, make(&p->a, U));
    assert_true(is_owned_by(&p->a));
    must(&p->a, give_path(&p->a, U, true));
    must(&p->b, make(&p->b, V));
    assert_true(is_owned_by(&p->b));
    /* It has a volume in use meanwhile. */
    must(&p->a, p->driver.vdi_describe(&p->a.call, &p->a.sr, U, "name", ""));
    assert_true(is_owned_by(&p->a) && is_active(&p->a, U));
    p->driver.vdi_detach(&p->a.call, &p->a.sr, U);
    must(&p->b, p->driver.vdi_delete(&p->b.call, &p->b.sr, U));
    assert_true(!has(&p->a, U) && has(&p->a, V));
    pool_close(p);
}

struct maker {
    struct side *side;
    struct error *e;
};

static void *make_slowly(void *arg)
{
    struct maker *m = arg;

    m->e = make(m->side, U);
    return NULL;
}

/* Asleep between two commands, with a turn that has been taken from it. */
static void a_host_that_was_given_up_does_no_harm_when_it_wakes(void **state)
{
    struct pool *p = pool_open();
    struct maker m = {&p->a, OK};
    usec_t end = clock_mono() + 60 * USEC_PER_SEC;
    pthread_t thread;
    const char *before;

    (void)state;
    p->a.turn = ++p->turns;
    put(&p->a, "stand-still", "lvrename");
    assert_int_equal(pthread_create(&thread, NULL, make_slowly, &m), 0);
    while (access(in(&p->b, "../a/stand-still.reached"), F_OK) < 0 && clock_mono() < end)
        clock_sleep(USEC_PER_MSEC);
    must(&p->b, make(&p->b, V));
    assert_true(is_owned_by(&p->b));
    before = text_of(&p->b, "lun/groups");
    assert_int_equal(unlink(in(&p->b, "../a/stand-still")), 0);
    pthread_join(thread, NULL);
    fails(&p->a, m.e, "with system ID");
    fails(&p->a, make(&p->a, W), "was given up");
    fails(&p->a, p->driver.vdi_delete(&p->a.call, &p->a.sr, V), "was given up");
    assert_string_equal(text_of(&p->b, "lun/groups"), before);
    /* What it had begun another one takes away, and once it has a turn it works again. */
    must(&p->b, p->driver.vdi_delete(&p->b.call, &p->b.sr, U));
    assert_null(strstr(text_of(&p->b, "lun/groups"), U));
    p->a.turn = 0;
    must(&p->a, make(&p->a, U));
    assert_true(has(&p->b, U) && has(&p->b, V));
    pool_close(p);
}

static void what_a_killed_host_has_begun_another_one_undoes(void **state)
{
    int step = 0;
    bool killed;

    (void)state;
    do {
        struct pool *p = pool_open();
        struct error *e;

        must(&p->a, make(&p->a, U));
        put(&p->a, "kill-at", arena_printf(&p->a.arena, "%d", ++step));
        e = fork_disk(&p->a, U, V, W);
        killed = e != OK;
        RUN(&p->a, "rm", in(&p->a, "kill-at"));
        /* As vdi_unmake does. */
        must(&p->b, p->driver.vdi_delete(&p->b.call, &p->b.sr, W));
        e = p->driver.vdi_delete(&p->b.call, &p->b.sr, V);
        if (e && !error_is(e, "VDI_IN_USE"))
            must(&p->b, e);
        assert_false(has(&p->b, W));
        must(&p->b, give_path(&p->b, U, true));
        p->driver.vdi_detach(&p->b.call, &p->b.sr, U);
        must(&p->b, p->driver.vdi_delete(&p->b.call, &p->b.sr, U));
        assert_null(
            strstr(text_of(&p->b, "lun/groups"), "3f3f6a-6d7d-4e0c-8f19-5d6a7b0c1d2e\": {\"size"));
        pool_close(p);
    } while (killed);
    assert_true(step > 5);
}

static void a_pool_for_thin_disks_is_not_shared(void **state)
{
    struct pool *p = pool_open();

    (void)state;
    RUN(&p->b, "sed", "-i",
        "s/\"VG_XenStorage-" SR "\": {/&\"pool\": {\"size\": 4194304, \"tags\": []}/",
        in(&p->b, "lun/groups"));
    fails(&p->b, p->driver.attach(&p->b.call, &p->b.sr), "cannot be shared");
    p->b.sr.shared = false;
    must(&p->b, p->driver.attach(&p->b.call, &p->b.sr));
    pool_close(p);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_group_is_taken_by_later_turns_alone),
        cmocka_unit_test(only_what_changes_the_group_takes_a_turn),
        cmocka_unit_test(a_group_goes_from_host_to_host),
        cmocka_unit_test(a_host_that_was_given_up_does_no_harm_when_it_wakes),
        cmocka_unit_test(what_a_killed_host_has_begun_another_one_undoes),
        cmocka_unit_test(a_pool_for_thin_disks_is_not_shared),
    };

    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests_name("storage turns", tests, NULL, NULL);
}
