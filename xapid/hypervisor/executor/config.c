/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* config.c -- from our configuration to libxl's.  Needs no Xen, so that it can be tested anywhere.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "libxapi/base/memory.h"
#include "libxapi/value/featureset.h"
#include "xapid/hypervisor/executor/executor.h"

#define MEMORY_MIN ((int64_t)4 << 20)
#define VCPUS_MAX 512
#define DEVICE_NAME_MAX 15
#define EMULATED_DISKS 4 /* what the emulated controller holds */

/*** devices ***/

static bool device_name_is_good(const char *s)
{
    return strncmp(s, "xvd", 3) == 0 && s[3] && strlen(s) <= DEVICE_NAME_MAX &&
           !s[3 + strspn(s + 3, "abcdefghijklmnopqrstuvwxyz")];
}

/* An HVM guest boots from the emulated twins of its first disks. */
static char *device_name(const char *device, libxl_domain_type type)
{
    if (type == LIBXL_DOMAIN_TYPE_HVM && !device[4] && device[3] < 'a' + EMULATED_DISKS)
        return xasprintf("hd%c", device[3]);
    return xstrdup(device);
}

static bool format_of(const char *name, libxl_disk_format *out)
{
    if (strcmp(name, "raw") == 0)
        *out = LIBXL_DISK_FORMAT_RAW;
    else if (strcmp(name, "qcow2") == 0)
        *out = LIBXL_DISK_FORMAT_QCOW2;
    else if (strcmp(name, "vhd") == 0)
        *out = LIBXL_DISK_FORMAT_VHD;
    else
        return false;
    return true;
}

bool config_has_disk(const struct hv_disk *disk, libxl_domain_type type)
{
    return *disk->path || (disk->cdrom && type == LIBXL_DOMAIN_TYPE_HVM);
}

/* Whether the kernel serves it, and not a device model: a raw device, or a raw file that is only
 * read, for which the script makes a device.  CDs of an HVM guest are its device model's, which
 * changes media. */
static bool is_kernels(const libxl_device_disk *disk, mode_t mode, libxl_domain_type type,
                       const char *script)
{
    bool file = S_ISREG(mode) && !disk->readwrite && type != LIBXL_DOMAIN_TYPE_HVM && script;

    return disk->format == LIBXL_DISK_FORMAT_RAW && !disk->is_cdrom && (S_ISBLK(mode) || file);
}

struct error *config_disk(struct arena *arena, const struct hv_disk *disk, libxl_domain_type type,
                          const char *script, libxl_device_disk *out)
{
    struct stat st;
    bool empty = !*disk->path;

    libxl_device_disk_init(out);
    if (!device_name_is_good(disk->device))
        return error_internal(arena, "'%s' is no name for a disk", disk->device);
    if (!format_of(disk->format, &out->format))
        return error_internal(arena, "disk %s: unknown format '%s'", disk->device, disk->format);
    if (disk->cdrom && disk->mode == HV_DISK_RW)
        return error_internal(arena, "disk %s: a CD cannot be written", disk->device);
    if (!empty && stat(disk->path, &st) < 0)
        return error_internal(arena, "disk %s: %s: %s", disk->device, disk->path,
                              strerrordesc_np(errno));
    out->vdev = device_name(disk->device, type);
    out->readwrite = disk->mode == HV_DISK_RW;
    out->is_cdrom = disk->cdrom && type == LIBXL_DOMAIN_TYPE_HVM;
    out->removable = 1;
    out->pdev_path = empty ? NULL : xstrdup(disk->path);
    if (empty)
        out->format = LIBXL_DISK_FORMAT_EMPTY;
    else if (is_kernels(out, st.st_mode, type, script))
        out->backend = LIBXL_DISK_BACKEND_PHY;
    else
        out->backend = LIBXL_DISK_BACKEND_QDISK;
    if (out->backend == LIBXL_DISK_BACKEND_PHY && script)
        out->script = xstrdup(script);
    return OK;
}

struct error *config_nic(struct arena *arena, const struct hv_nic *nic, libxl_device_nic *out)
{
    unsigned m[6];
    char rest;

