/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Tests of the guard: what it refuses, what it accepts, and that no flipped bit is ever silently
 * wrong. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "pool/log/files.h"
#include "pool/log/mark.h"
#include "tests/unit/log/fsm.h"

#define N_ACKED 400

static const struct log_raft_options options = {.snapshot_entries = 120, .trailing = 20};

/* A directory of a run that was killed, one of a run that ended well, and room for a damaged copy.
 */
struct fixture {
    char *dir, *killed, *closed, *copy;
};

static void write_range(struct log *log, uint64_t from, uint64_t to)
{
    for (uint64_t i = from; i < to; i++)
        if (ask_once(log, 1, i, 'x', 30 + i % 300) != LOG_APPLIED)
            _exit(3);
}

/* Waits until a snapshot has cut the log's first segment off. */
static void wait_for_cut(const char *dir)
{
    char *first = xasprintf("%s/0000000000000001-0000000000000001", dir);
    usec_t deadline = clock_mono() + 20 * USEC_PER_SEC;

    while (access(first, F_OK) == 0) {
        if (clock_mono() > deadline)
            _exit(4);
        clock_sleep(USEC_PER_MSEC);
    }
    free(first);
}

/* In a child process: writes, with a snapshot on the way, and then closes the log or is gone at
 * once, as by kill -9. */
static void write_some(const char *dir, bool close_it)
{
    struct fsm *fsm = fsm_new();
    struct arena arena = {0};
    struct log *log;

    if (log_raft_open(&arena, dir, &options, &fsm->log, &log))
        _exit(2);
    write_range(log, 0, N_ACKED / 2);
    wait_for_cut(dir);
    log_close(log);
    if (log_raft_open(&arena, dir, NULL, &fsm->log, &log))
        _exit(2);
    write_range(log, N_ACKED / 2, N_ACKED);
    if (close_it)
        log_close(log);
    _exit(0);
}

static void run_child(const char *dir, const char *how)
{
    pid_t pid = fork();
    int status;

    if (pid == 0) {
        execl("/proc/self/exe", "write-some", dir, how, NULL);
        _exit(127);
    }
    waitpid(pid, &status, 0);
    assert_int_equal(status, 0);
}

static void fresh_copy(struct fixture *f, const char *from)
{
    char *command = xasprintf("rm -rf '%s'", f->copy);

    if (system(command) != 0)
        fail();
    free(command);
    copy_dir(from, f->copy);
}

/* Opens the copy.  True if it was accepted, and then everything acknowledged is there and more can
 * be written. */
static bool accepted(struct fixture *f, char why[1024])
{
    struct fsm *fsm = fsm_new();
    struct arena arena = {0};
    struct error *e;
    struct log *log;

    e = log_raft_open(&arena, f->copy, &options, &fsm->log, &log);
    if (e) {
        snprintf(why, 1024, "%s", e->params[0]);
    } else {
        why[0] = '\0';
        for (uint64_t i = 0; i < N_ACKED; i++)
            if (!fsm_has(fsm, 1, i))
                fail_msg("write %d is silently gone", (int)i);
        assert_int_equal(fsm_revision(fsm), N_ACKED);
        assert_int_equal(ask_once(log, 1, N_ACKED, 'x', 40), LOG_APPLIED);
        log_close(log);
    }
    fsm_free(fsm);
    arena_release(&arena);
    return !e;
}

static void expect_refused(struct fixture *f, const char *word)
{
    char why[1024];

    assert_false(accepted(f, why));
    if (!strstr(why, word))
        fail_msg("'%s' does not say '%s'", why, word);
}

static void expect_accepted(struct fixture *f)
{
    char why[1024];

    if (!accepted(f, why))
        fail_msg("%s", why);
}

static char *in_copy(const struct fixture *f, const char *name)
{
    return xasprintf("%s/%s", f->copy, name);
}

/* True if accepted; fails the test if it was accepted and something is gone. */
static bool refused_or_right(struct fixture *f)
{
    char why[1024];

    return accepted(f, why);
}

