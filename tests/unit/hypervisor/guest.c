/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* guest.c -- asking a guest to end: the executor's side of control/shutdown, on a xenstore of one
 * node. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <xenctrl.h>
#include <xen/hvm/params.h>

#include "libxapi/base/memory.h"
#include "xapid/hypervisor/executor/executor.h"

#define VM "11111111-2222-3333-4444-555555555555"

static struct {
    char node[32];    /* control/shutdown */
    int looks;        /* how often it was looked at */
    int answers_at;   /* the guest empties it at that look; 0: never */
    int answers_late; /* ... in the middle of so many transactions */
    int transactions;
    bool dies, gone; /* at that look, instead */
    bool hvm, no_drivers;
    bool button_pressed;
} world;

/*** the world's doors ***/

static void guest_acts(void)
{
    world.looks++;
    if (world.looks == world.answers_at)
        world.node[0] = '\0';
}

const char *xs_text(struct arena *arena, struct xen *xen, const char *path)
{
    (void)xen;
    assert_string_equal(path, "/local/domain/7/control/shutdown");
    guest_acts();
    return arena_strdup(arena, world.node);
}

struct error *xs_put(struct arena *arena, struct xen *xen, const char *path, const char *value)
{
    (void)arena;
    (void)xen;
    (void)path;
    strcpy(world.node, value);
    return OK;
}

xs_transaction_t xs_transaction_start(struct xs_handle *h)
{
    (void)h;
    return 1;
}

void *xs_read(struct xs_handle *h, xs_transaction_t tr, const char *path, unsigned int *len)
{
    (void)h;
    (void)tr;
    (void)path;
    *len = (unsigned)strlen(world.node);
    return xstrdup(world.node);
}

bool xs_write(struct xs_handle *h, xs_transaction_t tr, const char *path, const void *data,
              unsigned int len)
{
    (void)h;
    (void)tr;
    (void)path;
    (void)data;
    assert_int_equal(len, 0);
    return true;
}

bool xs_transaction_end(struct xs_handle *h, xs_transaction_t tr, bool abort)
{
    (void)h;
    (void)tr;
    world.transactions++;
    if (world.transactions <= world.answers_late) {
        if (world.transactions == world.answers_late)
            world.node[0] = '\0';
        errno = EAGAIN;
        return false;
    }
    if (!abort)
        world.node[0] = '\0';
    return true;
}

xc_interface *xen_control_open(void)
{
    return (xc_interface *)&world;
}

void xen_control_close(xc_interface *xc)
{
    assert_ptr_equal(xc, &world);
}

int xc_hvm_param_get(xc_interface *handle, uint32_t dom, uint32_t param, uint64_t *value)
{
    (void)handle;
    assert_int_equal(dom, 7);
    assert_int_equal(param, HVM_PARAM_CALLBACK_IRQ);
    *value = !world.no_drivers;
    return 0;
}

int libxl_send_trigger(libxl_ctx *ctx, uint32_t domid, libxl_trigger trigger, uint32_t vcpuid,
                       const libxl_asyncop_how *how)
{
    (void)ctx;
    (void)domid;
    (void)vcpuid;
    (void)how;
    assert_int_equal(trigger, LIBXL_TRIGGER_POWER);
    world.button_pressed = true;
    return 0;
}

struct error *xen_open(struct arena *arena, struct xen *out)
{
    (void)arena;
    (void)out;
    return OK;
}

void xen_release(struct xen *xen)
{
    (void)xen;
}

struct error *xen_failed(struct arena *arena, struct xen *xen, const char *what, int rc)
{
    (void)xen;
    return error_internal(arena, "%s: %d", what, rc);
}

struct error *domain_find(struct request *rq, struct xen *xen, const char *uuid, struct found *out)
{
    (void)rq;
    (void)xen;
    *out = (struct found){.exists = !world.gone, .domid = 7};
    strcpy(out->uuid, uuid);
    out->info.shutdown = world.dies;
    out->type = world.hvm ? LIBXL_DOMAIN_TYPE_HVM : LIBXL_DOMAIN_TYPE_PV;
    return OK;
}

struct error *domain_alive(struct request *rq, struct xen *xen, struct found *out)
{
    return domain_find(rq, xen, VM, out);
}