    libxl_device_nic_init(out);
    if (sscanf(nic->mac, "%2x:%2x:%2x:%2x:%2x:%2x%c", &m[0], &m[1], &m[2], &m[3], &m[4], &m[5],
               &rest) != 6)
        return error_internal(arena, "NIC %d: '%s' is no MAC address", nic->device, nic->mac);
    if (nic->mtu < 0 || nic->mtu > 65535)
        return error_internal(arena, "NIC %d: an MTU of %lld", nic->device, (long long)nic->mtu);
    for (int i = 0; i < 6; i++)
        out->mac[i] = (uint8_t)m[i];
    out->devid = nic->device;
    out->mtu = nic->mtu ? (int)nic->mtu : 1500;
    out->bridge = *nic->bridge ? xstrdup(nic->bridge) : NULL;
    if (nic->vswitch) /* Xen's own script for it; by default it is that for bridges */
        out->script = xstrdup("vif-openvswitch");
    if (nic->rate && nic->rate_interval) {
        out->rate_interval_usecs = (uint32_t)nic->rate_interval;
        out->rate_bytes_per_interval = (uint64_t)(nic->rate * nic->rate_interval / USEC_PER_SEC);
    }
    return OK;
}

/*** devices of the host ***/

static struct error *config_pci(struct arena *arena, const char *id, libxl_device_pci *out)
{
    unsigned domain, bus, dev, func;
    char rest;

    libxl_device_pci_init(out);
    if (sscanf(id, "%4x:%2x:%2x.%1x%c", &domain, &bus, &dev, &func, &rest) != 4)
        return error_internal(arena, "'%s' is no PCI device", id);
    out->domain = (int)domain;
    out->bus = (uint8_t)bus;
    out->dev = (uint8_t)dev;
    out->func = (uint8_t)func;
    /* One that no driver has is still to be taken by the backend. */
    out->seize = true;
    return OK;
}

static struct error *translate_host_devices(struct arena *arena, const struct hv_domain_config *c,
                                            libxl_domain_config *out)
{
    out->pcidevs = xcalloc(c->n_pcis + 1, sizeof *out->pcidevs);
    for (size_t i = 0; i < c->n_pcis; i++) {
        out->num_pcidevs++;
        TRY(config_pci(arena, c->pcis[i], &out->pcidevs[i]));
    }
    out->usbdevs = xcalloc(c->n_usbs + 1, sizeof *out->usbdevs);
    for (size_t i = 0; i < c->n_usbs; i++) {
        libxl_device_usbdev *usb = &out->usbdevs[out->num_usbdevs++];

        /* libxl adds the controllers. */
        libxl_device_usbdev_init(usb);
        libxl_device_usbdev_init_type(usb, LIBXL_USBDEV_TYPE_HOSTDEV);
        usb->u.hostdev.hostbus = (uint8_t)c->usbs[i].bus;
        usb->u.hostdev.hostaddr = (uint8_t)c->usbs[i].address;
    }
    return OK;
}

static struct error *translate_devices(struct arena *arena, const struct hv_domain_config *c,
                                       const struct config_options *o, libxl_domain_config *out)
{
    out->disks = xcalloc(c->n_disks + 1, sizeof *out->disks);
    for (size_t i = 0; i < c->n_disks; i++) {
        /* What a boot loader looks into, libxl would plug into dom0 if there were a script. */
        bool looked_into = out->b_info.bootloader && out->num_disks == 0;

        if (!config_has_disk(&c->disks[i], out->c_info.type))
            continue;
        out->num_disks++;
        TRY(config_disk(arena, &c->disks[i], out->c_info.type, looked_into ? NULL : o->block_script,
                        &out->disks[out->num_disks - 1]));
    }
    out->nics = xcalloc(c->n_nics + 1, sizeof *out->nics);
    for (size_t i = 0; i < c->n_nics; i++) {
        out->num_nics++;
        TRY(config_nic(arena, &c->nics[i], &out->nics[i]));
    }
    return translate_host_devices(arena, c, out);
}

/*** the machine ***/

static const char *platform(const struct hv_domain_config *c, const char *key)
{
    for (size_t i = 0; i < c->platform.n; i++)
        if (strcmp(c->platform.v[i].key, key) == 0)
            return c->platform.v[i].value;
    return NULL;
}

/* A yes or no of the platform map; what is not said is left to libxl. */
static void platform_bool(const struct hv_domain_config *c, const char *key, libxl_defbool *out)
{
    const char *v = platform(c, key);

    if (v)
        libxl_defbool_set(out, strcmp(v, "true") == 0 || strcmp(v, "1") == 0);
}

