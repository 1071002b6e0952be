/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * list-vms.c -- the smallest useful program on libxapi: logs in and prints each virtual machine.
 *
 *   list-vms HOST USER PASSWORD [FINGERPRINT]
 *
 * FINGERPRINT is the SHA-256 of the server's certificate.  Without it any certificate is taken;
 * do not send a password you care about over a network that way.
 *
 *   cc list-vms.c $(pkg-config --cflags --libs libxapi)
 */
#include <stdio.h>
#include <string.h>

#include "xapi/api.h"

/*
 * A map from references to records: each entry is the key, then the value at value_offset.  The
 * type that says so stands in the message's description.
 */
static void print_vms(const struct map *vms)
{
    const struct type *type = api_messages[MSG_vm_get_all_records].result;

    for (size_t i = 0; i < vms->n; i++) {
        const char *entry = (const char *)vms->v + i * type->entry_size;
        const struct vm *vm = *(const struct vm *const *)(entry + type->value_offset);

        /* Templates and snapshots are VMs too; the control domain is the host itself. */
        if (vm->is_a_template || vm->is_control_domain)
            continue;
        printf("%s  %-10s  %s\n", vm->uuid, enum_vm_power_state.names[vm->power_state],
               vm->name_label);
    }
}

int main(int argc, char **argv)
{
    struct xapi_options options = {.originator = "list-vms", .timeout = 60 * USEC_PER_SEC};
    struct xapi_session *session;
    struct error *e;
    struct map vms;

    if (argc < 4 || argc > 5) {
        fprintf(stderr, "usage: list-vms HOST USER PASSWORD [FINGERPRINT]\n");
        return 2;
    }
    options.host = argv[1];
    options.user = argv[2];
    options.password = argv[3];
    options.fingerprint = argv[4]; /* NULL where there is none */

    /* The session is there even if connecting failed: it can tell why. */
    e = xapi_connect(&options, &session);
    if (!e)
        e = xapi_vm_get_all_records(session, &vms);
    if (e)
        fprintf(stderr, "list-vms: %s\n", xapi_error_text(session, e));
    else
        print_vms(&vms);
    /* The records end with the session (or with xapi_results_free, in a program that goes on). */
    xapi_disconnect(session);
    return e ? 1 : 0;
}
