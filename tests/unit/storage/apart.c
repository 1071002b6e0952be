/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* apart.c -- drivers in a process of their own: what they promise, and what a process that hangs,
 * lies or dies does to whoever asked. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "libxapi/base/seam.h"
#include "libxapi/value/value.h"
#include "storage-repos/apart/apart.h"
#include "storage-repos/apart/message.h"
#include "storage-repos/nfs/nfs.h"
#include "tests/unit/storage/lab.h"

/* ---- a process that is a script ---- */

struct play {
    struct arena arena;
    struct call call;
    struct sr_site site;
    struct apart_state state;
    struct sr_handle sr;
    char program[64];
};

static void play_open(struct play *p, const char *script)
{
    int fd;

    *p = (struct play){.program = "/tmp/xapid-apart-XXXXXX"};
    p->call.arena = &p->arena;
    fd = mkstemp(p->program);
    assert_true(fd >= 0);
    assert_true(dprintf(fd, "#!/bin/sh\n%s\n", script) > 0);
    assert_int_equal(fchmod(fd, 0700), 0);
    close(fd);
    p->site = (struct sr_site){.program = p->program,
                               .mounts = "/nonexistent",
                               .system_root = "/nonexistent",
                               .timeout = USEC_PER_SEC};
    p->sr = (struct sr_handle){.driver = &sr_file_apart,
                               .uuid = "0e3f3f6a-6d7d-4e0c-8f19-5d6a7b0c1d2e",
                               .state = &p->state,
                               .site = &p->site};
}

static void play_close(struct play *p)
{
    unlink(p->program);
    arena_release(&p->arena);
}

static void expect_error(struct play *p, struct error *e, const char *code, const char *words)
{
    assert_non_null(e);
    if (!error_is(e, code) || !strstr(e->params[1], words))
        fail_msg("%s is not %s with '%s'", error_line(&p->arena, e), code, words);
}

static void one_that_hangs_is_an_error_in_time_and_then_sooner(void **state)
{
    struct sr_stat_info stat;
    struct play p;
    usec_t begun;

    (void)state;
    play_open(&p, "exec sleep 1000");
    expect_error(&p, p.sr.driver->stat(&p.call, &p.sr, &stat), "SR_BACKEND_FAILURE_47",
                 "has not answered within 1 seconds");
    assert_true(p.state.silent);
    p.site.timeout = 1000 * USEC_PER_SEC;
    begun = clock_mono();
    expect_error(&p, p.sr.driver->stat(&p.call, &p.sr, &stat), "SR_BACKEND_FAILURE_47",
                 "has not answered within 5 seconds");
    assert_true(clock_mono() - begun < 500 * USEC_PER_SEC);
    play_close(&p);
}

static void a_copy_that_stalls_is_ended_and_one_that_moves_is_not(void **state)
{
    struct vdi_spec spec = {.location = "x"};
    struct vdi_info info;
    struct play p;

    (void)state;
    play_open(&p, "echo +0.5; exec sleep 1000");
    p.state.silent = true; /* a fifth of the patience */
    expect_error(&p, p.sr.driver->vdi_copy(&p.call, &p.sr, "a", &spec, &info, NULL, NULL),
                 "SR_BACKEND_FAILURE_47", "has not answered");
    play_close(&p);
    play_open(&p, "for i in 1 2 3 4; do echo +0.$i; sleep 0.5; done; echo '{}'");
    p.state.silent = true;
    expect_error(&p, p.sr.driver->vdi_copy(&p.call, &p.sr, "a", &spec, &info, NULL, NULL),
                 "SR_BACKEND_FAILURE_47", "no answer");
    assert_false(p.state.silent);
    play_close(&p);
}

static bool enough(void *ctx, double done)
{
    (void)ctx;
    return done < 0.5;
}

static void a_copy_can_be_cancelled(void **state)
{
    struct vdi_spec spec = {.location = "x"};
    struct vdi_info info;
    struct error *e;
    struct play p;

    (void)state;
    play_open(&p, "read -r request; case $request in *vdi_copy*) echo +0.6; exec sleep 1000;; "
                  "*vdi_delete*) touch $0.cleaned;; esac");
    p.site.timeout = 1000 * USEC_PER_SEC;
    e = p.sr.driver->vdi_copy(&p.call, &p.sr, "a", &spec, &info, enough, NULL);
    assert_true(error_is(e, "TASK_CANCELLED"));
    /* What the killed process had begun is taken away. */
    assert_int_equal(unlink(arena_printf(&p.arena, "%s.cleaned", p.program)), 0);
    play_close(&p);
}

static void one_that_dies_or_talks_nonsense_is_an_error(void **state)
{
    static const struct {
        const char *script, *words;
    } cases[] = {
        {"echo 'no room' >&2; exit 3", "ended with 3: no room"},
        {"kill -9 $$", "ended with 137"},
        {"echo nonsense", "gave no answer"},
        {"echo '{\"infos\": [{}]}'", "gave no answer"},
        {":", "gave no answer"},
    };
    struct sr_stat_info stat;
    struct play p;

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        play_open(&p, cases[i].script);
        expect_error(&p, p.sr.driver->stat(&p.call, &p.sr, &stat), "SR_BACKEND_FAILURE_47",
                     cases[i].words);
        play_close(&p);
    }
}

/* ---- messages ---- */