bool config_type(const char *name, libxl_domain_type *out)
{
    if (strcmp(name, "pv") == 0)
        *out = LIBXL_DOMAIN_TYPE_PV;
    else if (strcmp(name, "pvh") == 0 || strcmp(name, "pv_in_pvh") == 0)
        *out = LIBXL_DOMAIN_TYPE_PVH;
    else if (strcmp(name, "hvm") == 0)
        *out = LIBXL_DOMAIN_TYPE_HVM;
    else
        return false;
    return true;
}

static struct error *check(struct arena *arena, const struct hv_domain_config *c,
                           const struct config_options *o, libxl_domain_type type)
{
    const struct strpair files[] = {{"kernel", c->kernel}, {"ramdisk", c->ramdisk}};

    if (c->memory_target < MEMORY_MIN || c->memory_target > c->memory_static_max)
        return error_internal(arena, "memory: target %lld, static-max %lld",
                              (long long)c->memory_target, (long long)c->memory_static_max);
    if (c->vcpus_max > VCPUS_MAX)
        return error_internal(arena, "vCPUs: %d, where there are at most %d", c->vcpus_max,
                              VCPUS_MAX);
    if (c->vcpus < 1 || c->vcpus > c->vcpus_max)
        return error_internal(arena, "vCPUs: %d of at most %d", c->vcpus, c->vcpus_max);
    if (*c->firmware && strcmp(c->firmware, "bios") != 0 && strcmp(c->firmware, "uefi") != 0)
        return error_internal(arena, "unknown firmware '%s'", c->firmware);
    if (o->restoring)
        return OK;
    if (type != LIBXL_DOMAIN_TYPE_HVM && !*c->kernel && !*c->bootloader)
        return error_internal(arena,
                              "a guest of type %s needs a kernel, or a boot loader that finds one "
                              "in its disk",
                              c->type);
    if (*c->bootloader && !c->n_disks)
        return error_new(arena, "BOOTLOADER_FAILED", 2, c->uuid, "the guest has no disk");
    for (size_t i = 0; i < ARRAY_SIZE(files); i++)
        if (*files[i].value && access(files[i].value, R_OK) < 0)
            return error_internal(arena, "%s %s: %s", files[i].key, files[i].value,
                                  strerrordesc_np(errno));
    return OK;
}

static void set_vcpus(libxl_bitmap *map, int max, int online)
{
    map->size = ((uint32_t)max + 7) / 8;
    map->map = xcalloc(map->size, 1);
    for (int i = 0; i < online; i++)
        libxl_bitmap_set(map, i);
}

/*** scheduling ***/

bool config_cpu_mask(const char *text, libxl_bitmap *out)
{
    long cpus[MASK_CPUS_MAX], max = 0;
    size_t n = 0;

    do {
        char *end;

        if (n == MASK_CPUS_MAX)
            return false;
        cpus[n] = strtol(text, &end, 10);
        if (end == text || (*end && *end != ',') || cpus[n] < 0 || cpus[n] >= MASK_CPUS_MAX)
            return false;
        max = MAX(max, cpus[n]);
        n++;
        text = *end ? end + 1 : end;
    } while (*text);
    out->size = (uint32_t)max / 8 + 1;
    out->map = xcalloc(out->size, 1);
    while (n)
        libxl_bitmap_set(out, (int)cpus[--n]);
    return true;
}

static const char *vcpus_param(const struct hv_domain_config *c, const char *key)
{
    for (size_t i = 0; i < c->vcpus_params.n; i++)
        if (strcmp(c->vcpus_params.v[i].key, key) == 0)
            return c->vcpus_params.v[i].value;
    return NULL;
}

static struct error *set_scheduling(struct arena *arena, const struct hv_domain_config *c,
                                    libxl_domain_build_info *b)
{
    const char *weight = vcpus_param(c, "weight"), *cap = vcpus_param(c, "cap"),
               *mask = vcpus_param(c, "mask");

    if (weight)
        b->sched_params.weight = atoi(weight);
    if (cap)
        b->sched_params.cap = atoi(cap);
    if (!mask || !*mask)
        return OK;
    b->vcpu_hard_affinity = xcalloc((size_t)c->vcpus_max, sizeof *b->vcpu_hard_affinity);
    for (; b->num_vcpu_hard_affinity < c->vcpus_max; b->num_vcpu_hard_affinity++)
        if (!config_cpu_mask(mask, &b->vcpu_hard_affinity[b->num_vcpu_hard_affinity]))
            return error_internal(arena, "VCPUs-params: '%s' is no list of processors", mask);
    return OK;
}

