/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A file of PCI names, with any bytes: names are printable, short, or not there. */
#include <stdlib.h>
#include <string.h>

#include "xapid/ops/devices/sysfs.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const char *name)
{
    if (!name)
        return;
    if (!*name || strlen(name) > 255)
        abort();
    for (const char *p = name; *p; p++)
        if (*p < ' ' || *p > '~')
            abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    AUTO(arena) arena = {0};
    char *text = arena_alloc(&arena, size + 1);

    memcpy(text, data, size);
    text[size] = '\0';
    check(pci_ids_vendor(&arena, text, "10de"));
    check(pci_ids_device(&arena, text, "10de", "13f2"));
    check(pci_ids_class(&arena, text, "0300"));
    return 0;
}
