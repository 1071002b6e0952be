/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* two_daemons.c -- a daemon is a value: two of them live in one process and know nothing of each
 * other. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "libxapi/codec/codec.h"
#include "xapi/api.h"
#include "xapid/db/db.h"
#include "xapid/hypervisor/hv.h"
#include "xapid/main/xapid.h"

struct house {
    char dir[64], socket[96];
    struct xapid *xapid;
    struct xapi_session *session;
};

static void must(struct arena *arena, const struct error *e)
{
    if (e)
        fail_msg("%s", error_line(arena, e));
}

static void house_start(struct house *h)
{
    struct arena arena = {0};
    struct xapid_options options = {.hypervisor = "sim",
                                    .tls_port = -1,
                                    .plain_port = -1,
                                    .nbd_port = -1,
                                    .sim_program = getenv("XAPID_SIM")};

    options.state_dir = h->dir;
    snprintf(h->socket, sizeof h->socket, "%s/xapi", h->dir);
    options.unix_socket = h->socket;
    must(&arena, xapid_start(&arena, &options, &h->xapid));
    must(&arena, xapi_connect(
                     &(struct xapi_options){.unix_path = h->socket, .user = "root", .password = ""},
                     &h->session));
    arena_release(&arena);
}

static void house_stop(struct house *h)
{
    xapi_disconnect(h->session);
    xapid_stop(h->xapid);
    h->session = NULL;
    h->xapid = NULL;
}

/* The simulator outlives its daemon on purpose: a test must end its own. */
static void house_clear(struct house *h)
{
    struct arena arena = {0};
    char path[128], command[160];
    FILE *f;
    int pid = 0;

    snprintf(path, sizeof path, "%s/sim/xapid-sim.pid", h->dir);
    f = fopen(path, "r");
    if (f) {
        if (fscanf(f, "%d", &pid) == 1 && pid > 1)
            kill(pid, SIGTERM);
        fclose(f);
    }
    snprintf(command, sizeof command, "rm -rf '%s'", h->dir);
    assert_int_equal(system(command), 0);
    arena_release(&arena);
}

static size_t count_networks(struct house *h, const char *label)
{
    struct arena arena = {0};
    struct refs found;

    must(&arena, xapi_network_get_by_name_label(h->session, label, &found));
    return found.n;
}

static ref_t add_network(struct house *h, const char *label)
{
    struct arena arena = {0};
    struct network *record = xapi_record_new(h->session, CLASS_network);
    ref_t ref;

    record->name_label = label;
    must(&arena, xapi_network_create(h->session, record, &ref));
    return ref;
}

static void two_daemons_know_nothing_of_each_other(void **state)
{
    struct house a = {.dir = "/tmp/xapid-two-XXXXXX"}, b = {.dir = "/tmp/xapid-two-XXXXXX"};

    (void)state;
    assert_non_null(mkdtemp(a.dir));
    assert_non_null(mkdtemp(b.dir));
    house_start(&a);
    house_start(&b);
    add_network(&a, "only in a");
    assert_int_equal(count_networks(&a, "only in a"), 1);
    assert_int_equal(count_networks(&b, "only in a"), 0);
    house_stop(&a);
    add_network(&b, "after a ended");
    assert_int_equal(count_networks(&b, "after a ended"), 1);
    house_stop(&b);
    house_clear(&a);
    house_clear(&b);
}

static void what_was_acknowledged_is_there_after_a_restart(void **state)
{
    struct house a = {.dir = "/tmp/xapid-two-XXXXXX"};

    (void)state;
    assert_non_null(mkdtemp(a.dir));
    house_start(&a);
    add_network(&a, "kept");
    house_stop(&a);
    house_start(&a);
    assert_int_equal(count_networks(&a, "kept"), 1);
    house_stop(&a);
    house_clear(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(two_daemons_know_nothing_of_each_other),
        cmocka_unit_test(what_was_acknowledged_is_there_after_a_restart),
    };

    signal(SIGPIPE, SIG_IGN);
    codec_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
