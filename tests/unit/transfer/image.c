/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lab.h"

#include <string.h>

#include "libxapi/base/memory.h"
#include "xapid/transfer/image.h"

#define SIZE ((int64_t)5 * 1024 * 1024 + 4096)

typedef struct error *send_fn(struct call *call, const struct image_disk *disk, struct sink *to);
typedef struct error *receive_fn(struct call *call, struct source *from,
                                 const struct image_disk *disk);

static const struct {
    send_fn *send;
    receive_fn *receive;
} formats[] = {{vhd_send, vhd_receive}, {qcow2_send, qcow2_receive}};

static struct vdi_io *noisy(struct lab *lab, int64_t size, int64_t at, uint32_t seed)
{
    struct vdi_io *io = lab_disk(lab, size);
    char noise[100000];

    lab_fill(noise, sizeof noise, seed);
    assert_null(vdi_io_write(&lab->call, io, at, noise, sizeof noise));
    return io;
}

static void assert_same(struct lab *lab, struct vdi_io *a, struct vdi_io *b)
{
    AUTO(room) x = {xmalloc((size_t)SIZE)};
    AUTO(room) y = {xmalloc((size_t)SIZE)};

    assert_null(vdi_io_read(&lab->call, a, 0, x.p, (size_t)SIZE));
    assert_null(vdi_io_read(&lab->call, b, 0, y.p, (size_t)SIZE));
    assert_memory_equal(x.p, y.p, (size_t)SIZE);
}

static void an_image_makes_the_disk_what_the_other_one_was(void **state)
{
    struct lab *lab = *state;

    for (size_t i = 0; i < ARRAY_SIZE(formats); i++) {
        struct image_disk from = {.io = noisy(lab, SIZE, SIZE - 100000, 1), .uuid = ""},
                          to = {.io = noisy(lab, SIZE, 2000000, 2), .uuid = ""};
        struct memory_source source;

        lab->out.len = 0;
        assert_null(formats[i].send(&lab->call, &from, &lab->sink));
        assert_true(lab->out.len < (size_t)SIZE);
        lab_read_back(lab, &source);
        assert_null(formats[i].receive(&lab->call, &source.source, &to));
        assert_same(lab, from.io, to.io);
        vdi_io_close(from.io);
        vdi_io_close(to.io);
    }
}

static void a_difference_changes_only_what_differs(void **state)
{
    struct lab *lab = *state;

    for (size_t i = 0; i < ARRAY_SIZE(formats); i++) {
        struct vdi_io *base = noisy(lab, SIZE, 0, 1), *copy = noisy(lab, SIZE, 0, 1);
        struct image_disk top = {.io = noisy(lab, SIZE, 0, 1),
                                 .uuid = "",
                                 .base = base,
                                 .base_uuid = "0f0e0d0c-0b0a-4908-8706-050403020100"},
                          to = {.io = copy, .uuid = ""};
        struct memory_source source;

        assert_null(vdi_io_write(&lab->call, top.io, 3000000, "changed", 7));
        lab->out.len = 0;
        assert_null(formats[i].send(&lab->call, &top, &lab->sink));
        lab_read_back(lab, &source);
        assert_null(formats[i].receive(&lab->call, &source.source, &to));
        assert_same(lab, top.io, copy);
        vdi_io_close(top.io);
        vdi_io_close(base);
        vdi_io_close(copy);
    }
}

static void an_image_that_is_cut_or_too_big_is_refused(void **state)
{
    struct lab *lab = *state;

    for (size_t i = 0; i < ARRAY_SIZE(formats); i++) {
        struct image_disk from = {.io = noisy(lab, SIZE, 0, 1), .uuid = ""},
                          to = {.io = lab_disk(lab, SIZE), .uuid = ""},
                          small = {.io = lab_disk(lab, SIZE / 2), .uuid = ""};
        struct memory_source source;

        lab->out.len = 0;
        assert_null(formats[i].send(&lab->call, &from, &lab->sink));
        memory_source_init(&source, lab->out.data, lab->out.len / 3);
        assert_true(error_is(formats[i].receive(&lab->call, &source.source, &to),
                             "IMPORT_ERROR_PREMATURE_EOF"));
        lab_read_back(lab, &source);
        assert_true(
            error_is(formats[i].receive(&lab->call, &source.source, &small), "VDI_TOO_SMALL"));
        vdi_io_close(from.io);
        vdi_io_close(to.io);
        vdi_io_close(small.io);
    }
}

static void no_vhd_is_made_beyond_its_limit(void **state)
{
    struct lab *lab = *state;
    struct image_disk fits = {.io = lab_disk(lab, VHD_MAX)},
                      beyond = {.io = lab_disk(lab, VHD_MAX + 4096)};

    assert_null(vhd_check_size(&lab->call, &fits));
    assert_true(error_is(vhd_check_size(&lab->call, &beyond), "VDI_TOO_LARGE"));
    vdi_io_close(fits.io);
    vdi_io_close(beyond.io);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, lab_setup, lab_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(an_image_makes_the_disk_what_the_other_one_was),
        TEST(a_difference_changes_only_what_differs),
        TEST(an_image_that_is_cut_or_too_big_is_refused),
        TEST(no_vhd_is_made_beyond_its_limit),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
