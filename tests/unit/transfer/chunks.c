/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lab.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libxapi/base/memory.h"
#include "xapid/transfer/chunks.h"

/* A disk of so many bytes with noise at some offsets. */
static struct vdi_io *disk_with(struct lab *lab, int64_t size, const int64_t *at, size_t n)
{
    struct vdi_io *io = lab_disk(lab, size);
    char noise[5000];

    lab_fill(noise, sizeof noise, 3);
    for (size_t i = 0; i < n; i++)
        assert_null(vdi_io_write(&lab->call, io, at[i], noise, sizeof noise));
    return io;
}

static void assert_same(struct lab *lab, struct vdi_io *a, struct vdi_io *b)
{
    int64_t n = vdi_io_size(a);
    AUTO(room) x = {xmalloc((size_t)n)};
    AUTO(room) y = {xmalloc((size_t)n)};

    assert_null(vdi_io_read(&lab->call, a, 0, x.p, (size_t)n));
    assert_null(vdi_io_read(&lab->call, b, 0, y.p, (size_t)n));
    assert_memory_equal(x.p, y.p, (size_t)n);
}

/* The names in the archive that were written, between blanks. */
static const char *names(struct lab *lab)
{
    const char *all = " ";
    struct memory_source source;
    struct tar_reader tar;
    bool found = true;

    lab_read_back(lab, &source);
    tar_reader_init(&tar, &source.source);
    while (found) {
        assert_null(tar_next(&lab->call, &tar, &found));
        if (found && !strstr(tar.name, ".xxhash"))
            all = arena_printf(&lab->arena, "%s%s:%lld ", all, tar.name, (long long)tar.size);
    }
    return all;
}

static struct error *receive(struct lab *lab, struct vdi_io *io, bool fresh)
{
    AUTO(chunk_reader) reader = {0};
    struct memory_source source;
    struct tar_reader tar;
    bool found;

    lab_read_back(lab, &source);
    tar_reader_init(&tar, &source.source);
    chunk_reader_init(&reader, &tar, vdi_io_size(io));
    TRY(tar_next(&lab->call, &tar, &found));
    assert_true(found);
    return chunks_receive(&lab->call, &reader, "d", vdi_io_size(io), io, fresh);
}

static void zeroes_are_left_out_but_for_the_first_and_the_last_piece(void **state)
{
    struct lab *lab = *state;
    const int64_t at[] = {3 * CHUNK_SIZE + 17};
    struct vdi_io *io = disk_with(lab, 6 * CHUNK_SIZE + 512, at, 1),
                  *back = lab_disk(lab, vdi_io_size(io));
    AUTO(chunk_writer) w = {0};

    chunk_writer_init(&w, &lab->sink, vdi_io_size(io));
    assert_null(chunks_send(&lab->call, &w, "d", io));
    assert_null(tar_end(&lab->call, &lab->sink));
    assert_string_equal(names(lab), " d/00000000:1048576 d/00000003:1048576 d/00000006:512 ");
    assert_null(receive(lab, back, true));
    assert_same(lab, io, back);
    vdi_io_close(io);
    vdi_io_close(back);
}

static void after_a_long_silence_a_piece_without_bytes_is_sent_and_moves_nothing(void **state)
{
    struct lab *lab = *state;
    const int64_t at[] = {3 * CHUNK_SIZE};
    struct vdi_io *io = disk_with(lab, 5 * CHUNK_SIZE, at, 1),
                  *back = lab_disk(lab, vdi_io_size(io));
    AUTO(chunk_writer) w = {0};

    chunk_writer_init(&w, &lab->sink, vdi_io_size(io));
    w.silence = 0; /* every moment is a long one */
    assert_null(chunks_send(&lab->call, &w, "d", io));
    assert_null(tar_end(&lab->call, &lab->sink));
    assert_string_equal(names(lab), " d/00000000:1048576 d/00000001:0 d/00000003:0 "
                                    "d/00000005:1048576 d/00000006:1048576 ");
    assert_null(receive(lab, back, true));
    assert_same(lab, io, back);
    vdi_io_close(io);
    vdi_io_close(back);
}

static void what_was_on_the_disk_before_does_not_shine_through(void **state)
{
    struct lab *lab = *state;
    const int64_t at[] = {0}, old[] = {100, 2 * CHUNK_SIZE + 9, 3 * CHUNK_SIZE};
    struct vdi_io *io = disk_with(lab, 5 * CHUNK_SIZE, at, 1),
                  *back = disk_with(lab, vdi_io_size(io), old, ARRAY_SIZE(old));
    AUTO(chunk_writer) w = {0};

    chunk_writer_init(&w, &lab->sink, vdi_io_size(io));
    assert_null(chunks_send(&lab->call, &w, "d", io));
    assert_null(receive(lab, back, false));
    assert_same(lab, io, back);
    vdi_io_close(io);
    vdi_io_close(back);
}

static void a_changed_byte_is_noticed_unless_it_is_to_be_ignored(void **state)
{
    struct lab *lab = *state;
    const int64_t at[] = {0};
    struct vdi_io *io = disk_with(lab, CHUNK_SIZE, at, 1), *back = lab_disk(lab, CHUNK_SIZE);
    AUTO(chunk_writer) w = {0};

    chunk_writer_init(&w, &lab->sink, CHUNK_SIZE);
    assert_null(chunks_send(&lab->call, &w, "d", io));
    lab->out.data[TAR_BLOCK + 5000] ^= 1;
    assert_true(error_is(receive(lab, back, true), "IMPORT_ERROR_SOME_CHECKSUMS_FAILED"));
    vdi_io_close(io);
    vdi_io_close(back);
}

static void after_a_short_first_piece_nothing_is_left_out(void **state)
{
    struct lab *lab = *state;
    struct vdi_io *small = lab_disk(lab, 4096), *io = lab_disk(lab, 3 * CHUNK_SIZE);
    AUTO(chunk_writer) w = {0};

    chunk_writer_init(&w, &lab->sink, 4096 + 3 * CHUNK_SIZE);
    assert_null(chunks_send(&lab->call, &w, "a", small));
    assert_null(chunks_send(&lab->call, &w, "b", io));
    assert_string_equal(names(lab), " a/00000000:4096 b/00000000:1048576 b/00000001:1048576 "
                                    "b/00000002:1048576 ");
    vdi_io_close(small);
    vdi_io_close(io);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, lab_setup, lab_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(zeroes_are_left_out_but_for_the_first_and_the_last_piece),
        TEST(after_a_long_silence_a_piece_without_bytes_is_sent_and_moves_nothing),
        TEST(what_was_on_the_disk_before_does_not_shine_through),
        TEST(a_changed_byte_is_noticed_unless_it_is_to_be_ignored),
        TEST(after_a_short_first_piece_nothing_is_left_out),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