/* The n-th file of the copy, in directory order sorted by name, whose name begins so.  Caller
 * frees; NULL past the last. */
static char *find_file(const struct fixture *f, const char *prefix, unsigned n)
{
    struct dirent **names;
    char *found = NULL;
    int count = scandir(f->copy, &names, NULL, alphasort);

    for (int i = 0; i < count; i++) {
        if (!found && names[i]->d_name[0] != '.' &&
            strncmp(names[i]->d_name, prefix, strlen(prefix)) == 0 && n-- == 0)
            found = xstrdup(names[i]->d_name);
        free(names[i]);
    }
    free(names);
    return found;
}

static uint8_t *read_copy(const struct fixture *f, const char *name, size_t *size)
{
    int dir = open(f->copy, O_RDONLY | O_DIRECTORY);
    uint8_t *data;

    assert_int_equal(files_read(dir, name, 64 << 20, &data, size), 0);
    close(dir);
    return data;
}

static void write_copy(const struct fixture *f, const char *name, const void *data, size_t size,
                       off_t at)
{
    char *path = in_copy(f, name);
    int fd = open(path, O_WRONLY | O_CREAT, 0600);

    assert_true(fd >= 0 && pwrite(fd, data, size, at) == (ssize_t)size);
    close(fd);
    free(path);
}

static void cut_copy(const struct fixture *f, const char *name, off_t size)
{
    char *path = in_copy(f, name);

    assert_int_equal(truncate(path, size), 0);
    free(path);
}

static void remove_copy(const struct fixture *f, const char *name)
{
    char *path = in_copy(f, name);

    assert_int_equal(unlink(path), 0);
    free(path);
}

static size_t used_bytes(const uint8_t *data, size_t size)
{
    while (size && data[size - 1] == 0)
        size--;
    return size;
}

/* The open segment with the last entries. */
static char *last_open(const struct fixture *f, size_t *used)
{
    char *best = NULL, *name;

    *used = 0;
    for (unsigned i = 0; (name = find_file(f, "open-", i)) != NULL; i++) {
        size_t size, n;
        uint8_t *data = read_copy(f, name, &size);

        n = used_bytes(data, size);
        free(data);
        if (n > *used) {
            free(best);
            best = name;
            *used = n;
        } else {
            free(name);
        }
    }
    assert_non_null(best);
    return best;
}

static void undamaged_directories_are_accepted(void **state)
{
    struct fixture *f = *state;

    fresh_copy(f, f->killed);
    expect_accepted(f);
    fresh_copy(f, f->closed);
    expect_accepted(f);
}

static void a_tail_that_was_never_acknowledged_is_dropped(void **state)
{
    struct fixture *f = *state;
    uint8_t garbage[5000];
    size_t used;
    char *name;

    fresh_copy(f, f->killed);
    name = last_open(f, &used);
    memset(garbage, 0xa5, sizeof garbage);
    write_copy(f, name, garbage, sizeof garbage, (off_t)((used + 511) / 512 * 512));
    expect_accepted(f);
    free(name);
}

static void a_lost_tail_that_was_acknowledged_is_refused(void **state)
{
    static const uint8_t zeros[4096];
    struct fixture *f = *state;
    size_t used;
    char *name;

    fresh_copy(f, f->killed);
    name = last_open(f, &used);
    write_copy(f, name, zeros, 8, (off_t)used - 8);
    expect_refused(f, name);
    fresh_copy(f, f->killed);
    write_copy(f, name, zeros, 4096, (off_t)used - 4096);
    expect_refused(f, "were acknowledged");
    fresh_copy(f, f->killed);
    cut_copy(f, name, (off_t)used - 3);
    expect_refused(f, name);
    fresh_copy(f, f->killed);
    cut_copy(f, name, 4099);
    expect_refused(f, name);
    fresh_copy(f, f->killed);
    remove_copy(f, name);
    expect_refused(f, "were acknowledged");
    free(name);
}

