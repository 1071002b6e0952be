/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <fcntl.h>
#include <sys/stat.h>

#include "tests/unit/auth/lab.h"

/* Arguments of implicit messages, as the tables lay them out. */
struct set_string {
    ref_t self;
    const char *value;
};
struct add_pair {
    ref_t self;
    const char *key, *value;
};

static int setup(void **state)
{
    *state = lab_new();
    return 0;
}

static int teardown(void **state)
{
    lab_free(*state);
    return 0;
}

/* The lines that a call by 'user' with these arguments leaves. */
static const char *line_of(struct lab *l, const char *user, const char *name, const void *args,
                           const struct error *e)
{
    struct call call = lab_call(l, ROLE_VM_ADMIN, false, user);

    audit_call(&call, api_message_by_name(name), args, e);
    lab_end(&call);
    return lab_audit(l);
}

static void a_line_says_who_did_what_to_what_and_how_it_went(void **state)
{
    struct lab *l = *state;
    ref_t vm = lab_subject(l, "somebody");
    struct subject_add_to_roles_args args = {.self = vm, .role = role_ref("vm-admin")};
    char ref[REF_TEXT_SIZE];
    const char *line;

    call_refresh(&l->call);
    line = line_of(l, "alice", "subject.add_to_roles", &args, OK);
    assert_int_equal(line[0], '[');
    assert_non_null(strstr(line, "Z|audit|"));
    assert_non_null(strstr(line, "|192.0.2.7|test] ('trackid="));
    assert_non_null(strstr(line, "' 'alice' 'alice' 'ALLOWED' 'OK' 'API' 'subject.add_to_roles' "
                                 "(('self' '' '"));
    assert_non_null(strstr(line, ref_to_text(vm, ref)));
    assert_non_null(strstr(line, "('role' 'vm-admin' '"));
    assert_string_equal(line + strlen(line) - 4, ")))\n");
}

static void failures_and_refusals_show_their_error(void **state)
{
    struct lab *l = *state;
    struct call *call = &l->call;
    const char *text;

    line_of(l, "a", "VM.start", NULL, err_rbac_permission_denied(call, "vm.start", "x"));
    text = line_of(l, "a", "VM.start", NULL, err_vm_is_template(call, "x"));
    assert_non_null(strstr(text, "'DENIED' 'ERROR:RBAC_PERMISSION_DENIED' 'API' 'VM.start' ()"));
    assert_non_null(strstr(text, "'ALLOWED' 'ERROR:VM_IS_TEMPLATE' 'API' 'VM.start' ()"));
}

static void what_a_client_chose_cannot_end_the_string_or_the_line(void **state)
{
    struct lab *l = *state;
    struct task_create_args args = {.label = "a'b\\c\nd\x7f"
                                             "\xc2\x9b"
                                             "e\tö",
                                    .description = "x"};
    const char *text = line_of(l, "eve\n[2099", "task.create", &args, OK);

    assert_non_null(strstr(text, "('label' 'a\\'b\\\\c\\x0ad\\x7f\\xc2\\x9be\\x09ö' '' '')"));
    assert_non_null(strstr(text, "'eve\\x0a[2099'"));
    assert_ptr_equal(strchr(text, '\n'), text + strlen(text) - 1);
}

static void secrets_are_never_written(void **state)
{
    struct lab *l = *state;
    struct session_change_password_args change = {.old_pwd = "hunter1", .new_pwd = "hunter2"};
    struct pool_join_args join = {
        .master_address = "192.0.2.1", .master_username = "root", .master_password = "hunter3"};
    struct strpair pair = {"cifspassword", "hunter4"};
    struct pbd_set_device_config_args config = {.value = {1, &pair}};
    struct set_string secret = {.value = "hunter5"};
    struct add_pair other = {.key = "my_Password", .value = "hunter6"};
    struct host_bugreport_upload_args url = {.url = "https://me:hunter7@example.org/in"};
    const char *text;

    line_of(l, "a", "session.change_password", &change, OK);
    line_of(l, "a", "pool.join", &join, OK);
    line_of(l, "a", "PBD.set_device_config", &config, OK);
    line_of(l, "a", "secret.set_value", &secret, OK);
    line_of(l, "a", "pool.add_to_other_config", &other, OK);
    text = line_of(l, "a", "host.bugreport_upload", &url, OK);
    assert_null(strstr(text, "hunter"));
    assert_non_null(strstr(text, "'root'"));
    assert_non_null(strstr(text, "cifspassword"));
    assert_non_null(strstr(text, "https://(hidden)@example.org/in"));
}

