/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Tests of what two hosts say to each other while a VM moves. */
#include <stdlib.h>
#include <string.h>

#include "../peer/pair.h"
#include "xapid/ops/migrate/channel.h"

#define MEMORY ((size_t)1 << 20)

/* Both ends of a conversation; the far one answers in a thread of its own. */
struct talk {
    struct world *w;
    struct channel *here, *there;
};

static struct talk talk_begin(struct world *w, bool pack)
{
    struct talk t = {.w = w};

    know_each_other(w);
    t.here = channel_new(open_stream(w), pack);
    t.there = channel_new(other_end(w), false);
    w->taken = NULL; /* the channel's now */
    return t;
}

static void talk_end(struct talk *t)
{
    channel_free(t->here);
    channel_free(t->there);
}

static char byte_at(size_t i)
{
    return i % 3 ? (char)(i / 1000) : (char)(i * 2654435761u >> 13);
}

static void *send_all(void *arg)
{
    struct talk *t = arg;
    struct arena arena = {0};
    char *data = arena_alloc(&arena, MEMORY);

    for (size_t i = 0; i < MEMORY; i++)
        data[i] = byte_at(i);
    for (size_t at = 0; at < MEMORY; at += CHANNEL_MEMORY) {
        assert_null(channel_send_memory(&arena, t->here, data + at, CHANNEL_MEMORY));
        assert_null(channel_send(&arena, t->here, PIECE_ALIVE, NULL, 0));
    }
    assert_null(channel_send_end(&arena, t->here));
    arena_release(&arena);
    return NULL;
}

static void receive_all(struct talk *t)
{
    struct arena *arena = &t->w->arena;
    struct thread thread = {0};
    enum piece_kind kind;
    const void *data;
    size_t size, at = 0;

    thread_start(&thread, "sends", send_all, t);
    for (;;) {
        assert_null(channel_receive(arena, t->there, &kind, &data, &size));
        if (kind == PIECE_END)
            break;
        assert_int_equal(kind, PIECE_MEMORY);
        for (size_t i = 0; i < size; i++)
            assert_int_equal(((const char *)data)[i], byte_at(at + i));
        at += size;
    }
    thread_join(&thread);
    assert_int_equal(at, MEMORY);
    assert_int_equal(channel_bytes(t->here), MEMORY);
    assert_int_equal(channel_bytes(t->there), MEMORY);
}

static void memory_arrives_as_it_was_sent(void **state)
{
    struct talk t = talk_begin(*state, false);

    receive_all(&t);
    talk_end(&t);
}

static void memory_that_was_packed_arrives_unpacked(void **state)
{
    struct talk t = talk_begin(*state, true);

    receive_all(&t);
    talk_end(&t);
}

static void a_wrong_sum_is_found(void **state)
{
    struct talk t = talk_begin(*state, false);
    struct arena *arena = &t.w->arena;
    uint8_t end[PIECE_END_SIZE];
    enum piece_kind kind;
    const void *data;
    struct error *e;
    size_t size;

    assert_null(channel_send_memory(arena, t.here, "memory", 6));
    piece_end_write(end, &(struct piece_end){6, 1});
    assert_null(channel_send(arena, t.here, PIECE_END, end, sizeof end));
    assert_null(channel_receive(arena, t.there, &kind, &data, &size));
    e = channel_receive(arena, t.there, &kind, &data, &size);
    assert_non_null(e);
    assert_non_null(strstr(e->params[0], "has changed on the way"));
    talk_end(&t);
}

static void a_side_that_gives_up_says_why(void **state)
{
    struct talk t = talk_begin(*state, false);
    struct arena *arena = &t.w->arena;
    struct error *e = error_internal(arena, "the connection broke");

    assert_null(channel_send(arena, t.there, PIECE_FAILED, "no room", 7));
    e = channel_reason(arena, t.here, e);
    assert_string_equal(e->params[0], "the other host: no room");
    talk_end(&t);
}

static void a_piece_that_does_not_fit_its_kind_ends_the_conversation(void **state)
{
    struct talk t = talk_begin(*state, false);
    struct arena *arena = &t.w->arena;
    enum piece_kind kind;
    const void *data;
    size_t size;

    assert_null(channel_send(arena, t.here, PIECE_READY, "x", 1));
    assert_non_null(channel_receive(arena, t.there, &kind, &data, &size));
    talk_end(&t);
}

static void heads_of_all_kinds_are_read_as_they_were_written(void **state)
{
    static const size_t sizes[] = {[PIECE_BEGIN] = PIECE_WORD_SIZE,
                                   [PIECE_MEMORY] = 1,
                                   [PIECE_PACKED] = PIECE_MAX,
                                   [PIECE_END] = PIECE_END_SIZE,
                                   [PIECE_RECEIVED] = PIECE_WORD_SIZE,
                                   [PIECE_FAILED] = 9,
                                   [PIECE_ALIVE] = 0,
                                   [PIECE_STATS] = 9};
    uint8_t head[PIECE_HEAD];
    enum piece_kind kind;
    size_t size;

    (void)state;
    for (unsigned k = PIECE_BEGIN; k <= PIECE_STATS; k++) {
        piece_head_write(head, (enum piece_kind)k, sizes[k]);
        assert_true(piece_head_read(head, &kind, &size));
        assert_int_equal(kind, k);
        assert_int_equal(size, sizes[k]);
        piece_head_write(head, (enum piece_kind)k, PIECE_MAX + 1);
        assert_false(piece_head_read(head, &kind, &size));
    }
    piece_head_write(head, (enum piece_kind)(PIECE_STATS + 1), 0);
    assert_false(piece_head_read(head, &kind, &size));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, world_setup, world_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(memory_arrives_as_it_was_sent),
        TEST(memory_that_was_packed_arrives_unpacked),
        TEST(a_wrong_sum_is_found),
        TEST(a_side_that_gives_up_says_why),
        TEST(a_piece_that_does_not_fit_its_kind_ends_the_conversation),
        cmocka_unit_test(heads_of_all_kinds_are_read_as_they_were_written),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