/* Guests' vm-data and what their firmware says: libxl writes it with the domain. */
static void set_xenstore_data(const struct hv_domain_config *c, libxl_domain_create_info *info)
{
    size_t n = 0;

    info->xsdata = xcalloc(2 * (c->xenstore_data.n + c->bios_strings.n) + 1, sizeof *info->xsdata);
    for (size_t i = 0; i < c->xenstore_data.n; i++) {
        const char *key = c->xenstore_data.v[i].key;

        if (strncmp(key, "vm-data", 7) != 0 || (key[7] && key[7] != '/') || strstr(key, "//"))
            continue;
        info->xsdata[n++] = xstrdup(key);
        info->xsdata[n++] = xstrdup(c->xenstore_data.v[i].value);
    }
    /* The firmware reads these. */
    for (size_t i = 0; i < c->bios_strings.n; i++) {
        info->xsdata[n++] = xasprintf("bios-strings/%s", c->bios_strings.v[i].key);
        info->xsdata[n++] = xstrdup(c->bios_strings.v[i].value);
    }
}

static struct error *set_tsc(struct arena *arena, const struct hv_domain_config *c,
                             libxl_domain_build_info *b)
{
    const char *mode = platform(c, "tsc_mode");

    if (!mode || !*mode)
        return OK;
    if (mode[0] >= '0' && mode[0] <= '3' && !mode[1])
        b->tsc_mode = (libxl_tsc_mode)(mode[0] - '0');
    else if (libxl_tsc_mode_from_string(mode, &b->tsc_mode))
        return error_internal(arena, "platform: tsc_mode '%s'", mode);
    return OK;
}

const char *config_vnc_path(struct arena *arena, const char *dir, const char *uuid)
{
    return arena_printf(arena, "%s/%s.vnc", dir, uuid);
}

static void set_hvm(struct arena *arena, const struct hv_domain_config *c,
                    const struct config_options *o, libxl_domain_build_info *b)
{
    const char *vga = platform(c, "vga"), *ram = platform(c, "videoram");
    const char *offset = platform(c, "timeoffset");
    long video = ram ? strtol(ram, NULL, 10) : 0;

    b->device_model_version = LIBXL_DEVICE_MODEL_VERSION_QEMU_XEN;
    b->u.hvm.bios =
        strcmp(c->firmware, "uefi") == 0 ? LIBXL_BIOS_TYPE_OVMF : LIBXL_BIOS_TYPE_SEABIOS;
    b->u.hvm.boot = xstrdup(*c->boot_order ? c->boot_order : "cd");
    b->u.hvm.serial = xstrdup("pty");
    b->u.hvm.vga.kind = vga && strcmp(vga, "cirrus") == 0 ? LIBXL_VGA_INTERFACE_TYPE_CIRRUS
                                                          : LIBXL_VGA_INTERFACE_TYPE_STD;
    if (video > 0 && video <= 256)
        b->video_memkb = (uint64_t)MAX(video, 16) * 1024;
    b->u.hvm.timeoffset = offset ? xstrdup(offset) : NULL;
    libxl_defbool_set(&b->u.hvm.vnc.enable, true);
    libxl_defbool_set(&b->u.hvm.vnc.findunused, false);
    b->u.hvm.vnc.listen = xasprintf("unix:%s", config_vnc_path(arena, o->dir, c->uuid));
    libxl_defbool_set(&b->u.hvm.usb, true);
    b->u.hvm.usbdevice = xstrdup("tablet"); /* a pointer that is where the viewer's is */
    platform_bool(c, "acpi", &b->acpi);
    platform_bool(c, "apic", &b->apic);
    platform_bool(c, "pae", &b->u.hvm.pae);
    platform_bool(c, "nx", &b->u.hvm.nx);
    platform_bool(c, "hpet", &b->u.hvm.hpet);
    platform_bool(c, "viridian", &b->u.hvm.viridian);
    platform_bool(c, "nested-virt", &b->nested_hvm);
}