static void open_segments_of_odd_sizes_are_no_trouble(void **state)
{
    struct fixture *f = *state;
    uint8_t byte = 0;
    size_t used;
    char *name;

    fresh_copy(f, f->killed);
    name = last_open(f, &used);
    cut_copy(f, name, (off_t)(used + 24) / 8 * 8 + 5);
    write_copy(f, "open-901", &byte, 1, 0);
    write_copy(f, "open-902", &byte, 0, 0);
    write_copy(f, "open-903", &byte, 1, 12);
    expect_accepted(f);
    free(name);
}

static void missing_files_are_refused(void **state)
{
    static const char *const prefixes[] = {"metadata1", "mark"};
    struct fixture *f = *state;

    for (size_t i = 0; i < ARRAY_SIZE(prefixes); i++) {
        fresh_copy(f, f->killed);
        remove_copy(f, prefixes[i]);
        expect_refused(f, prefixes[i]);
    }
}

/* Puts the record of an election into the copy: (2, 5, vote 7) after (1, 1, none); and a metadata2
 * with 'vote' if it is not 0. */
static void put_election(struct fixture *f, bool done, uint64_t version, uint64_t vote)
{
    const struct mark_metas metas = {.before = {1, 1, 0}, .now = {2, 5, 7}, .done = done};
    const uint64_t file[4] = {1, version, 5, vote};
    int dir = open(f->copy, O_RDONLY | O_DIRECTORY);
    struct arena arena = {0};
    struct mark mark;
    bool found;

    assert_null(mark_open(&arena, dir, f->copy, &mark, &found));
    assert_true(found);
    assert_int_equal(mark_metas(&mark, &metas), 0);
    mark_close(&mark);
    close(dir);
    arena_release(&arena);
    if (version)
        write_copy(f, "metadata2", file, sizeof file, 0);
}

static void a_vote_is_what_was_written_or_the_log_is_refused(void **state)
{
    struct fixture *f = *state;

    fresh_copy(f, f->closed);
    put_election(f, true, 2, 7);
    expect_accepted(f);
    fresh_copy(f, f->closed);
    put_election(f, true, 2, 8);
    expect_refused(f, "metadata2");
    fresh_copy(f, f->closed);
    put_election(f, true, 0, 0);
    expect_refused(f, "metadata2");
}

/* Opens the copy; then the mark says that the metadata files hold 'now', and 'before' besides. */
static void expect_settled(struct fixture *f, struct mark_meta now, struct mark_meta before)
{
    int dir = open(f->copy, O_RDONLY | O_DIRECTORY);
    struct arena arena = {0};
    struct mark mark;
    bool found;

    expect_accepted(f);
    assert_null(mark_open(&arena, dir, f->copy, &mark, &found));
    assert_true(mark.metas.done);
    assert_memory_equal(&mark.metas.now, &now, sizeof now);
    assert_memory_equal(&mark.metas.before, &before, sizeof before);
    mark_close(&mark);
    close(dir);
    arena_release(&arena);
}

/* There, not there, another one, or torn.  The next one is counted from what is there: otherwise
 * the start after it would refuse the log. */
static void a_vote_that_was_being_written_is_there_or_not(void **state)
{
    const struct mark_meta none = {0}, first = {1, 1, 0}, second = {2, 5, 7};
    struct fixture *f = *state;
    char *metadata2 = in_copy(f, "metadata2");

    fresh_copy(f, f->closed);
    put_election(f, false, 2, 7);
    expect_settled(f, second, first);
    fresh_copy(f, f->closed);
    put_election(f, false, 0, 0);
    expect_settled(f, first, none);
    fresh_copy(f, f->closed);
    put_election(f, false, 2, 9);
    expect_settled(f, first, none);
    assert_int_not_equal(access(metadata2, F_OK), 0);
    fresh_copy(f, f->closed);
    put_election(f, false, 2, 7);
    cut_copy(f, "metadata2", 20);
    expect_settled(f, first, none);
    free(metadata2);
}

