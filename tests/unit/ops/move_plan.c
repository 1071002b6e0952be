/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* move_plan.c -- the order in which a disk and its snapshots move; played with numbers for
 * contents. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "xapid/ops/storage/move_plan.h"

#define MAX_DISKS 8

/* What an image of the other repository holds: the number of a disk, MOVE_NOTHING while empty. */
struct image {
    bool made;
    size_t content;
    int64_t size;
};

/* Takes every step as a repository would, and says how many bytes were read. */
static int64_t play(const struct move_plan *plan, size_t n, const int64_t *sizes,
                    struct image images[MAX_DISKS])
{
    int64_t bytes = 0;

    for (size_t i = 0; i < n; i++)
        images[i] = (struct image){.content = MOVE_NOTHING};
    for (size_t i = 0; i < plan->n; i++) {
        const struct move_step *s = &plan->v[i];
        struct image *into = &images[s->into];

        assert_true(into->made == (s->what != MOVE_MAKE));
        if (s->what == MOVE_MAKE)
            *into = (struct image){true, MOVE_NOTHING, s->size};
        if (s->what == MOVE_GROW) {
            assert_true(s->size > into->size);
            into->size = s->size;
        }
        if (s->what == MOVE_COPY) {
            assert_int_equal(into->content, s->base);
            assert_int_equal(into->size, sizes[s->image]);
            assert_int_equal(s->size, sizes[s->image]);
            into->content = s->image;
            bytes += s->size;
        }
        if (s->what == MOVE_FORK) {
            assert_false(images[s->image].made);
            images[s->image] = *into;
        }
    }
    return bytes;
}

static void check(size_t n, const int64_t *sizes, bool forks, bool want_forks)
{
    struct image images[MAX_DISKS];
    struct arena arena = {0};
    struct move_plan plan;

    move_plan(&arena, n, sizes, forks, &plan);
    assert_true(plan.forks == want_forks);
    assert_int_equal(play(&plan, n, sizes, images), plan.bytes);
    for (size_t i = 0; i < n; i++) {
        assert_true(images[i].made);
        assert_int_equal(images[i].content, i);
        assert_int_equal(images[i].size, sizes[i]);
    }
    /* The operation takes the last one in its own way. */
    assert_int_equal(plan.v[plan.n - 1].what, MOVE_COPY);
    assert_int_equal(plan.v[plan.n - 1].image, n - 1);
    arena_release(&arena);
}

static void a_disk_without_snapshots_is_made_and_copied(void **state)
{
    (void)state;
    check(1, (int64_t[]){10}, true, true);
    check(1, (int64_t[]){10}, false, false);
}

static void snapshots_come_first_and_the_disk_lies_on_them(void **state)
{
    (void)state;
    check(3, (int64_t[]){10, 10, 10}, true, true);
    check(5, (int64_t[]){10, 10, 20, 20, 30}, true, true);
}

static void where_nothing_can_be_forked_each_is_stored_by_itself(void **state)
{
    (void)state;
    check(4, (int64_t[]){10, 10, 20, 20}, false, false);
}

static void a_disk_that_has_shrunk_by_going_back_is_stored_by_itself(void **state)
{
    (void)state;
    check(3, (int64_t[]){10, 20, 10}, true, false);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_disk_without_snapshots_is_made_and_copied),
        cmocka_unit_test(snapshots_come_first_and_the_disk_lies_on_them),
        cmocka_unit_test(where_nothing_can_be_forked_each_is_stored_by_itself),
        cmocka_unit_test(a_disk_that_has_shrunk_by_going_back_is_stored_by_itself),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
