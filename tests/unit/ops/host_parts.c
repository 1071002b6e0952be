/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* host_parts.c -- the parts of host administration that are only logic. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "libxapi/base/arena.h"
#include "libxapi/base/bytes.h"
#include "libxapi/base/seam.h"
#include "libxapi/codec/codec.h"
#include "libxapi/value/value.h"
#include "xapid/auth/agents.h"
#include "xapid/db/db.h"
#include "xapid/ops/host/archive.h"
#include "xapid/ops/host/redact.h"
#include "xapid/ops/host/wake.h"
#include "xapid/task/timing.h"
#include "xapid/worker/workers.h"

/*** wake-on-LAN ***/

static void a_wake_packet_has_the_address_sixteen_times(void **state)
{
    uint8_t packet[WAKE_PACKET_SIZE];

    (void)state;
    assert_true(wake_packet("02:00:0a:FF:10:01", packet));
    for (int i = 0; i < 6; i++)
        assert_int_equal(packet[i], 0xff);
    for (int i = 6; i < WAKE_PACKET_SIZE; i += 6)
        assert_memory_equal(packet + i, "\x02\x00\x0a\xff\x10\x01", 6);
}

static void what_is_no_address_wakes_nobody(void **state)
{
    static const char *const bad[] = {"", "02:00:0a:ff:10", "02:00:0a:ff:10:01:02", "hello",
                                      "02:00:0a:ff:10:zz"};
    uint8_t packet[WAKE_PACKET_SIZE];

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        assert_false(wake_packet(bad[i], packet));
}

/*** secrets ***/

static void redacted_is(const char *text, const char *wanted)
{
    char copy[256];

    strcpy(copy, text);
    redact(copy, strlen(copy));
    assert_string_equal(copy, wanted);
}

static void secrets_are_overwritten_and_nothing_else(void **state)
{
    (void)state;
    redacted_is("login password=abc next", "login password=*** next");
    redacted_is("\"Password\": \"a b\"", "\"Password\": \"* b\"");
    redacted_is("GET /x?session_id=OpaqueRef:1&a=2", "GET /x?session_id=***********&a=2");
    redacted_is("Authorization: Basic abc\r\nHost: x", "Authorization: *********\r\nHost: x");
    redacted_is("the password was wrong", "the password was wrong");
    redacted_is("secret=", "secret=");
    redacted_is("cifspassword_secret = x", "cifspassword_secret = *");
    redacted_is("curl ftp://joe:geheim@host/a@b", "curl ftp://**********@host/a@b");
    redacted_is("http://host/joe@home ://", "http://host/joe@home ://");
    redacted_is("xe -u root -pw geheim vm-list", "xe -u root -pw ****** vm-list");
    redacted_is("-n node.session.auth.password -v a=b -x",
                "-n node.session.auth.password -v *** -x");
    redacted_is("auth.password_in -v ab", "auth.password_in -v **");
    redacted_is("a-pwd x", "a-pwd x");
}

static void a_plugins_session_is_overwritten(void **state)
{
    const char *session = "OpaqueRef:1", *other = "OpaqueRef:2";
    struct buf b = {0};

    (void)state;
    xmlrpc_call_begin(&b, "greet");
    xmlrpc_call_param(&b, api_fields[FIELD_vm_name_label].type, &session);
    xmlrpc_call_param(&b, api_fields[FIELD_vm_name_label].type, &other);
    xmlrpc_call_end(&b);
    redact(b.data, b.len);
    assert_null(strstr(b.data, session));
    assert_non_null(strstr(b.data, other));
    buf_release(&b);
}

/*** archives ***/

struct collected {
    struct buf bytes;
    size_t limit;
};

static bool collect(void *ctx, const void *data, size_t size)
{
    struct collected *c = ctx;

    if (c->bytes.len + size > c->limit)
        return false;
    buf_add(&c->bytes, data, size);
    return true;
}

static void a_tar_is_whole_blocks_with_sums(void **state)
{
    struct collected c = {.limit = 1 << 20};
    AUTO(archive) a = {
        .format = ARCHIVE_TAR, .write = collect, .ctx = &c, .time = 1000 * USEC_PER_SEC};
    unsigned sum = 0, said;

    (void)state;
    assert_true(archive_add(&a, "folder/one", "hello", 5));
    assert_true(archive_end(&a));
    assert_int_equal(c.bytes.len, 4 * 512);
    assert_string_equal(c.bytes.data, "folder/one");
    assert_memory_equal(c.bytes.data + 257, "ustar\00000", 8);
    assert_memory_equal(c.bytes.data + 512, "hello\0", 6);
    assert_int_equal(sscanf(c.bytes.data + 148, "%o", &said), 1);
    memset(c.bytes.data + 148, ' ', 8);
    for (int i = 0; i < 512; i++)
        sum += (uint8_t)c.bytes.data[i];
    assert_int_equal(sum, said);
    buf_release(&c.bytes);
}

static void a_zip_ends_with_a_directory_of_its_files(void **state)
{
    struct collected c = {.limit = 1 << 20};
    AUTO(archive) a = {
        .format = ARCHIVE_ZIP, .write = collect, .ctx = &c, .time = 1000 * USEC_PER_SEC};
    const char *end, *directory;

    (void)state;
    assert_true(archive_add(&a, "one", "123456789", 9));
    assert_true(archive_add(&a, "two", "", 0));
    assert_true(archive_end(&a));
    end = c.bytes.data + c.bytes.len - 22;
    assert_int_equal(le_get32(end), 0x06054b50);
    assert_int_equal(le_get16(end + 10), 2);
    directory = c.bytes.data + le_get32(end + 16);
    assert_int_equal(directory + le_get32(end + 12) - end, 0);
    assert_int_equal(le_get32(directory), 0x02014b50);
    assert_int_equal(le_get32(directory + 16), 0xcbf43926); /* the sum everybody knows */
    assert_memory_equal(directory + 46, "one", 3);
    buf_release(&c.bytes);
}

