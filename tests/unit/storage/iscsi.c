/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * iscsi.c -- repositories on a LUN of an iSCSI target: what a probe says, who logs in and out, and
 * each of iscsiadm's commands failing.  iscsiadm and LVM are played (fake-iscsiadm, fake-lvm).
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "libxapi/value/value.h"
#include "storage-repos/apart/apart.h"
#include "tests/unit/storage/lab.h"

#define IQN "iqn.2003-01.org.example:one"
#define OTHER "iqn.2003-01.org.example:two"
#define ID "36001405aa"
#define FOREIGN_LOGIN "-m", "node", "-T", IQN, "-p", "nas:3260"
#define OPEN "\"chap\": null"
#define CHAP "\"chap\": [\"me\", \"it is\"]"
#define XML "<?xml version=\"1.0\" ?>"

#define TARGETS                                                                                    \
    "{\"portal\": \"nas:3260\", %s, \"targets\": {\"" IQN "\": ["                                  \
    "{\"vendor\": \"LIO&Co\", \"serial\": \"s1\", \"wwid\": \"naa.6001405aa\", \"size\": "         \
    "1073741824},"                                                                                 \
    "{\"vendor\": \"TAPE\", \"serial\": \"s2\", \"wwid\": \"naa.6001405bb\", \"size\": 0, "        \
    "\"type\": 1},"                                                                                \
    "{\"vendor\": \"IET\", \"serial\": \"\", \"wwid\": \"t10.IET  0001\", \"size\": 1048576}], "   \
    "\"" OTHER "\": []}}"

/* A host of the test's own. */
struct play {
    struct arena arena;
    struct call call;
    char root[32];
    struct sr_site site;
};

static const char *in(struct play *p, const char *name)
{
    return arena_printf(&p->arena, "%s/%s", p->root, name);
}

#define RUN(p, ...) lab_run(&(p)->arena, (const char *const[]){__VA_ARGS__, NULL})

static void put(struct play *p, const char *name, const char *text)
{
    FILE *f = fopen(in(p, name), "w");

    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
}

static const char *text_of(struct play *p, const char *name)
{
    FILE *f = fopen(in(p, name), "r");
    char *text = arena_zalloc(&p->arena, 65536);

    if (f) {
        assert_true(fread(text, 1, 65535, f) < 65535);
        fclose(f);
    }
    return text;
}

static const char *lab_program(struct play *p)
{
    char self[4096] = "";
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);

    assert_true(n > 0);
    *strrchr(self, '/') = '\0';
    return arena_printf(&p->arena, "%s/../xapid/xapid-storage", self);
}

static void play_open(struct play *p, const char *chap)
{
    *p = (struct play){.root = "/tmp/xapid-iscsi-XXXXXX"};
    p->call.arena = &p->arena;
    assert_non_null(mkdtemp(p->root));
    RUN(p, "mkdir", "-p", in(p, "usr/sbin"));
    RUN(p, "cp", FAKE_ISCSIADM, in(p, "usr/sbin/iscsiadm"));
    RUN(p, "cp", FAKE_LVM, in(p, "usr/sbin/lvm"));
    put(p, "targets.json", arena_printf(&p->arena, TARGETS, chap));
    p->site = (struct sr_site){.program = lab_program(p),
                               .mounts = in(p, "mounts"),
                               .system_root = p->root,
                               .timeout = 60 * USEC_PER_SEC};
}

static void play_close(struct play *p)
{
    RUN(p, "rm", "-rf", p->root);
    arena_release(&p->arena);
}

static struct sr_handle handle_of(struct play *p, size_t n, const struct strpair *settings)
{
    struct strmap config = {0};

    for (size_t i = 0; i < n; i++)
        config = strmap_with(&p->arena, config, settings[i].key, settings[i].value);
    return (struct sr_handle){.driver = &sr_lvmoiscsi,
                              .site = &p->site,
                              .uuid = uuid_new(arena_alloc(&p->arena, UUID_TEXT_SIZE)),
                              .device_config = config,
                              .state = arena_zalloc(&p->arena, sr_lvmoiscsi.state_size)};
}
#define HANDLE(p, ...)                                                                             \
    handle_of(p, sizeof((const struct strpair[]){__VA_ARGS__}) / sizeof(struct strpair),           \
              (const struct strpair[]){__VA_ARGS__})
