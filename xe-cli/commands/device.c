/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* device.c -- commands on GPUs, USB devices, PCI devices and TPMs. */
#include "xe-cli/commands/commands.h"

/* clang-format off */
static const struct xe_command rows[] = {
    ROW("vgpu-create", .required = "vm-uuid gpu-group-uuid", .optional = "vgpu-type-uuid device",
        .message = "VGPU.create",
        .args = "VM=vm-uuid GPU_group=gpu-group-uuid device=device?0 type=vgpu-type-uuid",
        .show = SHOW_UUID),
    ROW("vgpu-destroy", .required = "uuid", .message = "VGPU.destroy", .args = "self=uuid"),
    ROW("gpu-group-create", .required = "name-label", .optional = "name-description",
        .message = "GPU_group.create",
        .args = "name_label=name-label name_description=name-description", .show = SHOW_UUID),
    ROW("gpu-group-destroy", .required = "uuid", .message = "GPU_group.destroy",
        .args = "self=uuid"),
    ROW("gpu-group-get-remaining-capacity", .required = "uuid vgpu-type-uuid",
        .message = "GPU_group.get_remaining_capacity",
        .args = "self=uuid vgpu_type=vgpu-type-uuid", .show = SHOW_MESSAGE),
    ROW("pgpu-enable-dom0-access", .required = "uuid", .message = "PGPU.enable_dom0_access",
        .args = "self=uuid", .show = SHOW_MESSAGE),
    ROW("pgpu-disable-dom0-access", .required = "uuid", .message = "PGPU.disable_dom0_access",
        .args = "self=uuid", .show = SHOW_MESSAGE),
    ROW("pci-enable-dom0-access", .required = "uuid", .message = "PCI.enable_dom0_access",
        .args = "self=uuid", .show = SHOW_MESSAGE),
    ROW("pci-disable-dom0-access", .required = "uuid", .message = "PCI.disable_dom0_access",
        .args = "self=uuid", .show = SHOW_MESSAGE),
    ROW("pci-get-dom0-access-status", .required = "uuid", .message = "PCI.get_dom0_access_status",
        .args = "self=uuid", .show = SHOW_MESSAGE),
    ROW("pusb-scan", .required = "host-uuid", .message = "PUSB.scan", .args = "host=host-uuid"),
    ROW("vusb-create", .required = "usb-group-uuid vm-uuid", .message = "VUSB.create",
        .args = "VM=vm-uuid USB_group=usb-group-uuid", .show = SHOW_UUID),
    ROW("vusb-unplug", .required = "uuid", .message = "VUSB.unplug", .args = "self=uuid"),
    ROW("vusb-destroy", .required = "uuid", .message = "VUSB.destroy", .args = "self=uuid"),
    ROW("vtpm-create", .required = "vm-uuid", .optional = "is-unique", .message = "VTPM.create",
        .args = "vM=vm-uuid is_unique=is-unique", .show = SHOW_UUID),
    ROW("vtpm-destroy", .required = "uuid", .optional = "force", .flags = XE_FORCED,
        .message = "VTPM.destroy", .args = "self=uuid"),
};
/* clang-format on */

const struct xe_commands xe_device_commands = {rows, ARRAY_SIZE(rows)};
