/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xapid/boot/templates.h"

#include <string.h>

#include <openssl/sha.h>

#include "libxapi/value/value.h"
#include "xapid/db/row.h"

#define MIB ((int64_t)1 << 20)
#define GIB ((int64_t)1 << 30)
/* Older clients know this one template by its uuid. */
#define OTHER_UUID "552bce37-51b2-445d-84f2-5f33fa112d7e"

#define WINDOWS(label, name, memory, disk)                                                         \
    {                                                                                              \
        label, name, TEMPLATE_WINDOWS, memory, disk, 2, false, false                               \
    }
#define WINDOWS_UEFI(label, name, memory, disk, vtpm)                                              \
    {                                                                                              \
        label, name, TEMPLATE_WINDOWS, memory, disk, 2, true, vtpm                                 \
    }
#define LINUX_BIOS(label, name, memory, disk)                                                      \
    {                                                                                              \
        label, name, TEMPLATE_LINUX_BIOS, memory, disk, 1, false, false                            \
    }
#define LINUX_UEFI(label, name, memory, disk)                                                      \
    {                                                                                              \
        label, name, TEMPLATE_LINUX_UEFI, memory, disk, 1, false, false                            \
    }

const struct template_desc default_templates[] = {
    {"other-install-media", "Other install media", TEMPLATE_OTHER, 128, 0, 1, false, false},

    WINDOWS("windows-10-64bit", "Windows 10 (64-bit)", 2048, 32),
    WINDOWS_UEFI("windows-11", "Windows 11", 4096, 64, true),
    WINDOWS("windows-server-2016-64bit", "Windows Server 2016 (64-bit)", 1024, 32),
    WINDOWS("windows-server-2019-64bit", "Windows Server 2019 (64-bit)", 1024, 32),
    WINDOWS("windows-server-2022-64bit", "Windows Server 2022 (64-bit)", 1024, 32),
    WINDOWS_UEFI("windows-server-2025", "Windows Server 2025", 2048, 64, false),

    LINUX_BIOS("debian-10", "Debian Buster 10", 512, 10),
    LINUX_BIOS("debian-11", "Debian Bullseye 11", 512, 10),
    LINUX_UEFI("debian-12", "Debian Bookworm 12", 1024, 10),
    LINUX_UEFI("debian-13", "Debian Trixie 13", 1024, 10),
    LINUX_BIOS("ubuntu-20.04", "Ubuntu Focal Fossa 20.04", 512, 10),
    LINUX_UEFI("ubuntu-22.04", "Ubuntu Jammy Jellyfish 22.04", 1024, 10),
    LINUX_UEFI("ubuntu-24.04", "Ubuntu Noble Numbat 24.04", 1024, 10),

    LINUX_BIOS("rhel-7", "Red Hat Enterprise Linux 7", 2048, 10),
    LINUX_UEFI("rhel-8", "Red Hat Enterprise Linux 8", 2048, 10),
    LINUX_UEFI("rhel-9", "Red Hat Enterprise Linux 9", 2048, 10),
    LINUX_UEFI("rhel-10", "Red Hat Enterprise Linux 10", 2048, 10),
    LINUX_BIOS("centos-7", "CentOS 7", 2048, 10),
    LINUX_UEFI("centos-stream-8", "CentOS Stream 8", 2048, 10),
    LINUX_BIOS("centos-9", "CentOS Stream 9", 2048, 10),
    LINUX_UEFI("centos-10", "CentOS Stream 10", 2048, 10),
    LINUX_UEFI("almalinux-8", "AlmaLinux 8", 2048, 10),
    LINUX_UEFI("almalinux-9", "AlmaLinux 9", 2048, 10),
    LINUX_UEFI("almalinux-10", "AlmaLinux 10", 2048, 10),
    LINUX_UEFI("rocky-8", "Rocky Linux 8", 2048, 10),
    LINUX_UEFI("rocky-9", "Rocky Linux 9", 2048, 15),
    LINUX_UEFI("rocky-10", "Rocky Linux 10", 2048, 15),
    LINUX_BIOS("oel-7", "Oracle Linux 7", 2048, 10),
    {"oel-8", "Oracle Linux 8", TEMPLATE_LINUX_UEFI, 2048, 10, 2, false, false},
    {"oel-9", "Oracle Linux 9", TEMPLATE_LINUX_UEFI, 2048, 10, 2, false, false},
    {"oel-10", "Oracle Linux 10", TEMPLATE_LINUX_UEFI, 2048, 10, 2, false, false},
    LINUX_BIOS("sl-7", "Scientific Linux 7", 2048, 10),

    LINUX_UEFI("sle-15-64bit", "SUSE Linux Enterprise 15 (64-bit)", 1024, 8),
    LINUX_BIOS("sles-12-sp5-64bit", "SUSE Linux Enterprise Server 12 SP5 (64-bit)", 1024, 8),
    LINUX_BIOS("gooroom-2", "Gooroom Platform 2.0", 1024, 8),
    LINUX_BIOS("kylin-7", "NeoKylin Linux Server 7", 1024, 8),
    LINUX_UEFI("kylin-server-6-64bit", "Kylin Server 6 (64-bit)", 1024, 8),

    LINUX_BIOS("generic-linux-bios", "Generic Linux BIOS", 1024, 10),
    LINUX_UEFI("generic-linux-uefi", "Generic Linux UEFI", 1024, 10),
    {NULL, NULL, TEMPLATE_OTHER, 0, 0, 0, false, false},
};

