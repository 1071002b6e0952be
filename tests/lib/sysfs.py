# SPDX-License-Identifier: LGPL-2.1-or-later
"""sysfs.py -- a folder that looks like sysfs: the devices of a simulated host, <state>/sysfs."""

import os
import shutil

PCI = {"class": "030000", "vendor": "10de", "device": "13f2", "subsystem_vendor": "10de", "subsystem_device": "113a"}
USB = {"idVendor": "046d", "idProduct": "0825", "manufacturer": "Maker", "product": "Camera", "serial": "", "version": " 2.00",
       "speed": "480", "busnum": "1", "devnum": "5", "bDeviceClass": "00"}


def _write(folder, name, text):
    with open(os.path.join(folder, name), "w") as f:
        f.write(text + "\n")


def pci(root, slot, driver="", physfn="", **files):
    """A PCI function; 'driver' is bound to it in the control domain."""
    folder = os.path.join(root, "bus/pci/devices", slot)
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)
    for name, value in {**PCI, **files}.items():
        _write(folder, name, value if name == "boot_vga" else "0x" + value)
    if driver:
        os.symlink("../../drivers/" + driver, os.path.join(folder, "driver"))
    if physfn:
        os.symlink("../" + physfn, os.path.join(folder, "physfn"))


def usb(root, path, interface="", **files):
    """A USB device; 'interface' is "class.subclass" of its only one."""
    folder = os.path.join(root, "bus/usb/devices", path)
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)
    for name, value in {**USB, **files}.items():
        _write(folder, name, value)
    if interface:
        inner = os.path.join(folder, path + ":1.0")
        os.mkdir(inner)
        _write(inner, "bInterfaceClass", interface.split(".")[0])
        _write(inner, "bInterfaceSubClass", interface.split(".")[1])


def gone(root, name):
    for kind in ("pci", "usb"):
        shutil.rmtree(os.path.join(root, "bus", kind, "devices", name), ignore_errors=True)


def command(root, words):
    """["pci", "0000:04:00.0", "driver=pciback"], ["usb", "1-2"] or ["gone", "1-2"]."""
    {"pci": pci, "usb": usb, "gone": gone}[words[0]](root, words[1], **dict(w.split("=", 1) for w in words[2:]))
