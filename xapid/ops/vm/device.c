/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xapid/ops/vm/device.h"

#include <string.h>

#include "libxapi/value/value.h"

static int decimal(const char *s, int limit)
{
    int n = 0;

    if (!*s || (s[0] == '0' && s[1]))
        return -1;
    for (; *s; s++) {
        if (*s < '0' || *s > '9')
            return -1;
        n = n * 10 + (*s - '0');
        if (n >= limit)
            return -1;
    }
    return n;
}

/* "a" is 0, "z" 25, "aa" 26. */
static int letters(const char *s, int limit)
{
    int n = 0;

    if (!*s)
        return -1;
    for (; *s; s++) {
        if (*s < 'a' || *s > 'z')
            return -1;
        n = n * 26 + (*s - 'a') + 1;
        if (n > limit)
            return -1;
    }
    return n - 1;
}

int vbd_device_number(const char *userdevice)
{
    if (strncmp(userdevice, "xvd", 3) == 0)
        return letters(userdevice + 3, VBD_DEVICES);
    if (strncmp(userdevice, "hd", 2) == 0 || strncmp(userdevice, "sd", 2) == 0)
        return letters(userdevice + 2, VBD_DEVICES);
    return decimal(userdevice, VBD_DEVICES);
}

const char *vbd_device_name(struct arena *arena, int number)
{
    char reversed[8];
    size_t n = 0;
    char *out;

    for (int i = number; i >= 0; i = i / 26 - 1)
        reversed[n++] = (char)('a' + i % 26);
    out = arena_alloc(arena, 3 + n + 1);
    memcpy(out, "xvd", 3);
    for (size_t i = 0; i < n; i++)
        out[3 + i] = reversed[n - 1 - i];
    out[3 + n] = '\0';
    return out;
}

int vif_device_number(const char *device)
{
    return decimal(device, VIF_DEVICES);
}

/*** those that are free ***/

static struct strings free_numbers(struct arena *arena, const bool *used, int limit)
{
    const char **v = arena_array(arena, const char *, (size_t)limit);
    size_t n = 0;

    for (int i = 0; i < limit; i++)
        if (!used[i])
            v[n++] = arena_printf(arena, "%d", i);
    return (struct strings){n, v};
}

struct strings vbd_devices_free(struct arena *arena, const struct db_snap *snap, ref_t vm)
{
    bool used[VBD_DEVICES] = {false};
    struct index_walk walk;
    ref_t ref;

    index_walk(snap_root(snap), &api_fields[FIELD_vbd_vm], vm, &walk);
    while (index_next(&walk, &ref)) {
        const struct vbd *vbd = root_get(snap_root(snap), CLASS_vbd, ref);
        int number = vbd_device_number(vbd->userdevice);

        if (number >= 0)
            used[number] = true;
    }
    return free_numbers(arena, used, VBD_DEVICES);
}

struct strings vif_devices_free(struct arena *arena, const struct db_snap *snap, ref_t vm)
{
    bool used[VIF_DEVICES] = {false};
    struct index_walk walk;
    ref_t ref;

    index_walk(snap_root(snap), &api_fields[FIELD_vif_vm], vm, &walk);
    while (index_next(&walk, &ref)) {
        const struct vif *vif = root_get(snap_root(snap), CLASS_vif, ref);
        int number = vif_device_number(vif->device);

        if (number >= 0)
            used[number] = true;
    }
    return free_numbers(arena, used, VIF_DEVICES);
}