static void set_build(const struct hv_domain_config *c, libxl_domain_build_info *b)
{
    b->max_vcpus = c->vcpus_max;
    set_vcpus(&b->avail_vcpus, c->vcpus_max, c->vcpus);
    b->max_memkb = (uint64_t)c->memory_static_max / 1024;
    b->target_memkb = (uint64_t)c->memory_target / 1024;
    if (b->type == LIBXL_DOMAIN_TYPE_PV)
        b->shadow_memkb = 0;
    else if (c->shadow_memory)
        b->shadow_memkb = (uint64_t)c->shadow_memory / 1024;
    else
        b->shadow_memkb = libxl_get_required_shadow_memory(b->max_memkb, (unsigned)b->max_vcpus);
    b->kernel = *c->kernel ? xstrdup(c->kernel) : NULL;
    b->ramdisk = *c->ramdisk ? xstrdup(c->ramdisk) : NULL;
    b->cmdline = *c->cmdline ? xstrdup(c->cmdline) : NULL;
}

/*
 * Where the words of a feature set are found by a guest.  Only what is taken away is said: a guest
 * that may have all there is gets libxl's own choice.
 */
static bool set_processor(const struct hv_domain_config *c, const struct config_options *o,
                          libxl_domain_build_info *b)
{
    static const char *const registers[] = {
        "0x1:edx",        "0x1:ecx",     "0x80000001:edx", "0x80000001:ecx",
        "0xd,0x1:eax",    "0x7,0x0:ebx", "0x7,0x0:ecx",    "0x80000007:edx",
        "0x80000008:ebx", "0x7,0x0:edx", "0x7,0x1:eax",    "0x80000021:eax",
    };
    const char *wanted = c->cpu_features ? c->cpu_features : "";
    const char *host = o->cpu_features ? o->cpu_features : "";
    bool good = true;

    for (size_t i = 0; *wanted && *host && i < ARRAY_SIZE(registers); i++) {
        uint32_t less = featureset_next(&host) & ~featureset_next(&wanted);
        char line[64];
        int n = snprintf(line, sizeof line, "%s=", registers[i]);

        for (int k = 31; k >= 0; k--)
            line[n++] = less >> k & 1 ? '0' : 'x';
        line[n] = '\0';
        if (less)
            good &= libxl_cpuid_parse_config_xend(&b->cpuid, line) == 0;
    }
    return good;
}

static void set_bootloader(struct arena *arena, const struct hv_domain_config *c,
                           libxl_domain_build_info *b)
{
    char *words = arena_strdup(arena, c->bootloader_args), *rest;
    size_t n = 0;

    if (!*c->bootloader)
        return;
    b->bootloader = xstrdup(c->bootloader);
    b->bootloader_args = xcalloc(strlen(words) / 2 + 2, sizeof *b->bootloader_args);
    for (char *w = strtok_r(words, " ", &rest); w; w = strtok_r(NULL, " ", &rest))
        b->bootloader_args[n++] = xstrdup(w);
}

struct error *config_translate(struct arena *arena, const struct hv_domain_config *c,
                               const struct config_options *o, libxl_domain_config *out)
{
    libxl_domain_type type;

    libxl_domain_config_init(out);
    if (!uuid_from_text(c->uuid, libxl_uuid_bytearray(&out->c_info.uuid)))
        return error_internal(arena, "'%s' is no uuid", c->uuid);
    if (!config_type(c->type, &type))
        return error_internal(arena, "unknown type '%s'", c->type);
    TRY(check(arena, c, o, type));
    out->c_info.type = type;
    /* libxl wants names to be unique, the XenAPI does not; it gets its name afterwards. */
    out->c_info.name = xstrdup(c->uuid);
    set_xenstore_data(c, &out->c_info);
    libxl_domain_build_info_init_type(&out->b_info, type);
    set_build(c, &out->b_info);
    if (!o->restoring)
        set_bootloader(arena, c, &out->b_info);
    if (!set_processor(c, o, &out->b_info))
        return error_internal(arena, "libxl does not take the processor's features '%s'",
                              c->cpu_features);
    TRY(set_scheduling(arena, c, &out->b_info));
    TRY(set_tsc(arena, c, &out->b_info));
    if (type == LIBXL_DOMAIN_TYPE_HVM)
        set_hvm(arena, c, o, &out->b_info);
    if (strcmp(c->type, "pv_in_pvh") == 0)
        libxl_defbool_set(&out->b_info.u.pvh.pvshim, true);
    /* What ends waits for whoever asked for it. */
    out->on_poweroff = out->on_reboot = out->on_crash = out->on_watchdog =
        LIBXL_ACTION_ON_SHUTDOWN_PRESERVE;
    return translate_devices(arena, c, o, out);
}