#define WHOLE                                                                                      \
    {"target", "nas"}, {"targetIQN", IQN},                                                         \
    {                                                                                              \
        "SCSIid", ID                                                                               \
    }

static void must(struct play *p, struct error *e)
{
    if (e)
        fail_msg("%s", error_line(&p->arena, e));
}

static void fails(struct play *p, struct error *e, const char *code, const char *words)
{
    if (!e)
        fail_msg("%s was expected", code);
    if (!error_is(e, code) || !strstr(e->params[1], words))
        fail_msg("%s, %s was expected: %s", code, words, error_line(&p->arena, e));
}

static struct error *probe(struct play *p, struct sr_handle *sr, struct sr_probe *out)
{
    return sr_lvmoiscsi.probe(&p->call, sr, out);
}

static struct error *create(struct play *p, struct sr_handle *sr)
{
    return sr_lvmoiscsi.create(&p->call, sr, 0);
}

static struct error *attach(struct play *p, struct sr_handle *sr)
{
    return sr_lvmoiscsi.attach(&p->call, sr);
}

static void leave(struct play *p, struct sr_handle *sr)
{
    sr_lvmoiscsi.detach(&p->call, sr);
    sr_lvmoiscsi.leave(&p->call, sr);
}

static bool is_logged_in(struct play *p)
{
    return !strstr(text_of(p, "iscsi.json"), "\"sessions\": {}");
}

/* No session, no record of iscsiadm's, no mark and no lock. */
static void nothing_is_left(struct play *p)
{
    const char *said = text_of(p, "iscsi.json");

    if (said[0] && (!strstr(said, "\"sessions\": {}") || !strstr(said, "\"nodes\": {}") ||
                    !strstr(said, "\"discovery\": {}")))
        fail_msg("%s", said);
    RUN(p, "sh", "-c", "! ls -A \"$1\" 2>/dev/null | grep .", "sh", in(p, "mounts"));
}

/* ---- settings ---- */

static void settings_that_cannot_be_are_refused(void **state)
{
    static const struct {
        struct strpair v[5];
        const char *code, *words;
    } bad[] = {
        {{{"targetIQN", IQN}}, "SR_BACKEND_FAILURE_95", "wanted"},
        {{{"target", "a,b"}}, "SR_BACKEND_FAILURE_1", "multipathing"},
        {{{"target", "-o"}}, "SR_BACKEND_FAILURE_1", "no name of a host"},
        {{{"target", "nas"}, {"port", "0"}}, "SR_BACKEND_FAILURE_1", "no port"},
        {{{"target", "nas"}, {"port", "3260x"}}, "SR_BACKEND_FAILURE_1", "no port"},
        {{{"target", "nas"}, {"targetIQN", "*"}}, "SR_BACKEND_FAILURE_1", "multipathing"},
        {{{"target", "nas"}, {"targetIQN", "iqn.x/../y"}}, "SR_BACKEND_FAILURE_1", "iSCSI name"},
        {{{"target", "nas"}, {"chapuser", "x"}}, "SR_BACKEND_FAILURE_1", "go together"},
        {{{"target", "nas"}, {"chapuser", "x"}, {"chappassword", "a\nb"}},
         "SR_BACKEND_FAILURE_1",
         "control characters"},
    };
    struct play p;

    (void)state;
    play_open(&p, OPEN);
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        struct sr_handle sr = {0};
        struct sr_probe found;
        size_t n = 0;

        while (n < 5 && bad[i].v[n].key)
            n++;
        sr = handle_of(&p, n, bad[i].v);
        fails(&p, probe(&p, &sr, &found), bad[i].code, bad[i].words);
    }
    assert_string_equal(text_of(&p, "iscsi-log"), "");
    play_close(&p);
}

