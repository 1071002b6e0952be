/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What is read from the files of a chain is what qemu reads there. */
#include "storage-repos/common/clusters.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "libxapi/base/child.h"
#include "libxapi/base/memory.h"
#include "storage-repos/common/qcow2.h"
#include "tests/unit/storage/lab.h"

#define LAYERS 3
#define WRITES 24
#define COMPRESSED 8  /* of those, where they are */
#define LITTLE 100000 /* asked for at once: no multiple of anything */

static void run(struct lab *lab, const char *const *argv)
{
    struct child_spec spec = {.argv = argv, .timeout = 60 * USEC_PER_SEC};
    struct child_result r;

    lab_must(lab, child_run(&lab->arena, &spec, &r));
    if (r.status)
        fail_msg("%s: %s%s", argv[0], r.errors, r.output); /* qemu-io says it there */
}

/* What a layer is made and written with. */
struct kind {
    const char *options;
    int64_t unit;      /* writes are of multiples of this, at such */
    bool compressed;   /* some of them */
    bool all_in_plain; /* qemu is not needed to read it */
};

static const char *make_layer(struct lab *lab, const struct kind *kind, int i, int64_t size)
{
    const char *path = lab_path(lab, arena_printf(&lab->arena, "layer-%d", i));
    const char *const first[] = {
        "qemu-img",    "create", "-q",
        "-f",          "qcow2",  "-o",
        kind->options, path,     arena_printf(&lab->arena, "%lld", (long long)size),
        NULL};
    const char *const next[] = {"qemu-img",
                                "create",
                                "-q",
                                "-f",
                                "qcow2",
                                "-o",
                                kind->options,
                                "-b",
                                arena_printf(&lab->arena, "layer-%d", i - 1),
                                "-F",
                                "qcow2",
                                path,
                                arena_printf(&lab->arena, "%lld", (long long)size),
                                NULL};

    run(lab, i ? next : first);
    return path;
}

/* At random; what is compressed comes first, for qemu compresses only where nothing is yet. */
static void write_layer(struct lab *lab, const struct kind *kind, const char *path, int64_t size,
                        unsigned *seed)
{
    const char *argv[4 + 2 * WRITES + 1] = {"qemu-io", "-f", "qcow2", path};
    size_t n = 4;

    for (int i = 0; i < WRITES; i++) {
        bool compress = kind->compressed && i < COMPRESSED, zero = !compress && i % 3 == 1;
        int64_t units = size / kind->unit;
        int64_t at = compress ? units * i / COMPRESSED : rand_r(seed) % units;
        int64_t many = compress ? 1 : 1 + rand_r(seed) % MIN(8, units - at);

        argv[n++] = "-c";
        argv[n++] = arena_printf(&lab->arena, "write %s %lld %lld",
                                 compress ? arena_printf(&lab->arena, "-c -P %d", i + 1)
                                 : zero   ? "-z"
                                          : arena_printf(&lab->arena, "-P %d", i + 1),
                                 (long long)(at * kind->unit), (long long)(many * kind->unit));
    }
    argv[n] = NULL;
    run(lab, argv);
}

static const char *make_chain(struct lab *lab, const struct kind *kind, unsigned seed)
{
    static const int64_t sizes[LAYERS] = {7 * MIB, 3 * MIB, 9 * MIB};
    const char *path = NULL;

    for (int i = 0; i < LAYERS; i++) {
        path = make_layer(lab, kind, i, sizes[i]);
        write_layer(lab, kind, path, sizes[i], &seed);
    }
    return path;
}

static char *read_all(struct lab *lab, const char *path, int64_t *size)
{
    struct vdi_path p = {.path = path, .format = "qcow2"};
    struct vdi_io *io;
    char *data;

    lab_must(lab, vdi_io_open(&lab->call, &p, false, &io));
    *size = vdi_io_size(io);
    data = arena_alloc(&lab->arena, (size_t)*size);
    lab_must(lab, vdi_io_read(&lab->call, io, 0, data, (size_t)*size));
    vdi_io_close(io);
    return data;
}

/* How many bytes it left to qemu. */
static int64_t compare(struct clusters *c, const char *right, int64_t size)
{
    char *got = xmalloc(LITTLE);
    int64_t left = 0;
    size_t n = 0;

    for (int64_t at = 0; at < size; at += (int64_t)n) {
        n = clusters_read(c, at, got, (size_t)MIN((int64_t)LITTLE, size - at));
        if (n && memcmp(got, right + at, n) != 0)
            fail_msg("something else is read at %lld", (long long)at);
        left += n ? 0 : 512;
        n = n ? n : 512;
    }
    free(got);
    return left;
}

