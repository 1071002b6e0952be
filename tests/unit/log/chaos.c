/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Tests of the engines that other tests run on: log_memory and log_chaos. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "tests/lib/log_chaos.h"
#include "tests/lib/log_memory.h"
#include "tests/unit/log/fsm.h"

#define N_WRITERS 8
#define N_EACH 300

static struct error *open_memory(void *ctx, struct arena *arena, const struct log_fsm *fsm,
                                 struct log **out)
{
    (void)ctx, (void)arena;
    *out = log_memory_open(fsm);
    return OK;
}

static struct error *open_raft(void *ctx, struct arena *arena, const struct log_fsm *fsm,
                               struct log **out)
{
    return log_raft_open(arena, ctx, NULL, fsm, out);
}

struct writer {
    struct thread thread;
    struct log *log;
    uint64_t origin;
    enum log_outcome outcomes[N_EACH];
};

static void *write_many(void *arg)
{
    struct writer *w = arg;

    for (uint64_t i = 0; i < N_EACH; i++)
        w->outcomes[i] = ask_once(w->log, w->origin, i, 'x', 40);
    return NULL;
}

/* What was answered APPLIED is there once, CONFLICT is not there, and UNKNOWN may be either. */
static void check_outcomes(struct fsm *fsm, const struct writer *writers, unsigned counts[5],
                           unsigned *unknown_there)
{
    for (uint64_t o = 0; o < N_WRITERS; o++)
        for (uint64_t i = 0; i < N_EACH; i++) {
            enum log_outcome outcome = writers[o].outcomes[i];

            counts[outcome]++;
            if (outcome == LOG_APPLIED)
                assert_true(fsm_has(fsm, o, i));
            if (outcome == LOG_CONFLICT)
                assert_int_equal(fsm->seen[o * FSM_NUMBERS + i], 0);
            if (outcome == LOG_UNKNOWN)
                *unknown_there += fsm_has(fsm, o, i);
        }
}

static void run_writers(struct log *log, struct writer *writers)
{
    for (uint64_t o = 0; o < N_WRITERS; o++) {
        writers[o].log = log;
        writers[o].origin = o;
        thread_start(&writers[o].thread, "writer", write_many, &writers[o]);
    }
    for (uint64_t o = 0; o < N_WRITERS; o++)
        thread_join(&writers[o].thread);
}

static void chaos_keeps_its_word_over(log_chaos_below below, void *ctx)
{
    const struct log_chaos_options options = {
        .seed = 7, .conflict = 100, .unknown = 100, .delay = 2000};
    struct writer *writers = xcalloc(N_WRITERS, sizeof *writers);
    unsigned counts[5] = {0}, unknown_there = 0;
    struct fsm *fsm = fsm_new();
    struct arena arena = {0};
    struct log *log;

    assert_null(log_chaos_open(&arena, &options, below, ctx, &fsm->log, &log));
    run_writers(log, writers);
    log_close(log);
    check_outcomes(fsm, writers, counts, &unknown_there);
    assert_int_equal(counts[LOG_FAILED], 0);
    assert_in_range(counts[LOG_CONFLICT], 120, 360);
    assert_in_range(counts[LOG_UNKNOWN], 120, 360);
    assert_in_range(unknown_there, counts[LOG_UNKNOWN] / 4, counts[LOG_UNKNOWN] * 3 / 4);
    assert_int_equal(fsm->revision, counts[LOG_APPLIED] + unknown_there);
    free(writers);
    fsm_free(fsm);
    arena_release(&arena);
}

static void chaos_over_memory_keeps_its_word(void **state)
{
    (void)state;
    chaos_keeps_its_word_over(open_memory, NULL);
}

static void chaos_over_raft_keeps_its_word(void **state)
{
    char *dir = temp_dir(), *log_dir = xasprintf("%s/log", dir);

    (void)state;
    chaos_keeps_its_word_over(open_raft, log_dir);
    free(log_dir);
    temp_dir_remove(dir);
}

static void proposals_change_places_and_none_is_lost_at_close(void **state)
{
    enum { N = 200 };
    const struct log_chaos_options options = {.seed = 1, .delay = 20000};
    struct ask *asks = xcalloc(N, sizeof *asks);
    struct fsm *fsm = fsm_new();
    unsigned out_of_order = 0;
    struct arena arena = {0};
    struct log *log;

    (void)state;
    assert_null(log_chaos_open(&arena, &options, open_memory, NULL, &fsm->log, &log));
    for (uint64_t i = 0; i < N; i++) {
        ask_init(&asks[i], 1, i, 'x', 40);
        log_propose(log, &asks[i].proposal);
    }
    log_close(log);
    for (uint64_t i = 0; i < N; i++) {
        assert_true(asks[i].answered);
        assert_int_equal(asks[i].outcome, LOG_APPLIED);
        out_of_order += i && asks[i].revision < asks[i - 1].revision;
        ask_release(&asks[i]);
    }
    assert_true(out_of_order > N / 10);
    free(asks);
    fsm_free(fsm);
    arena_release(&arena);
}

static void memory_answers_each_kind(void **state)
{
    struct fsm *fsm = fsm_new();
    struct log *log = log_memory_open(&fsm->log);
    struct log_status status;

    (void)state;
    assert_int_equal(ask_once(log, 1, 1, 'x', 20), LOG_APPLIED);
    assert_int_equal(ask_once(log, 1, 2, 'C', 20), LOG_CONFLICT);
    assert_int_equal(ask_once(log, 1, 3, 'R', 20), LOG_REJECTED);
    assert_int_equal(ask_once(log, 1, 4, 'x', 3), LOG_FAILED);
    log_status(log, &status);
    assert_true(status.writable);
    assert_int_equal(status.applied_index, 4);
    assert_int_equal(fsm->published, 1);
    log_close(log);
    fsm_free(fsm);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(memory_answers_each_kind),
        cmocka_unit_test(chaos_over_memory_keeps_its_word),
        cmocka_unit_test(chaos_over_raft_keeps_its_word),
        cmocka_unit_test(proposals_change_places_and_none_is_lost_at_close),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