/*** identity ***/

/* A uuid that follows from a text, of the form RFC 9562 keeps for such (version 8). */
static const char *uuid_of(struct arena *arena, const char *what, const char *label)
{
    const char *text = arena_printf(arena, "xapid %s %s", what, label);
    uint8_t digest[SHA256_DIGEST_LENGTH];
    char uuid[UUID_TEXT_SIZE];

    SHA256((const uint8_t *)text, strlen(text), digest);
    digest[6] = (uint8_t)((digest[6] & 0x0f) | 0x80);
    digest[8] = (uint8_t)((digest[8] & 0x3f) | 0x80);
    return arena_strdup(arena, uuid_to_text(digest, uuid));
}

const char *template_uuid(struct arena *arena, const struct template_desc *t)
{
    if (t->base == TEMPLATE_OTHER)
        return OTHER_UUID;
    return uuid_of(arena, "template", t->label);
}

/*** limits, as XML for clients ***/

static bool has_bios(const struct template_desc *t)
{
    return !t->uefi_only && t->base != TEMPLATE_LINUX_UEFI;
}

static bool has_uefi(const struct template_desc *t)
{
    return t->base != TEMPLATE_LINUX_BIOS;
}

static void field(struct buf *b, const char *name, const char *attribute, int64_t value)
{
    buf_printf(b, "<restriction field=\"%s\" %s=\"%lld\"/>", name, attribute, (long long)value);
}

static void answer(struct buf *b, const char *name, bool yes)
{
    buf_printf(b, "<restriction field=\"%s\" value=\"%s\"/>", name, yes ? "yes" : "no");
}

static const char *recommendations(struct arena *arena, const struct template_desc *t)
{
    struct buf b = {0};
    const char *text;

    buf_puts(&b, "<restrictions>");
    field(&b, "memory-static-max", "max", (t->base == TEMPLATE_OTHER ? 128 : 1536) * GIB);
    if (t->base == TEMPLATE_WINDOWS)
        field(&b, "vcpus-min", "min", 2);
    field(&b, "vcpus-max", "max", 64);
    if (t->base == TEMPLATE_WINDOWS)
        buf_puts(&b, "<restriction field=\"has-vendor-device\" value=\"true\"/>");
    field(&b, "allow-gpu-passthrough", "value", 1);
    field(&b, "allow-vgpu", "value", 1);
    field(&b, "allow-network-sriov", "value", 1);
    answer(&b, "supports-bios", has_bios(t));
    answer(&b, "supports-uefi", has_uefi(t));
    answer(&b, "supports-secure-boot", has_uefi(t));
    buf_puts(&b, "<restriction property=\"number-of-vbds\" max=\"255\"/>");
    buf_puts(&b, "<restriction property=\"number-of-vifs\" max=\"7\"/>");
    buf_puts(&b, "</restrictions>");
    text = arena_strndup(arena, b.data, b.len);
    buf_release(&b);
    return text;
}

static const char *disks(struct arena *arena, const struct template_desc *t)
{
    return arena_printf(arena,
                        "<provision><disk device=\"0\" size=\"%lld\" sr=\"\" bootable=\"%s\" "
                        "type=\"system\"/></provision>",
                        (long long)(t->disk_gib * GIB),
                        t->base == TEMPLATE_WINDOWS ? "false" : "true");
}

/*** maps ***/

static struct strmap platform(struct arena *arena, const struct template_desc *t)
{
    static const struct strpair common[] = {
        {"nx", "true"}, {"acpi", "1"}, {"apic", "true"}, {"pae", "true"}, {"hpet", "true"}};
    static const struct strpair linux_keys[] = {
        {"vga", "std"}, {"videoram", "8"}, {"viridian", "false"}, {"device_id", "0001"}};
    static const struct strpair windows_keys[] = {
        {"vga", "std"},
        {"videoram", "8"},
        {"device_id", "0002"},
        {"cores-per-socket", "2"},
        {"viridian", "true"},
        {"viridian_time_ref_count", "true"},
        {"viridian_reference_tsc", "true"},
        {"viridian_apic_assist", "true"},
        {"viridian_crash_ctl", "true"},
        {"viridian_stimer", "true"},
    };
    struct strmap more = {ARRAY_SIZE(linux_keys), linux_keys};
    struct strmap map = {ARRAY_SIZE(common), common};