static void a_repository_needs_a_lun(void **state)
{
    struct sr_handle sr;
    struct play p;

    (void)state;
    play_open(&p, OPEN);
    sr = HANDLE(&p, {"target", "nas"});
    fails(&p, create(&p, &sr), "SR_BACKEND_FAILURE_96", "wanted");
    sr = HANDLE(&p, {"target", "nas"}, {"targetIQN", IQN});
    fails(&p, create(&p, &sr), "SR_BACKEND_FAILURE_107", "wanted");
    RUN(&p, "rm", in(&p, "usr/sbin/iscsiadm"));
    sr = HANDLE(&p, WHOLE);
    fails(&p, create(&p, &sr), "SR_BACKEND_FAILURE_47", "Debian: open-iscsi");
    play_close(&p);
}

/* ---- probing ---- */

static void a_probe_asks_for_one_setting_after_the_other(void **state)
{
    struct sr_probe found;
    struct sr_handle sr;
    struct play p;

    (void)state;
    play_open(&p, OPEN);
    sr = HANDLE(&p, {"target", "nas"});
    must(&p, probe(&p, &sr, &found));
    assert_true(error_is(found.answer, "SR_BACKEND_FAILURE_96"));
    assert_string_equal(
        found.answer->params[2],
        XML "<iscsi-target-iqns><TGT><Index>0</Index><IPAddress>nas</IPAddress><Port>3260</Port>"
            "<TargetIQN>" IQN "</TargetIQN></TGT><TGT><Index>1</Index><IPAddress>nas</IPAddress>"
            "<Port>3260</Port><TargetIQN>" OTHER "</TargetIQN></TGT></iscsi-target-iqns>");
    assert_int_equal(found.n, 2);
    assert_string_equal(strmap_get(&found.v[1].device_config, "targetIQN"), OTHER);

    sr = HANDLE(&p, {"target", "nas"}, {"targetIQN", IQN});
    must(&p, probe(&p, &sr, &found));
    assert_true(error_is(found.answer, "SR_BACKEND_FAILURE_107"));
    assert_string_equal(
        found.answer->params[2],
        XML "<iscsi-target><LUN><vendor>LIO&amp;Co</vendor><serial>s1</serial><LUNid>0</LUNid>"
            "<size>1073741824</size><SCSIid>" ID "</SCSIid></LUN><LUN><vendor>IET</vendor>"
            "<serial></serial><LUNid>2</LUNid><size>1048576</size><SCSIid>1IET__0001</SCSIid></LUN>"
            "</iscsi-target>");
    nothing_is_left(&p);

    sr = HANDLE(&p, WHOLE);
    must(&p, probe(&p, &sr, &found));
    assert_string_equal(found.xml, XML "<SRlist></SRlist>");
    assert_true(found.n == 1 && found.v[0].complete);
    must(&p, create(&p, &sr));
    must(&p, probe(&p, &sr, &found));
    assert_non_null(strstr(found.xml, sr.uuid));
    assert_null(strmap_get(&found.v[0].device_config, "device"));
    nothing_is_left(&p);
    play_close(&p);
}

static void a_target_without_luns_has_an_empty_list(void **state)
{
    struct sr_probe found;
    struct sr_handle sr;
    struct play p;

    (void)state;
    play_open(&p, OPEN);
    sr = HANDLE(&p, {"target", "nas"}, {"targetIQN", OTHER});
    must(&p, probe(&p, &sr, &found));
    assert_string_equal(found.answer->params[2], XML "<iscsi-target></iscsi-target>");
    nothing_is_left(&p);
    play_close(&p);
}

