# SPDX-License-Identifier: LGPL-2.1-or-later
"""images.py -- disks and CDs for guests, small enough to be made here: boot sectors, ISO 9660 with and without El Torito."""

import struct

SECTOR, CD_SECTOR = 512, 2048
# Text colours as grounds: what a program has painted is seen in the middle of its screen.
BLUE, GREEN, RED = 0x1F, 0x2F, 0x4F
RGB = {BLUE: (0, 0, 168), GREEN: (0, 168, 0), RED: (168, 0, 0)}


def boot_sector(text, colour):
    """A boot sector that paints the screen in one colour, prints a text, waits for a key, and then boots once again."""
    code = bytes.fromhex("31c08ed88ec08ed0bc007cfb"  # all segments 0, the stack below
                         "b80300cd10"  # text mode, 80 x 25
                         f"b80006b7{colour:02x}31c9ba4f18cd10"  # the screen, cleared in this colour
                         "be407c"  # the text
                         "ac84c07409b40ebb0700cd10ebf2"  # each character by the BIOS, up to the zero
                         "31c0cd16cd19"  # a key; what the boot order says next
                         "f4ebfd")
    return (code.ljust(0x40, b"\x90") + text.encode() + b"\0").ljust(SECTOR - 2, b"\0") + b"\x55\xaa"


def boot_disk(text, colour, size=1 << 20):
    return boot_sector(text, colour).ljust(size, b"\0")


def _both(n, form):
    return struct.pack("<" + form, n) + struct.pack(">" + form, n)


def iso(volume, boot=None, size=1 << 20):
    """A CD image with a volume name and an empty folder; 'boot': a sector that the BIOS starts from it."""
    sectors = size // CD_SECTOR
    root = bytes([34, 0]) + _both(21, "I") + _both(CD_SECTOR, "I") + bytes(7) + b"\2" + bytes(2) + _both(1, "H") + b"\1\0"
    primary = (b"\1CD001\1\0" + b" " * 32 + volume.encode().ljust(32) + bytes(8) + _both(sectors, "I") + bytes(32) + _both(1, "H") +
               _both(1, "H") + _both(CD_SECTOR, "H") + _both(10, "I") + struct.pack("<II", 22, 0) + struct.pack(">II", 22, 0) +
               root + b" " * 623 + b"0" * 16 + b"\0" + b"0" * 16 + b"\0" + b"0" * 16 + b"\0" + b"0" * 16 + b"\0" + b"\1\0")
    image = bytearray(size)

    def put(sector, data):
        image[sector * CD_SECTOR:sector * CD_SECTOR + len(data)] = data
    put(16, primary)
    put(18, b"\xffCD001\1")
    entry = root[:32] + b"\1"
    put(21, root + entry + b"\1")
    put(22, b"\1\0" + struct.pack("<IH", 21, 1) + b"\0\0")
    if boot:
        put(17, b"\0CD001\1EL TORITO SPECIFICATION".ljust(71, b"\0") + struct.pack("<I", 19))
        validation = bytearray(b"\1".ljust(30, b"\0") + b"\x55\xaa")
        total = sum(struct.unpack("<16H", validation)) & 0xFFFF
        struct.pack_into("<H", validation, 28, -total & 0xFFFF)
        put(19, bytes(validation) + struct.pack("<BBHBBHI", 0x88, 0, 0, 0, 0, 4, 20).ljust(32, b"\0"))
        put(20, boot)
    else:
        put(17, b"\xffCD001\1")
    return bytes(image)
