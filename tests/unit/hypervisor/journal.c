/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* journal.c -- the executor's memory of requests, across kills. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "libxapi/base/arena.h"
#include "libxapi/base/memory.h"
#include "xapid/hypervisor/executor/journal.h"

#define A "aaaaaaaa-0000-0000-0000-000000000000"
#define B "bbbbbbbb-0000-0000-0000-000000000000"
#define C "cccccccc-0000-0000-0000-000000000000"

struct seen {
    struct arena arena;
    char dir[64];
    struct journal *journal;
    char text[4096]; /* what was replayed, a line each */
};

static int setup(void **state)
{
    struct seen *s = xcalloc(1, sizeof *s);

    snprintf(s->dir, sizeof s->dir, "/tmp/xapid-journal-XXXXXX");
    assert_non_null(mkdtemp(s->dir));
    *state = s;
    return 0;
}

static const char *file_of(struct seen *s, const char *name)
{
    return arena_printf(&s->arena, "%s/%s", s->dir, name);
}

static int teardown(void **state)
{
    struct seen *s = *state;

    journal_free(s->journal);
    unlink(file_of(s, "journal"));
    unlink(file_of(s, "journal.old"));
    unlink(file_of(s, "journal.new"));
    rmdir(s->dir);
    arena_release(&s->arena);
    free(s);
    return 0;
}

static void add(struct seen *s, const char *line)
{
    strncat(s->text, line, sizeof s->text - strlen(s->text) - 1);
}

static void ended(void *ctx, const char *id, uint64_t what, json_t *error, json_t *result)
{
    struct seen *s = ctx;
    char *value = json_dumps(error ? error : result, JSON_COMPACT | JSON_ENCODE_ANY);

    add(s, arena_printf(&s->arena, "ended %.1s %d %s %s\n", id, (int)what,
                        error ? "error" : "result", value ? value : "-"));
    free(value);
}

static void sealed(void *ctx, const char *id)
{
    struct seen *s = ctx;

    add(s, arena_printf(&s->arena, "sealed %.1s\n", id));
}

static void unfinished(void *ctx, const char *id, uint64_t what, const char *call, json_t *args,
                       bool noted)
{
    struct seen *s = ctx;

    add(s,
        arena_printf(&s->arena, "unfinished %.1s %d %s %d%s\n", id, (int)what, call,
                     (int)json_integer_value(json_object_get(args, "n")), noted ? " noted" : ""));
}

/* As after a kill: whatever is open is forgotten, and the files are read. */
static const char *reopen(struct seen *s)
{
    const struct journal_visitor visitor = {s, ended, sealed, unfinished};
    struct error *e;

    journal_free(s->journal);
    s->journal = NULL;
    e = journal_open(&s->arena, s->dir, &s->journal);
    if (e)
        fail_msg("%s", error_line(&s->arena, e));
    s->text[0] = '\0';
    journal_replay(s->journal, &visitor);
    return s->text;
}

static void begin(struct seen *s, const char *id, int n)
{
    json_t *args = json_pack("{s:i}", "n", n);

    assert_null(journal_begin(&s->arena, s->journal, id, (uint64_t)n, "build", args));
    json_decref(args);
}

static void end(struct seen *s, const char *id, int n)
{
    json_t *result = json_pack("{s:i}", "domid", n);

    journal_end(s->journal, id, (uint64_t)n, NULL, result);
    json_decref(result);
}

static void what_ended_is_remembered_and_what_did_not_is_told_last(void **state)
{
    struct seen *s = *state;
    json_t *error = json_pack("{s:s}", "code", "BAD");

    assert_string_equal(reopen(s), "");
    begin(s, A, 1);
    begin(s, B, 2);
    assert_null(journal_note(&s->arena, s->journal, B));
    begin(s, C, 3);
    journal_end(s->journal, C, 3, error, NULL);
    json_decref(error);
    journal_sealed(s->journal, "dddddddd-0000-0000-0000-000000000000");
    assert_string_equal(reopen(s), "ended c 3 error {\"code\":\"BAD\"}\nsealed d\n"
                                   "unfinished a 1 build 1\nunfinished b 2 build 2 noted\n");
    end(s, A, 1);
    assert_string_equal(reopen(s), "ended c 3 error {\"code\":\"BAD\"}\nsealed d\n"
                                   "ended a 1 result {\"domid\":1}\n"
                                   "unfinished b 2 build 2 noted\n");
}

