/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "storage-repos/dir/iso.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "libxapi/base/memory.h"
#include "tests/unit/storage/lab.h"

static int set_up(void **state)
{
    struct lab *lab = xcalloc(1, sizeof *lab);

    lab_open(lab, &sr_iso);
    *state = lab;
    return 0;
}

static int tear_down(void **state)
{
    lab_close(*state);
    free(*state);
    return 0;
}

static void iso_files_are_found_and_others_are_not(void **state)
{
    struct lab *lab = *state;
    const struct vdi_info *found;
    size_t n;

    lab_put(lab, "debian 12.ISO", "content");
    lab_put(lab, "b.iso", "");
    lab_put(lab, "readme.txt", "");
    lab_put(lab, ".hidden.iso", "");
    lab_put(lab, "bad\xff.iso", "");
    assert_int_equal(mkdir(lab_path(lab, "folder.iso"), 0700), 0);
    found = lab_scan(lab, "debian 12.ISO", &n);
    assert_int_equal(n, 2);
    assert_string_equal(found->name_label, "debian 12.ISO");
    assert_int_equal(found->virtual_size, 7);
    assert_true(found->read_only);
    assert_false(found->hidden);
}

static void an_image_keeps_its_uuid(void **state)
{
    struct lab *lab = *state;
    const char *first;
    uint8_t bytes[16];

    lab_put(lab, "a.iso", "1");
    lab_put(lab, "b.iso", "1");
    first = lab_scan(lab, "a.iso", NULL)->uuid;
    assert_true(uuid_from_text(first, bytes));
    lab_put(lab, "a.iso", "other");
    lab_restart(lab);
    assert_string_equal(lab_scan(lab, "a.iso", NULL)->uuid, first);
    assert_string_equal(lab_stat(lab, "a.iso").uuid, first);
    assert_string_not_equal(lab_scan(lab, "b.iso", NULL)->uuid, first);
    lab->sr.uuid = lab_uuid(lab);
    assert_string_not_equal(lab_scan(lab, "a.iso", NULL)->uuid, first);
}

static void an_image_is_read_and_never_written(void **state)
{
    struct lab *lab = *state;
    struct vdi_path path;
    struct vdi_io *io;
    char text[8] = "";

    lab_put(lab, "a.iso", "content");
    lab_fails(lab, sr_iso.vdi_attach(&lab->call, &lab->sr, "a.iso", true, &path), "VDI_READONLY");
    lab_must(lab, sr_iso.vdi_attach(&lab->call, &lab->sr, "a.iso", false, &path));
    lab_must(lab, vdi_io_open(&lab->call, &path, false, &io));
    lab_must(lab, vdi_io_read(&lab->call, io, 0, text, 7));
    assert_string_equal(text, "content");
    vdi_io_close(io);
    sr_iso.vdi_detach(&lab->call, &lab->sr, "a.iso");
}

static void names_that_lead_elsewhere_are_missing(void **state)
{
    static const char *const bad[] = {"../a.iso", "/etc/a.iso", "x/a.iso", "a.txt", "", ".iso"};
    struct lab *lab = *state;
    struct vdi_info info;

    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        lab_fails(lab, sr_iso.vdi_stat(&lab->call, &lab->sr, bad[i], &info), "VDI_MISSING");
}

static void only_a_local_directory_is_accepted(void **state)
{
    static const char *const bad[] = {"server:/path", "//server/share", "/no/such/folder",
                                      "/etc/passwd"};
    struct lab *lab = *state;
    struct strpair pair = {"location", NULL};
    struct sr_handle sr = {.driver = &sr_iso, .uuid = lab->sr.uuid, .device_config = {1, &pair}};

    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        pair.value = bad[i];
        lab_fails(lab, sr_iso.create(&lab->call, &sr, 0), "SR_BACKEND_FAILURE_226");
    }
    sr.device_config.n = 0;
    lab_fails(lab, sr_iso.create(&lab->call, &sr, 0), "SR_BACKEND_FAILURE_220");
}

#define CASE(fn) cmocka_unit_test_setup_teardown(fn, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(iso_files_are_found_and_others_are_not), CASE(an_image_keeps_its_uuid),
        CASE(an_image_is_read_and_never_written),     CASE(names_that_lead_elsewhere_are_missing),
        CASE(only_a_local_directory_is_accepted),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