static void the_sessions_reference_is_hashed(void **state)
{
    struct lab *l = *state;
    struct call call = lab_call(l, ROLE_LOCAL_ROOT, false, "root");
    char ref[REF_TEXT_SIZE];
    const char *text;

    audit_call(&call, api_message_by_name("session.logout"), NULL, OK);
    text = lab_audit(l);
    assert_null(strstr(text, ref_to_text(call.session->ref, ref) + strlen("OpaqueRef:")));
    assert_non_null(strstr(text, "'LOCAL_SUPERUSER' 'root'"));
    lab_end(&call);
}

static void reading_and_the_daemons_own_calls_leave_no_line(void **state)
{
    struct lab *l = *state;

    line_of(l, "a", "VM.get_uuid", NULL, OK);
    audit_call(&l->call, api_message_by_name("VM.start"), NULL, OK);
    assert_string_equal(lab_audit(l), "");
}

static void arguments_that_were_read_only_in_part_do_no_harm(void **state)
{
    struct lab *l = *state;
    struct task_create_args args = {0};
    struct add_pair other = {0};

    line_of(l, "a", "task.create", &args, OK);
    assert_non_null(strstr(line_of(l, "a", "pool.add_to_other_config", &other, OK), "(hidden)"));
}

static void every_message_can_be_written_with_empty_arguments(void **state)
{
    struct lab *l = *state;
    struct call call = lab_call(l, ROLE_LOCAL_ROOT, false, "root");

    for (size_t i = 0; i < api_n_messages; i++) {
        const struct message_desc *m = &api_messages[i];
        char *args = arena_zalloc(&l->arena, m->args_size + 1u);

        audit_call(&call, m, args, OK);
        for (size_t j = 0; j < m->n_params; j++)
            if (m->params[j].type->kind != TYPE_RECORD)
                value_empty(m->params[j].type, args + m->params[j].offset);
        audit_call(&call, m, args, OK);
    }
    lab_end(&call);
    assert_non_null(strstr(lab_audit(l), "'VM.start'"));
}

static void names_are_those_of_before_when_the_text_is_made_before(void **state)
{
    struct lab *l = *state;
    struct call call = lab_call(l, ROLE_VM_ADMIN, false, "a");
    struct role_get_permissions_args args = {.self = role_ref("vm-admin")};
    const char *text = audit_args(&call, api_message_by_name("role.get_permissions"), &args);

    assert_non_null(strstr(text, "('self' 'vm-admin' '"));
    lab_end(&call);
}

/*** the files ***/

static struct audit *open_small(struct lab *l, const char *path, size_t max_waiting)
{
    struct audit *audit;

    assert_null(
        audit_open(&l->arena,
                   &(struct audit_options){
                       .path = path, .max_size = 1000, .keep = 2, .max_waiting = max_waiting},
                   &audit));
    return audit;
}

static int64_t size_of(struct lab *l, const char *path, const char *suffix)
{
    struct stat st;

    return stat(arena_printf(&l->arena, "%s%s", path, suffix), &st) < 0 ? -1 : st.st_size;
}

static void files_are_rotated_by_size_and_only_so_many_kept(void **state)
{
    struct lab *l = *state;
    const char *path = arena_printf(&l->arena, "%s/small", l->dir);
    struct audit *audit = open_small(l, path, 0);

    for (int i = 0; i < 200; i++) {
        audit_append(audit, "0123456789 0123456789 0123456789 0123456789 0123456789");
        assert_true(audit_flush(audit, LAB_PATIENCE));
    }
    audit_free(audit);
    assert_in_range(size_of(l, path, ""), 1, 1000);
    assert_in_range(size_of(l, path, ".1"), 900, 1000);
    assert_in_range(size_of(l, path, ".2"), 900, 1000);
    assert_int_equal(size_of(l, path, ".3"), -1);
}