enum hv_state domain_state(const libxl_dominfo *info, enum hv_reason *reason)
{
    *reason = HV_POWEROFF;
    return info->shutdown ? HV_SHUTDOWN : HV_RUNNING;
}

struct error *request_bad(struct request *rq)
{
    return error_internal(&rq->arena, "bad");
}

uint64_t world_now(struct executor *x)
{
    (void)x;
    return 0;
}

void world_wait(struct executor *x, uint64_t seen, usec_t until)
{
    (void)x;
    (void)seen;
    (void)until;
}

/*** the tests ***/

static struct request rq;
static struct server server;

static int setup(void **state)
{
    (void)state;
    memset(&world, 0, sizeof world);
    memset(&rq, 0, sizeof rq);
    rq.server = &server;
    rq.deadline = clock_mono() + 20 * USEC_PER_MSEC;
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    json_decref(rq.args_json);
    arena_release(&rq.arena);
    return 0;
}

static const char *ask(const char *reason)
{
    json_t *result = NULL;
    struct error *e;

    rq.args_json = json_pack("{s:s, s:s}", "uuid", VM, "reason", reason);
    rq.args = reader_of(&rq.arena, rq.args_json);
    e = run_shutdown(&rq, &result);
    return e ? error_line(&rq.arena, e) : "done";
}

static void a_guest_that_empties_the_node_has_heard(void **state)
{
    (void)state;
    world.answers_at = 3;
    assert_string_equal(ask("poweroff"), "done");
    assert_int_equal(world.looks, 3);
    assert_int_equal(world.transactions, 0);
}

static void one_that_does_not_is_no_longer_asked(void **state)
{
    (void)state;
    assert_string_equal(ask("reboot"), "VM_FAILED_SHUTDOWN_ACKNOWLEDGMENT(" VM ")");
    assert_string_equal(world.node, "");
    assert_int_equal(world.transactions, 1);
}

static void an_answer_that_comes_with_the_withdrawal_counts(void **state)
{
    (void)state;
    world.answers_late = 2;
    assert_string_equal(ask("poweroff"), "done");
    assert_int_equal(world.transactions, 3);
}

static void a_guest_that_ends_has_heard(void **state)
{
    (void)state;
    world.dies = true;
    assert_string_equal(ask("poweroff"), "done");
}

static void a_guest_that_is_gone_is_told_as_such(void **state)
{
    (void)state;
    world.gone = true;
    assert_non_null(strstr(ask("poweroff"), FAILURE_NO_DOMAIN));
}

static void a_suspend_has_its_own_error(void **state)
{
    (void)state;
    assert_string_equal(ask("suspend"), "VM_FAILED_SUSPEND_ACKNOWLEDGMENT(" VM ")");
}

static void an_hvm_guest_with_drivers_is_asked_as_others(void **state)
{
    (void)state;
    world.hvm = true;
    world.answers_at = 2;
    assert_string_equal(ask("reboot"), "done");
    assert_false(world.button_pressed);
}

static void without_drivers_there_is_the_power_button_and_no_reboot(void **state)
{
    (void)state;
    world.hvm = world.no_drivers = true;
    assert_string_equal(ask("poweroff"), "done");
    assert_true(world.button_pressed);
    json_decref(rq.args_json);
    assert_string_equal(ask("reboot"), "VM_FAILED_SHUTDOWN_ACKNOWLEDGMENT(" VM ")");
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_guest_that_empties_the_node_has_heard, setup, teardown),
        cmocka_unit_test_setup_teardown(one_that_does_not_is_no_longer_asked, setup, teardown),
        cmocka_unit_test_setup_teardown(an_answer_that_comes_with_the_withdrawal_counts, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_guest_that_ends_has_heard, setup, teardown),
        cmocka_unit_test_setup_teardown(a_guest_that_is_gone_is_told_as_such, setup, teardown),
        cmocka_unit_test_setup_teardown(a_suspend_has_its_own_error, setup, teardown),
        cmocka_unit_test_setup_teardown(an_hvm_guest_with_drivers_is_asked_as_others, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(without_drivers_there_is_the_power_button_and_no_reboot,
                                        setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