static void what_is_read_is_what_qemu_reads(void **state)
{
    static const struct kind kinds[] = {
        {"cluster_size=65536", 512, false, true},
        {"cluster_size=512", 512, false, true},
        {"cluster_size=2097152", 4096, false, true},
        {"compat=0.10", 512, false, true},
        {"compat=0.10,cluster_size=4096", 4096, true, false},
        {"cluster_size=65536", 65536, true, false},
        {"compression_type=zstd", 65536, true, false},
    };
    struct lab *lab = *state;

    for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
        const char *path = make_chain(lab, &kinds[i], (unsigned)i + 1);
        int64_t size, same;
        char *right = read_all(lab, qcow2_unlocked(&lab->call, path, false), &size);
        struct clusters *c = clusters_open(&lab->call, path);
        int64_t left;

        assert_non_null(c);
        left = compare(c, right, size);
        clusters_close(c);
        if (kinds[i].all_in_plain ? left != 0 : left == 0)
            fail_msg("%s: %lld bytes are left to qemu", kinds[i].options, (long long)left);
        assert_memory_equal(read_all(lab, path, &same), right, (size_t)size);
        assert_int_equal(same, size);
    }
}

static void what_is_not_plain_is_left_to_qemu(void **state)
{
    static const struct kind extended = {"extended_l2=on", 65536, false, false};
    static const struct kind plain = {"cluster_size=65536", 65536, false, true};
    struct lab *lab = *state;
    const char *path = make_chain(lab, &extended, 1);
    const char *far = lab_path(lab, "far");
    const char *const elsewhere[] = {
        "qemu-img", "create", "-q", "-f", "qcow2", "-b", lab_path(lab, "layer-0"),
        "-F",       "qcow2",  far,  NULL};

    assert_null(clusters_open(&lab->call, path));
    assert_null(clusters_open(&lab->call, lab_path(lab, "none")));
    path = make_chain(lab, &plain, 1);
    run(lab, elsewhere);
    assert_null(clusters_open(&lab->call, far));
    assert_int_equal(unlink(lab_path(lab, "layer-1")), 0);
    assert_null(clusters_open(&lab->call, path));
}

/* The entry of a table that points to no cluster's beginning. */
static void a_damaged_map_is_left_to_qemu(void **state)
{
    static const struct kind kind = {"cluster_size=65536", 65536, false, true};
    struct lab *lab = *state;
    const char *path = make_layer(lab, &kind, 0, MIB);
    const char *const argv[] = {"qemu-io", "-f", "qcow2", path, "-c", "write -P 7 0 65536", NULL};
    const uint8_t bad[8] = {0x80, 0, 0, 0, 0, 1, 2, 0};
    struct clusters *c;
    uint8_t head[104];
    char got[512];
    off_t at = 0;
    int fd;

    run(lab, argv);
    fd = open(path, O_RDWR | O_CLOEXEC);
    assert_int_equal(pread(fd, head, sizeof head, 0), sizeof head);
    for (int i = 40; i < 48; i++)
        at = at << 8 | head[i];
    assert_int_equal(pwrite(fd, bad, sizeof bad, at), sizeof bad);
    c = clusters_open(&lab->call, path);
    assert_non_null(c);
    assert_int_equal(clusters_read(c, 0, got, sizeof got), 0);
    clusters_close(c);
    close(fd);
}

/* As below a disk that is read while what lies under it is coalesced: that grows, whereby its first
 * table goes elsewhere, and other things come where it was. */
static void who_reads_goes_on_while_an_image_grows(void **state)
{
    static const struct kind kind = {"cluster_size=512", 512, false, true};
    struct lab *lab = *state;
    const char *path = make_chain(lab, &kind, 9), *base = lab_path(lab, "layer-0");
    const char *const more[] = {
        "qemu-io", "-f", "qcow2", base, "-c", "write -P 77 200M 20M", "-c", "write -P 78 150M 20M",
        NULL};
    struct clusters *c = clusters_open(&lab->call, path);
    int64_t size;
    char *right = read_all(lab, qcow2_unlocked(&lab->call, path, false), &size);

    assert_non_null(c);
    lab_must(lab, qcow2_resize(&lab->call, base, 256 * MIB));
    run(lab, more);
    assert_int_equal(compare(c, right, size), 0);
    clusters_close(c);
}

#define CASE(fn) cmocka_unit_test_setup_teardown(fn, lab_set_up, lab_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(what_is_read_is_what_qemu_reads),
        CASE(what_is_not_plain_is_left_to_qemu),
        CASE(a_damaged_map_is_left_to_qemu),
        CASE(who_reads_goes_on_while_an_image_grows),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