    if (t->base == TEMPLATE_OTHER) {
        map = strmap_with(arena, map, "viridian", "true");
        return strmap_with(arena, map, "secureboot", "false");
    }
    if (t->base == TEMPLATE_WINDOWS)
        more = (struct strmap){ARRAY_SIZE(windows_keys), windows_keys};
    for (size_t i = 0; i < more.n; i++)
        map = strmap_with(arena, map, more.v[i].key, more.v[i].value);
    if (t->base == TEMPLATE_LINUX_BIOS)
        map = strmap_with(arena, map, "device-model", "qemu-upstream-compat");
    if (t->vtpm)
        map = strmap_with(arena, map, "vtpm", "true");
    return strmap_with(arena, map, "secureboot", t->base == TEMPLATE_LINUX_BIOS ? "false" : "auto");
}

static struct strmap boot_params(struct arena *arena, const struct template_desc *t)
{
    bool uefi = t->base == TEMPLATE_LINUX_UEFI || t->base == TEMPLATE_WINDOWS;
    bool from_net = t->base == TEMPLATE_LINUX_UEFI || t->base == TEMPLATE_LINUX_BIOS;
    struct strmap map = {0};

    map = strmap_with(arena, map, "firmware", uefi ? "uefi" : "bios");
    return strmap_with(arena, map, "order", from_net ? "cdn" : "cd");
}

static struct strmap other_config(struct arena *arena, const struct template_desc *t)
{
    bool is_linux = t->base == TEMPLATE_LINUX_BIOS || t->base == TEMPLATE_LINUX_UEFI;
    struct strmap map = {0};

    map = strmap_with(arena, map, "default_template", "true");
    map = strmap_with(arena, map, "mac_seed", uuid_of(arena, "mac seed", t->label));
    map = strmap_with(arena, map, "install-methods", is_linux ? "cdrom,nfs,http,ftp" : "cdrom");
    if (is_linux)
        map = strmap_with(arena, map, "linux_template", "true");
    if (t->disk_gib)
        map = strmap_with(arena, map, "disks", disks(arena, t));
    return map;
}

static const char *description(struct arena *arena, const struct template_desc *t)
{
    if (t->base == TEMPLATE_OTHER)
        return "Template for an operating system that has none of its own: nothing is assumed of "
               "it, and the machine starts without a disk.";
    return arena_printf(arena, "Template for %s, installed from %s.", t->name,
                        t->base == TEMPLATE_WINDOWS ? "a CD image" : "a CD image or the network");
}

/*** rows ***/

void template_row(struct arena *arena, const struct template_desc *t, struct vm *out)
{
    row_defaults(&api_classes[CLASS_vm], out);
    out->uuid = template_uuid(arena, t);
    out->name_label = t->name;
    out->name_description = description(arena, t);
    out->reference_label = t->label;
    out->power_state = VM_HALTED;
    out->user_version = 1;
    out->is_a_template = true;
    out->is_default_template = true;
    out->memory_static_min = t->memory_mib * MIB;
    out->memory_static_max = 2 * out->memory_static_min;
    out->memory_dynamic_min = out->memory_static_max;
    out->memory_dynamic_max = out->memory_static_max;
    out->vcpus_max = t->vcpus;
    out->vcpus_at_startup = t->vcpus;
    out->actions_after_shutdown = ON_EXIT_DESTROY;
    out->actions_after_reboot = ON_EXIT_RESTART;
    out->actions_after_crash = ON_CRASH_RESTART;
    out->hvm_boot_policy = "BIOS order";
    out->hvm_boot_params = boot_params(arena, t);
    out->platform = platform(arena, t);
    out->other_config = other_config(arena, t);
    out->recommendations = recommendations(arena, t);
    out->domid = -1;
    out->generation_id = t->base == TEMPLATE_WINDOWS ? "0:0" : "";
    out->has_vendor_device = false;
}

static bool is_present(struct txn *txn, const char *uuid)
{
    struct refs rows = txn_referrers(txn, FIELD_vm_uuid, index_key_string(uuid));

    return rows.n > 0;
}

struct error *txn_templates_add(struct txn *txn)
{
    for (const struct template_desc *t = default_templates; t->label; t++) {
        struct vm row;

        if (is_present(txn, template_uuid(txn_arena(txn), t)))
            continue;
        template_row(txn_arena(txn), t, &row);
        row.ref = ref_new();
        txn_create(txn, CLASS_vm, &row);
    }
    return OK;
}