static void a_password_is_said_where_it_is_asked_for(void **state)
{
    struct strpair right[] = {{"chapuser", "me"}, {"chappassword", "it is"}, WHOLE};
    struct sr_probe found;
    struct sr_handle sr;
    struct play p;

    (void)state;
    play_open(&p, CHAP);
    sr = HANDLE(&p, {"target", "nas"});
    fails(&p, probe(&p, &sr, &found), "SR_BACKEND_FAILURE_68", "failed authorization");
    sr = HANDLE(&p, {"target", "nas"}, {"chapuser", "me"}, {"chappassword", "wrong"});
    fails(&p, probe(&p, &sr, &found), "SR_BACKEND_FAILURE_68", "failed authorization");
    nothing_is_left(&p);
    sr = handle_of(&p, 3, right);
    must(&p, probe(&p, &sr, &found));
    assert_true(error_is(found.answer, "SR_BACKEND_FAILURE_96"));
    sr = HANDLE(&p, WHOLE);
    fails(&p, create(&p, &sr), "SR_BACKEND_FAILURE_68", "failed authorization");
    nothing_is_left(&p);
    sr = handle_of(&p, 5, right);
    must(&p, create(&p, &sr));
    nothing_is_left(&p);
    play_close(&p);
}

static void a_password_may_be_for_the_luns_alone(void **state)
{
    struct sr_probe found;
    struct sr_handle sr;
    struct play p;

    (void)state;
    play_open(&p, CHAP ", \"open\": true");
    sr = HANDLE(&p, {"target", "nas"}, {"chapuser", "me"}, {"chappassword", "it is"});
    must(&p, probe(&p, &sr, &found));
    assert_true(error_is(found.answer, "SR_BACKEND_FAILURE_96"));
    sr = HANDLE(&p, {"target", "nas"}, {"targetIQN", IQN});
    fails(&p, probe(&p, &sr, &found), "SR_BACKEND_FAILURE_68", "failed authorization");
    nothing_is_left(&p);
    play_close(&p);
}

/* ---- trouble ---- */

static void what_iscsiadm_says_is_in_the_error(void **state)
{
    struct sr_probe found;
    struct sr_handle sr;
    struct play p;

    (void)state;
    play_open(&p, OPEN);
    sr = HANDLE(&p, {"target", "elsewhere"});
    fails(&p, probe(&p, &sr, &found), "SR_BACKEND_FAILURE_141",
          "elsewhere:3260: iscsiadm: cannot "
          "make connection");
    sr = HANDLE(&p, {"target", "nas"}, {"targetIQN", "iqn.none"}, {"SCSIid", ID});
    fails(&p, create(&p, &sr), "SR_BACKEND_FAILURE_68", "non-retryable iSCSI login failure");
    nothing_is_left(&p);
    p.site.timeout = 4 * USEC_PER_SEC; /* half of three quarters are waited for a LUN */
    sr = HANDLE(&p, {"target", "nas"}, {"targetIQN", IQN}, {"SCSIid", "none"});
    fails(&p, create(&p, &sr), "SR_BACKEND_FAILURE_67", "no LUN has the SCSI id none");
    nothing_is_left(&p);
    play_close(&p);
}

static struct error *use(struct play *p, struct sr_handle *sr)
{
    TRY(create(p, sr));
    TRY(attach(p, sr));
    leave(p, sr);
    TRY(sr_lvmoiscsi.destroy(&p->call, sr));
    return OK;
}

static struct error *look_for_luns(struct play *p, struct sr_handle *sr)
{
    struct sr_handle part = *sr;
    struct sr_probe found;

    part.device_config = strmap_without(&p->arena, sr->device_config, "SCSIid");
    return probe(p, &part, &found);
}

static struct error *look_for_names(struct play *p, struct sr_handle *sr)
{
    struct sr_handle part = *sr;
    struct sr_probe found;

    part.device_config = strmap_without(&p->arena, sr->device_config, "targetIQN");
    return probe(p, &part, &found);
}

/* What a daemon that has it attached, or had, would leave. */
static bool has_mark(struct play *p, const struct sr_handle *sr)
{
    return access(arena_printf(&p->arena, "%s/mounts/%s.iscsi", p->root, sr->uuid), F_OK) == 0;
}

typedef struct error *work_fn(struct play *p, struct sr_handle *sr);

/* A failure that cannot be told, for something else has failed or the work was done, is only one
 * of clearing away; what it leaves the next one who comes by takes away. */
