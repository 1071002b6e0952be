/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xapid/stream/console_target.h"

#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "xapid/hypervisor/hv.h"
#include "xapid/main/xapid.h"

static const void *find_row(struct call *call, int class_id, const char *ref, const char *uuid)
{
    ref_t r = REF_NULL;

    if (uuid) {
        struct error *e = db_by_uuid(call, class_id, uuid, &r);

        if (e)
            return NULL;
    } else if (!ref_from_text(ref, &r)) {
        return NULL;
    }
    return db_find(call, class_id, r);
}

bool console_target_find(struct call *call, const struct http_request *request,
                         struct console_target *out)
{
    const char *ref = http_param(request, "ref"), *uuid = http_param(request, "uuid");
    const struct console *console;

    if (!ref && !uuid)
        return false;
    /* The uuid wins where both are there. */
    out->protocol = CONSOLE_PROTOCOL_RFB;
    out->vm = find_row(call, CLASS_vm, ref, uuid);
    if (out->vm)
        return true;
    console = find_row(call, CLASS_console, ref, uuid);
    if (!console)
        return false;
    out->protocol = console->protocol;
    out->vm = db_find(call, CLASS_vm, console->vm);
    return out->vm != NULL;
}

bool console_target_lives(const struct console_target *target)
{
    return target->vm->power_state == VM_RUNNING || target->vm->power_state == VM_PAUSED;
}

/* The socket of the screen; "" where there is none. */
static const char *screen_path(struct call *call, const struct console_target *t)
{
    struct hv_request rq = {.arena = call->arena};
    const struct hv_domain *domain = NULL;
    struct error *e = hv_get(call->xapid->hv, &rq, t->vm->uuid, &domain);

    if (e || !domain)
        return "";
    return t->protocol == CONSOLE_PROTOCOL_VT100 ? domain->console_text : domain->console_rfb;
}

/* A screen that cannot take one more at once is as good as none. */
int console_target_open(struct call *call, const struct console_target *target)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    const char *path = screen_path(call, target);
    int fd;

    if (!*path || strlen(path) >= sizeof at.sun_path)
        return -1;
    strcpy(at.sun_path, path);
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd >= 0 && connect(fd, (struct sockaddr *)&at, sizeof at) < 0) {
        close(fd);
        fd = -1;
    }
    return fd;
}