static void a_line_that_a_crash_left_open_is_ended(void **state)
{
    struct lab *l = *state;
    const char *path = arena_printf(&l->arena, "%s/torn", l->dir);
    FILE *f = fopen(path, "w");
    char text[64] = "";

    fputs("torn", f);
    fclose(f);
    {
        struct audit *audit = open_small(l, path, 0);

        audit_append(audit, "whole");
        audit_free(audit);
    }
    f = fopen(path, "r");
    text[fread(text, 1, sizeof text - 1, f)] = '\0';
    fclose(f);
    assert_string_equal(text, "torn\nwhole\n");
}

static void lines_that_found_no_room_are_counted_in_the_next(void **state)
{
    struct lab *l = *state;
    const char *path = arena_printf(&l->arena, "%s/full", l->dir);
    struct audit *audit = open_small(l, path, 20);
    char text[256] = "";
    FILE *f;

    audit_append(audit, "far too long for a queue of twenty bytes");
    audit_append(audit, "far too long for a queue of twenty bytes");
    audit_append(audit, "short");
    audit_free(audit);
    f = fopen(path, "r");
    text[fread(text, 1, sizeof text - 1, f)] = '\0';
    fclose(f);
    assert_string_equal(text, "[audit: 2 lines before this one were lost]\nshort\n");
}

static int syncs; /* atomic */

/* In the place of libc's. */
int fdatasync(int fd)
{
    assert_true(fcntl(fd, F_GETFD) >= 0);
    __atomic_add_fetch(&syncs, 1, __ATOMIC_RELAXED);
    return 0;
}

static void the_file_is_synced_once_a_second_and_at_the_end(void **state)
{
    struct lab *l = *state;
    struct audit *audit = open_small(l, arena_printf(&l->arena, "%s/synced", l->dir), 1 << 20);
    usec_t begin = clock_mono(), took;
    int done;

    syncs = 0;
    for (int i = 0; i < 50; i++) { /* less than a file may hold */
        audit_append(audit, "one line");
        assert_true(audit_flush(audit, 10 * USEC_PER_SEC));
    }
    done = __atomic_load_n(&syncs, __ATOMIC_RELAXED);
    took = clock_mono() - begin;
    assert_true(done <= (int)(took / USEC_PER_SEC));
    while (__atomic_load_n(&syncs, __ATOMIC_RELAXED) == done) {
        assert_true(clock_mono() - begin < 60 * USEC_PER_SEC);
        clock_sleep(USEC_PER_MSEC);
    }
    done = __atomic_load_n(&syncs, __ATOMIC_RELAXED);
    audit_append(audit, "the last one");
    audit_free(audit);
    assert_true(__atomic_load_n(&syncs, __ATOMIC_RELAXED) > done);
}

static void a_link_in_the_logs_place_is_not_followed(void **state)
{
    struct lab *l = *state;
    const char *path = arena_printf(&l->arena, "%s/link", l->dir);
    struct audit *audit;

    assert_int_equal(symlink("/dev/null", path), 0);
    assert_non_null(audit_open(&l->arena, &(struct audit_options){.path = path}, &audit));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        TEST(a_line_says_who_did_what_to_what_and_how_it_went),
        TEST(failures_and_refusals_show_their_error),
        TEST(what_a_client_chose_cannot_end_the_string_or_the_line),
        TEST(secrets_are_never_written),
        TEST(the_sessions_reference_is_hashed),
        TEST(reading_and_the_daemons_own_calls_leave_no_line),
        TEST(arguments_that_were_read_only_in_part_do_no_harm),
        TEST(every_message_can_be_written_with_empty_arguments),
        TEST(names_are_those_of_before_when_the_text_is_made_before),
        TEST(files_are_rotated_by_size_and_only_so_many_kept),
        TEST(a_line_that_a_crash_left_open_is_ended),
        TEST(lines_that_found_no_room_are_counted_in_the_next),
        TEST(the_file_is_synced_once_a_second_and_at_the_end),
        TEST(a_link_in_the_logs_place_is_not_followed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