static size_t each_command_fails(work_fn *work, int stride)
{
    size_t failures = 0;
    int step = 1;
    bool reached;

    do {
        struct sr_handle sr;
        struct error *e;
        struct play p;

        play_open(&p, CHAP);
        sr = HANDLE(&p, WHOLE, {"chapuser", "me"}, {"chappassword", "it is"});
        put(&p, "fail-at", arena_printf(&p.arena, "%d", step));
        e = work(&p, &sr);
        reached = atoi(text_of(&p, "fail-at")) <= 0;
        if (e) {
            failures++;
            if (!strstr(e->params[1], "played failure"))
                fail_msg("%d: %s", step, error_line(&p.arena, e));
            assert_true(strncmp(e->code, "SR_BACKEND_FAILURE_", 19) == 0);
        }
        if (reached) {
            RUN(&p, "rm", in(&p, "fail-at"));
            must(&p, look_for_names(&p, &sr));
            must(&p, look_for_luns(&p, &sr));
            if (has_mark(&p, &sr))
                leave(&p, &sr);
        }
        nothing_is_left(&p);
        play_close(&p);
        step += stride;
    } while (reached);
    return failures;
}

static void each_command_may_fail_and_no_login_is_left(void **state)
{
    int stride = getenv("XAPID_LONG") ? 1 : 5;

    (void)state;
    assert_true(each_command_fails(look_for_names, 1) >= 5);
    assert_true(each_command_fails(look_for_luns, 1) >= 8);
    assert_true(each_command_fails(use, stride) >= (size_t)(20 / stride));
}

static void what_a_killed_process_leaves_the_next_one_takes_away(void **state)
{
    struct sr_handle sr;
    struct play p;
    int step = 0;
    bool killed;

    (void)state;
    do {
        struct error *e;

        play_open(&p, OPEN);
        sr = HANDLE(&p, WHOLE);
        put(&p, "kill-at", arena_printf(&p.arena, "%d", ++step));
        e = look_for_luns(&p, &sr);
        killed = atoi(text_of(&p, "kill-at")) <= 0;
        RUN(&p, "rm", in(&p, "kill-at"));
        if (killed)
            fails(&p, e, "SR_BACKEND_FAILURE_47", "ended with 137");
        must(&p, look_for_luns(&p, &sr));
        nothing_is_left(&p);
        play_close(&p);
    } while (killed);
    assert_true(step > 6);
}

static void a_killed_attach_is_repeated_or_undone(void **state)
{
    struct play p;
    struct sr_handle sr;
    int step = 0;
    bool killed;

    (void)state;
    do {
        play_open(&p, OPEN);
        sr = HANDLE(&p, WHOLE);
        must(&p, create(&p, &sr));
        put(&p, "kill-at", arena_printf(&p.arena, "%d", ++step));
        killed = attach(&p, &sr) != OK;
        RUN(&p, "rm", in(&p, "kill-at"));
        if (step % 2)
            must(&p, attach(&p, &sr));
        if (step % 2)
            leave(&p, &sr);
        must(&p, sr_lvmoiscsi.destroy(&p.call, &sr));
        if (!killed && step % 2 == 0)
            leave(&p, &sr);
        nothing_is_left(&p);
        play_close(&p);
    } while (killed);
    assert_true(step > 4);
}

/* ---- sessions ---- */

static void the_last_user_of_a_target_logs_out(void **state)
{
    struct sr_handle one, two;
    struct play p;

    (void)state;
    play_open(&p, OPEN);
    one = HANDLE(&p, WHOLE);
    two = one;
    two.uuid = "00000000-0000-4000-8000-000000000002";
    must(&p, create(&p, &one));
    must(&p, attach(&p, &one));
    assert_true(is_logged_in(&p) && sr_lvmoiscsi.remains(&p.call, &one));
    /* A probe, and a repository that is not there, use the same session. */
    must(&p, look_for_luns(&p, &two));
    fails(&p, attach(&p, &two), "SR_BACKEND_FAILURE_47", "no volume group");
    assert_true(is_logged_in(&p));
    leave(&p, &one);
    assert_false(sr_lvmoiscsi.remains(&p.call, &one));
    nothing_is_left(&p);
    play_close(&p);
}

