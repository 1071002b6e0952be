/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * display.c -- whether the control domain shows itself on the physical screen.
 *
 * That is a matter of its kernel's options, so it changes when the host boots: a file of the boot
 * loader says what will be, the options of the running kernel what is.  A kernel that leaves the
 * frame buffer alone leaves the graphics processor free for a machine.
 */
#include <string.h>

#include "libxapi/base/log.h"
#include "xapid/db/ready.h"
#include "xapid/ops/host/here.h"
#include "xapid/ops/host/settle.h"
#include "xapid/ops/host/system.h"

#define FILE_NAME "/etc/default/grub.d/xapid-display.cfg"
#define COMMAND_LINE "/proc/cmdline"
/* Both of what is written and of what is looked for. */
#define OFF "video=efifb:off"

/* Only under Xen: a kernel that boots without it has no other console. */
static const char options_off[] =
    "# xapid: host.disable_display\n"
    "GRUB_CMDLINE_LINUX_XEN_REPLACE=\"${GRUB_CMDLINE_LINUX_XEN_REPLACE:-$GRUB_CMDLINE_LINUX} "
    "console=hvc0 " OFF " video=vesafb:off video=simplefb:off\"\n";

static bool is_off(struct call *call, const char *path)
{
    const char *text = system_read(call, path);

    return text && strstr(text, OFF);
}

static enum host_display display(struct call *call)
{
    bool later = is_off(call, FILE_NAME);

    if (is_off(call, COMMAND_LINE))
        return later ? HOST_DISPLAY_DISABLED : HOST_DISPLAY_ENABLE_ON_REBOOT;
    return later ? HOST_DISPLAY_DISABLE_ON_REBOOT : HOST_DISPLAY_ENABLED;
}

static struct error *configure(struct call *call, ref_t host, const char *text,
                               enum host_display *result)
{
    TRY(host_check_here(call, host));
    TRY(system_configure_boot(call, FILE_NAME, text));
    *result = display(call);
    return CALL_SET(call, host, host, display, *result);
}

struct error *host_enable_display(struct call *call, const struct host_enable_display_args *args,
                                  enum host_display *result)
{
    return configure(call, args->host, NULL, result);
}

struct error *host_disable_display(struct call *call, const struct host_disable_display_args *args,
                                   enum host_display *result)
{
    return configure(call, args->host, options_off, result);
}

void display_settle(struct call *call)
{
    const struct host *host = host_here(call);
    enum host_display now = display(call);
    struct error *e;

    if (host->display == now)
        return;
    e = CALL_SET(call, host, host->ref, display, now);
    if (e)
        log_error("whether this host shows itself on its screen is not recorded: %s",
                  error_line(call->arena, e));
}