static void an_answer_arrives_as_it_was(void **state)
{
    struct strpair pair = {"vhd-parent", "\xc3\xa4"};
    struct vdi_info info = {.location = "l",
                            .uuid = "u",
                            .virtual_size = INT64_MAX,
                            .hidden = true,
                            .name_label = "\"<&\n",
                            .name_description = "bad \xff",
                            .parent = "",
                            .sm_config = {1, &pair}};
    uint8_t bits[2] = {0x80, 0x0f};
    struct arena arena = {0};
    struct apart_reply back,
        reply = {.n = 1, .v = &info, .changes = {.n_blocks = 16, .n = 2, .bits = bits}};
    const char *text;

    (void)state;
    reply.error = error_new(&arena, "VDI_IN_USE", 2, "l", "snapshot");
    text = apart_reply_write(&arena, &reply);
    assert_true(apart_reply_read(&arena, text, strlen(text), &back));
    assert_int_equal(back.n, 1);
    assert_true(back.v[0].virtual_size == INT64_MAX && back.v[0].hidden);
    assert_string_equal(back.v[0].name_label, "\"<&\n");
    assert_string_equal(back.v[0].name_description, "bad ?");
    assert_string_equal(strmap_get(&back.v[0].sm_config, "vhd-parent"), "\xc3\xa4");
    assert_memory_equal(back.changes.bits, bits, 2);
    assert_string_equal(back.error->code, "VDI_IN_USE");
    assert_int_equal(back.error->n_params, 2);
    arena_release(&arena);
}

/* ---- settings ---- */

static struct error *place_of(struct arena *arena, const char *const pairs[], struct nfs_place *out)
{
    struct apart_request request = {.type = "nfs",
                                    .uuid = "0e3f3f6a-6d7d-4e0c-8f19-5d6a7b0c1d2e",
                                    .mounts = "/run/sr-mount",
                                    .system_root = ""};
    struct call call = {.arena = arena};

    for (; *pairs; pairs += 2) {
        if (strcmp(pairs[0], "location") == 0)
            request.type = "iso";
        request.device_config = strmap_with(arena, request.device_config, pairs[0], pairs[1]);
    }
    return nfs_place(&call, &request, out);
}
#define PLACE(arena, out, ...) place_of(arena, (const char *const[]){__VA_ARGS__, NULL}, out)

static void a_place_is_what_mount_wants(void **state)
{
    struct arena arena = {0};
    struct nfs_place p;

    (void)state;
    assert_null(PLACE(&arena, &p, "server", "fd00::1", "serverpath", "/srv/vm/", "nfsversion",
                      "4.1", "options", "soft,timeo=50"));
    assert_string_equal(p.root, "[fd00::1]:/srv/vm");
    assert_string_equal(p.source, "[fd00::1]:/srv/vm/0e3f3f6a-6d7d-4e0c-8f19-5d6a7b0c1d2e");
    assert_string_equal(p.target, "/run/sr-mount/0e3f3f6a-6d7d-4e0c-8f19-5d6a7b0c1d2e");
    assert_non_null(strstr(p.options, "vers=4.1,hard"));
    assert_non_null(strstr(p.options, ",soft,timeo=50"));
    assert_null(PLACE(&arena, &p, "location", "nas:/iso", "iso_path", "/linux"));
    assert_string_equal(p.source, "nas:/iso");
    assert_string_equal(p.directory, "/run/sr-mount/0e3f3f6a-6d7d-4e0c-8f19-5d6a7b0c1d2e/linux");
    assert_non_null(strstr(p.options, ",ro"));
    arena_release(&arena);
}

static void settings_that_cannot_be_are_refused(void **state)
{
    struct arena arena = {0};
    struct nfs_place p;

    (void)state;
    assert_string_equal(PLACE(&arena, &p, "serverpath", "/srv")->code, "SR_BACKEND_FAILURE_100");
    assert_string_equal(PLACE(&arena, &p, "server", "nas")->code, "SR_BACKEND_FAILURE_101");
    assert_non_null(PLACE(&arena, &p, "server", "-oremount", "serverpath", "/srv"));
    assert_non_null(PLACE(&arena, &p, "server", "a b", "serverpath", "/srv"));
    assert_non_null(PLACE(&arena, &p, "server", "nas", "serverpath", "srv"));
    assert_non_null(PLACE(&arena, &p, "server", "nas", "serverpath", "/a/../b"));
    assert_non_null(PLACE(&arena, &p, "server", "nas", "serverpath", "/a", "nfsversion", "5"));
    assert_non_null(PLACE(&arena, &p, "server", "nas", "serverpath", "/a", "options", "a b"));
    assert_non_null(PLACE(&arena, &p, "location", "nas:/iso", "iso_path", "../x"));
    arena_release(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_that_hangs_is_an_error_in_time_and_then_sooner),
        cmocka_unit_test(a_copy_that_stalls_is_ended_and_one_that_moves_is_not),
        cmocka_unit_test(a_copy_can_be_cancelled),
        cmocka_unit_test(one_that_dies_or_talks_nonsense_is_an_error),
        cmocka_unit_test(an_answer_arrives_as_it_was),
        cmocka_unit_test(a_place_is_what_mount_wants),
        cmocka_unit_test(settings_that_cannot_be_are_refused),
    };

    return cmocka_run_group_tests_name("storage apart", tests, NULL, NULL) +
           conformance_run("apart", &(struct lab_kind){.driver = &sr_file_apart});
}