static void somebody_elses_session_is_left_alone(void **state)
{
    struct sr_handle sr;
    struct play p;

    (void)state;
    play_open(&p, OPEN);
    sr = HANDLE(&p, WHOLE);
    RUN(&p, in(&p, "usr/sbin/iscsiadm"), FOREIGN_LOGIN, "-o", "new");
    RUN(&p, in(&p, "usr/sbin/iscsiadm"), FOREIGN_LOGIN, "--login");
    must(&p, use(&p, &sr));
    must(&p, look_for_luns(&p, &sr));
    assert_true(is_logged_in(&p));
    assert_non_null(strstr(text_of(&p, "iscsi.json"), "\"nodes\": {\"" IQN "\": {}}"));
    play_close(&p);
}

static void a_disk_that_comes_late_is_waited_for(void **state)
{
    struct sr_handle sr;
    struct play p;

    (void)state;
    play_open(&p, OPEN);
    sr = HANDLE(&p, WHOLE);
    put(&p, "late", "");
    must(&p, create(&p, &sr));
    must(&p, attach(&p, &sr));
    leave(&p, &sr);
    nothing_is_left(&p);
    play_close(&p);
}

/* ---- disks ---- */

static void disks_are_those_of_a_volume_group(void **state)
{
    struct vdi_spec spec = {.virtual_size = 8 * MIB, .name_label = "disk"};
    struct sr_handle sr;
    struct vdi_info info, *v;
    struct vdi_path path;
    struct play p;
    size_t n;

    (void)state;
    play_open(&p, OPEN);
    sr = HANDLE(&p, WHOLE);
    spec.location = uuid_new(arena_alloc(&p.arena, UUID_TEXT_SIZE));
    must(&p, create(&p, &sr));
    must(&p, attach(&p, &sr));
    must(&p, sr_lvmoiscsi.vdi_create(&p.call, &sr, &spec, &info));
    must(&p, sr_lvmoiscsi.vdi_attach(&p.call, &sr, spec.location, true, &path));
    assert_int_equal(access(path.path, W_OK), 0);
    sr_lvmoiscsi.vdi_detach(&p.call, &sr, spec.location);
    assert_int_equal(access(path.path, W_OK), -1);
    leave(&p, &sr);
    fails(&p, sr_lvmoiscsi.scan(&p.call, &sr, &n, &v), "SR_BACKEND_FAILURE_67", "no session");
    assert_true(error_is(sr_lvmoiscsi.destroy(&p.call, &sr), "SR_NOT_EMPTY"));
    nothing_is_left(&p);
    must(&p, attach(&p, &sr));
    must(&p, sr_lvmoiscsi.scan(&p.call, &sr, &n, &v));
    assert_int_equal(n, 1);
    assert_string_equal(v[0].name_label, "disk");
    must(&p, sr_lvmoiscsi.vdi_delete(&p.call, &sr, spec.location));
    leave(&p, &sr);
    must(&p, sr_lvmoiscsi.destroy(&p.call, &sr));
    nothing_is_left(&p);
    play_close(&p);
}

/* With a pattern: only the tests of such a name. */
int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(settings_that_cannot_be_are_refused),
        cmocka_unit_test(a_repository_needs_a_lun),
        cmocka_unit_test(a_probe_asks_for_one_setting_after_the_other),
        cmocka_unit_test(a_target_without_luns_has_an_empty_list),
        cmocka_unit_test(a_password_is_said_where_it_is_asked_for),
        cmocka_unit_test(a_password_may_be_for_the_luns_alone),
        cmocka_unit_test(what_iscsiadm_says_is_in_the_error),
        cmocka_unit_test(each_command_may_fail_and_no_login_is_left),
        cmocka_unit_test(what_a_killed_process_leaves_the_next_one_takes_away),
        cmocka_unit_test(a_killed_attach_is_repeated_or_undone),
        cmocka_unit_test(the_last_user_of_a_target_logs_out),
        cmocka_unit_test(somebody_elses_session_is_left_alone),
        cmocka_unit_test(a_disk_that_comes_late_is_waited_for),
        cmocka_unit_test(disks_are_those_of_a_volume_group),
    };

    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests_name("storage iscsi", tests, NULL, NULL);
}