static void an_archive_that_cannot_be_written_stays_failed(void **state)
{
    struct collected c = {.limit = 600};
    AUTO(archive) a = {.format = ARCHIVE_TAR, .write = collect, .ctx = &c};

    (void)state;
    assert_false(archive_add(&a, "one", "hello", 5));
    c.limit = 1 << 20;
    assert_false(archive_add(&a, "two", "hello", 5));
    assert_false(archive_end(&a));
    buf_release(&c.bytes);
}

/*** clients ***/

static void the_last_version_of_each_program_counts(void **state)
{
    struct agents *agents = agents_new();
    struct arena arena = {0};
    struct strmap seen;

    (void)state;
    agents_note(agents, "b-tool/1.0 (x)");
    agents_note(agents, "a-tool");
    agents_note(agents, NULL);
    agents_note(agents, "/7");
    agents_note(agents, "b-tool/2.0");
    seen = agents_seen(agents, &arena);
    assert_int_equal(seen.n, 2);
    assert_string_equal(strmap_get(&seen, "a-tool"), "");
    assert_string_equal(strmap_get(&seen, "b-tool"), "2.0");
    arena_release(&arena);
    agents_free(agents);
}

static void who_called_longest_ago_is_forgotten_first(void **state)
{
    struct agents *agents = agents_new();
    struct arena arena = {0};
    struct strmap seen;
    char name[32];

    (void)state;
    for (int i = 0; i < AGENTS_MAX; i++) {
        snprintf(name, sizeof name, "tool%d/1", i);
        agents_note(agents, name);
    }
    agents_note(agents, "tool0/2");
    agents_note(agents, "new/1");
    seen = agents_seen(agents, &arena);
    assert_int_equal(seen.n, AGENTS_MAX);
    assert_string_equal(strmap_get(&seen, "tool0"), "2");
    assert_null(strmap_get(&seen, "tool1"));
    assert_string_equal(strmap_get(&seen, "new"), "1");
    arena_release(&arena);
    agents_free(agents);
}

/*** times ***/

static void times_are_counted_by_message(void **state)
{
    struct timings *timings = timings_new(3);
    struct timing t;

    (void)state;
    timing_note(timings, 1, 10);
    timing_note(timings, 1, 30);
    timing_note(timings, 7, 10);
    assert_false(timing_of(timings, 0, &t));
    assert_false(timing_of(timings, 7, &t));
    assert_true(timing_of(timings, 1, &t));
    assert_int_equal(t.count, 2);
    assert_int_equal(t.sum, 40);
    assert_int_equal(t.longest, 30);
    timings_free(timings);
}

/*** workers ***/

struct crowd {
    struct mutex lock;
    struct cond changed;
    int inside, most, left;
    bool open;
};

static void visit(void *arg)
{
    struct crowd *c = arg;

    MUTEX_GUARD(&c->lock);
    c->inside++;
    c->most = MAX(c->most, c->inside);
    cond_broadcast(&c->changed);
    while (!c->open)
        cond_wait(&c->changed, &c->lock);
    c->inside--;
    c->left++;
    cond_broadcast(&c->changed);
}

static void wait_for(struct crowd *c, const int *what, int n)
{
    MUTEX_GUARD(&c->lock);
    while (*what < n)
        cond_wait(&c->changed, &c->lock);
}

static void set_open(struct crowd *c, bool open)
{
    MUTEX_GUARD(&c->lock);
    c->open = open;
    c->most = 0;
    cond_broadcast(&c->changed);
}

static void fewer_workers_work_from_then_on(void **state)
{
    struct workers *workers = workers_new(4);
    struct crowd c = {0};

    (void)state;
    mutex_init(&c.lock);
    cond_init(&c.changed);
    for (int i = 0; i < 4; i++)
        assert_true(workers_run(workers, visit, &c));
    wait_for(&c, &c.inside, 4);
    workers_limit(workers, 1);
    set_open(&c, true);
    wait_for(&c, &c.left, 4);
    set_open(&c, false);
    for (int i = 0; i < 3; i++)
        assert_true(workers_run(workers, visit, &c));
    wait_for(&c, &c.inside, 1);
    set_open(&c, true);
    wait_for(&c, &c.left, 7);
    workers_free(workers);
    assert_true(c.most <= 1);
    cond_release(&c.changed);
    mutex_release(&c.lock);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_wake_packet_has_the_address_sixteen_times),
        cmocka_unit_test(what_is_no_address_wakes_nobody),
        cmocka_unit_test(secrets_are_overwritten_and_nothing_else),
        cmocka_unit_test(a_plugins_session_is_overwritten),
        cmocka_unit_test(a_tar_is_whole_blocks_with_sums),
        cmocka_unit_test(a_zip_ends_with_a_directory_of_its_files),
        cmocka_unit_test(an_archive_that_cannot_be_written_stays_failed),
        cmocka_unit_test(the_last_version_of_each_program_counts),
        cmocka_unit_test(who_called_longest_ago_is_forgotten_first),
        cmocka_unit_test(times_are_counted_by_message),
        cmocka_unit_test(fewer_workers_work_from_then_on),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