/* Any closed segment may be missing only if a snapshot makes up for it; the last one never. */
static void missing_segments_are_refused(void **state)
{
    struct fixture *f = *state;
    unsigned n = 0;
    bool good = true;
    char *name;

    for (fresh_copy(f, f->closed); (name = find_file(f, "00", n)) != NULL; n++) {
        remove_copy(f, name);
        good = refused_or_right(f);
        free(name);
        fresh_copy(f, f->closed);
    }
    assert_true(n > 0);
    assert_false(good);
}

static void missing_snapshots_are_refused(void **state)
{
    struct fixture *f = *state;
    char *name;

    fresh_copy(f, f->closed);
    while ((name = find_file(f, "snapshot-", 0)) != NULL) {
        remove_copy(f, name);
        free(name);
    }
    expect_refused(f, "missing");
}

static void a_file_set_aside_as_corrupt_is_refused(void **state)
{
    struct fixture *f = *state;

    fresh_copy(f, f->closed);
    write_copy(f, "corrupt-123-open-4", "x", 1, 0);
    expect_refused(f, "set aside");
}

static void put32(uint8_t *p, uint32_t v)
{
    memcpy(p, &v, sizeof v);
}

/* The offset and extent of the last batch in a closed segment that holds a command of ours; the
 * caller frees *data. */
static char *last_command(const struct fixture *f, uint8_t **data, size_t *size, size_t *at,
                          struct batch_view *found)
{
    struct crc_table crc;
    char *name = NULL, *next;

    for (unsigned n = 0; (next = find_file(f, "00", n)) != NULL; n++) {
        free(name);
        name = next;
    }
    assert_non_null(name);
    crc_init(&crc);
    *data = read_copy(f, name, size);
    *at = 0;
    for (size_t pos = 8; pos < *size;) {
        struct batch_view batch;

        assert_null(files_batch(&crc, *data + pos, *size - pos, &batch));
        if (files_get32(batch.data) == 0x4c504158u && batch.n == 1) {
            *at = pos;
            *found = batch;
        }
        pos += batch.size;
    }
    assert_true(*at > 0);
    return name;
}

static void an_entry_of_a_newer_version_is_refused_not_skipped(void **state)
{
    struct fixture *f = *state;
    struct batch_view batch;
    struct crc_table crc;
    uint8_t *data;
    size_t size, at;
    char *name;

    fresh_copy(f, f->closed);
    name = last_command(f, &data, &size, &at, &batch);
    crc_init(&crc);
    put32((uint8_t *)batch.data + 4, 2);
    put32(data + at + 4,
          crc_add(&crc, 0, batch.data, batch.size - (size_t)(batch.data - data - at)));
    write_copy(f, name, data, size, 0);
    expect_refused(f, "newer version");
    free(data);
    free(name);
}

/* Takes one whole batch out: every checksum stays right. */
static void an_entry_lost_from_the_middle_is_noticed(void **state)
{
    struct fixture *f = *state;
    struct batch_view batch;
    struct crc_table crc;
    uint8_t *data;
    size_t size, at;
    char *name;

    fresh_copy(f, f->closed);
    name = last_command(f, &data, &size, &at, &batch);
    crc_init(&crc);
    assert_null(files_batch(&crc, data + 8, size - 8, &batch));
    assert_true(at > 8);
    write_copy(f, name, data + 8 + batch.size, size - 8 - batch.size, 8);
    cut_copy(f, name, (off_t)(size - batch.size));
    expect_refused(f, "should be");
    free(data);
    free(name);
}

struct flips {
    unsigned n, refused;
};

static void flip(struct fixture *f, const char *from, const char *name, size_t offset, unsigned bit,
                 struct flips *count)
{
    size_t size;
    uint8_t *data;

    fresh_copy(f, from);
    data = read_copy(f, name, &size);
    data[offset] ^= (uint8_t)(1u << bit);
    write_copy(f, name, data + offset, 1, (off_t)offset);
    free(data);
    count->n++;
    count->refused += !refused_or_right(f);
}

