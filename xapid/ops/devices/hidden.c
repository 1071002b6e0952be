/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xapid/ops/devices/hidden.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "libxapi/base/buf.h"
#include "libxapi/value/value.h"
#include "xapid/auth/file.h"
#include "xapid/main/xapid.h"
#include "xapid/ops/devices/sysfs.h"

#define FILE_LIMIT 65536

static const char *file_path(struct call *call)
{
    return arena_printf(call->arena, "%s/pci-hidden", call->xapid->options.config_dir);
}

struct error *hidden_read(struct call *call, struct strings *out)
{
    char *text, *save = NULL;
    const char **v;
    size_t size, n = 0;

    *out = (struct strings){0};
    TRY(secret_file_read(call->arena, file_path(call), FILE_LIMIT, &text, &size));
    if (!text)
        return OK;
    v = arena_array(call->arena, const char *, size / 2 + 1);
    for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save))
        if (*line != '#')
            v[n++] = line;
    *out = (struct strings){n, v};
    return OK;
}

struct error *hidden_set(struct call *call, const char *id, bool hidden)
{
    AUTO(file_lock) lock = {0};
    struct strings old;
    struct buf text = {0};
    struct error *e;

    if (mkdir(call->xapid->options.config_dir, 0755) < 0 && errno != EEXIST)
        return error_internal(call->arena, "cannot make %s: %s", call->xapid->options.config_dir,
                              strerrordesc_np(errno));
    TRY(file_lock_take(call->arena, file_path(call), &lock));
    TRY(hidden_read(call, &old));
    if (strings_contain(&old, id) == hidden)
        return OK;
    for (size_t i = 0; i < old.n; i++)
        if (strcmp(old.v[i], id) != 0)
            buf_printf(&text, "%s\n", old.v[i]);
    if (hidden)
        buf_printf(&text, "%s\n", id);
    e = secret_file_replace(call->arena, file_path(call), text.data ? text.data : "", text.len);
    buf_release(&text);
    return e;
}

enum pci_dom0_access hidden_access(const struct strings *hidden, const char *id, const char *driver)
{
    bool later = strings_contain(hidden, id);

    if (pci_driver_is_backend(driver))
        return later ? PCI_DOM0_ACCESS_DISABLED : PCI_DOM0_ACCESS_ENABLE_ON_REBOOT;
    return later ? PCI_DOM0_ACCESS_DISABLE_ON_REBOOT : PCI_DOM0_ACCESS_ENABLED;
}