static void the_instance_and_the_epoch_stay(void **state)
{
    struct seen *s = *state;
    char instance[UUID_TEXT_SIZE];

    reopen(s);
    memcpy(instance, journal_instance(s->journal), sizeof instance);
    assert_int_equal(journal_epoch(s->journal), 0);
    journal_epoch_rose(s->journal, 7);
    journal_epoch_rose(s->journal, 9);
    reopen(s);
    assert_string_equal(journal_instance(s->journal), instance);
    assert_int_equal(journal_epoch(s->journal), 9);
}

/* At every byte of the last line. */
static void a_line_cut_short_is_dropped_and_more_can_be_written(void **state)
{
    struct seen *s = *state;
    const char *path = file_of(s, "journal");
    struct stat before, after;

    reopen(s);
    begin(s, A, 1);
    assert_int_equal(stat(path, &before), 0);
    end(s, A, 1);
    assert_int_equal(stat(path, &after), 0);
    for (off_t cut = after.st_size - 1; cut >= before.st_size; cut--) {
        assert_int_equal(truncate(path, cut), 0);
        assert_string_equal(reopen(s), "unfinished a 1 build 1\n");
    }
    end(s, A, 1);
    assert_string_equal(reopen(s), "ended a 1 result {\"domid\":1}\n");
}

static void a_line_that_was_changed_is_no_record(void **state)
{
    struct seen *s = *state;
    struct stat st;
    int fd;

    reopen(s);
    begin(s, A, 1);
    fd = open(file_of(s, "journal"), O_RDWR);
    assert_int_equal(fstat(fd, &st), 0);
    assert_int_equal(pwrite(fd, "!", 1, st.st_size - 3), 1);
    close(fd);
    assert_string_equal(reopen(s), "");
}

static void a_full_file_is_turned_over_and_what_runs_is_carried_along(void **state)
{
    struct seen *s = *state;
    json_t *big = json_object();
    char *text = xcalloc(1, 512 * 1024 + 1);
    struct stat st;

    memset(text, 'x', 512 * 1024);
    json_object_set_new(big, "text", json_string(text));
    free(text);
    reopen(s);
    journal_epoch_rose(s->journal, 5);
    begin(s, A, 1);
    for (int i = 0; i < 40; i++) {
        char id[UUID_TEXT_SIZE];

        assert_null(journal_begin(&s->arena, s->journal, uuid_new(id), 2, "save", big));
        journal_end(s->journal, id, 2, NULL, NULL);
    }
    json_decref(big);
    assert_int_equal(stat(file_of(s, "journal"), &st), 0);
    assert_true(st.st_size < 10 * 1024 * 1024);
    assert_int_equal(stat(file_of(s, "journal.old"), &st), 0);
    assert_true(st.st_size < 10 * 1024 * 1024);
    assert_non_null(strstr(reopen(s), "unfinished a 1 build 1\n"));
    assert_int_equal(journal_epoch(s->journal), 5);
    /* And when it ends, it has ended. */
    end(s, A, 1);
    assert_non_null(strstr(reopen(s), "ended a 1 result {\"domid\":1}\n"));
    assert_null(strstr(s->text, "unfinished"));
}

static void a_crash_between_the_two_renames_loses_nothing(void **state)
{
    struct seen *s = *state;

    reopen(s);
    begin(s, A, 1);
    assert_int_equal(rename(file_of(s, "journal"), file_of(s, "journal.old")), 0);
    assert_string_equal(reopen(s), "unfinished a 1 build 1\n");
    end(s, A, 1);
    assert_string_equal(reopen(s), "ended a 1 result {\"domid\":1}\n");
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_ended_is_remembered_and_what_did_not_is_told_last,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(the_instance_and_the_epoch_stay, setup, teardown),
        cmocka_unit_test_setup_teardown(a_line_cut_short_is_dropped_and_more_can_be_written, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_line_that_was_changed_is_no_record, setup, teardown),
        cmocka_unit_test_setup_teardown(a_full_file_is_turned_over_and_what_runs_is_carried_along,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(a_crash_between_the_two_renames_loses_nothing, setup,
                                        teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