/* Every byte of a small file, and of a large one its ends and places in between. */
static void flip_file(struct fixture *f, const char *from, const char *name, struct flips *count)
{
    size_t size, used, step;
    uint8_t *data;

    fresh_copy(f, from);
    data = read_copy(f, name, &size);
    used = used_bytes(data, size);
    free(data);
    step = MAX(used / 24, 1);
    for (size_t at = 0; at < used; at += at < 16 || at + 16 > used ? 4 : step)
        flip(f, from, name, at, (unsigned)(at * 5 + used) % 8, count);
    if (used < size)
        flip(f, from, name, used + (size - used) / 2, 3, count);
    if (strcmp(name, "mark") == 0)
        for (size_t at = 0; at < 100; at += 7)
            for (size_t slot = 0; slot < 4; slot++)
                flip(f, from, name, slot * 4096 + at, (unsigned)at % 8, count);
}

static void flip_all(struct fixture *f, const char *from)
{
    struct flips count = {0};
    unsigned n_files = 0;
    char *name;

    for (;; n_files++) {
        fresh_copy(f, from);
        name = find_file(f, "", n_files);
        if (!name)
            break;
        if (strcmp(name, "lock") != 0)
            flip_file(f, from, name, &count);
        free(name);
    }
    print_message("%u flips in %u files: %u refused, %u harmless, none silently wrong\n", count.n,
                  n_files, count.refused, count.n - count.refused);
    assert_true(count.refused > count.n / 4);
}

static void a_flipped_bit_is_refused_or_harmless_after_a_kill(void **state)
{
    struct fixture *f = *state;

    flip_all(f, f->killed);
}

static void a_flipped_bit_is_refused_or_harmless_after_a_close(void **state)
{
    struct fixture *f = *state;

    flip_all(f, f->closed);
}

static void the_checksum_is_the_librarys(void **state)
{
    struct crc_table crc;

    (void)state;
    crc_init(&crc);
    /* The check value of this variant (MSB first, nothing inverted) for the nine digits. */
    assert_int_equal(crc_add(&crc, 0, "123456789", 9), 0x89a1897f);
    assert_int_equal(crc_add(&crc, crc_add(&crc, 0, "12345", 5), "6789", 4), 0x89a1897f);
}

static int set_up(void **state)
{
    struct fixture *f = xcalloc(1, sizeof *f);

    f->dir = temp_dir();
    f->killed = xasprintf("%s/killed", f->dir);
    f->closed = xasprintf("%s/closed", f->dir);
    f->copy = xasprintf("%s/copy", f->dir);
    run_child(f->killed, "kill");
    run_child(f->closed, "close");
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    free(f->killed);
    free(f->closed);
    free(f->copy);
    temp_dir_remove(f->dir);
    free(f);
    return 0;
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_checksum_is_the_librarys),
        cmocka_unit_test(undamaged_directories_are_accepted),
        cmocka_unit_test(a_tail_that_was_never_acknowledged_is_dropped),
        cmocka_unit_test(a_lost_tail_that_was_acknowledged_is_refused),
        cmocka_unit_test(open_segments_of_odd_sizes_are_no_trouble),
        cmocka_unit_test(missing_files_are_refused),
        cmocka_unit_test(a_vote_is_what_was_written_or_the_log_is_refused),
        cmocka_unit_test(a_vote_that_was_being_written_is_there_or_not),
        cmocka_unit_test(missing_segments_are_refused),
        cmocka_unit_test(missing_snapshots_are_refused),
        cmocka_unit_test(a_file_set_aside_as_corrupt_is_refused),
        cmocka_unit_test(an_entry_of_a_newer_version_is_refused_not_skipped),
        cmocka_unit_test(an_entry_lost_from_the_middle_is_noticed),
        cmocka_unit_test(a_flipped_bit_is_refused_or_harmless_after_a_kill),
        cmocka_unit_test(a_flipped_bit_is_refused_or_harmless_after_a_close),
    };

    if (argc == 3)
        write_some(argv[1], strcmp(argv[2], "close") == 0);
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
