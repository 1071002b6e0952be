# SPDX-License-Identifier: LGPL-2.1-or-later
"""vhd.py -- footers of VHD images, made by hand."""

import struct


def _sum(data):
    return ~sum(data) & 0xFFFFFFFF


def footer(size, kind=2, damage=None):
    """Of a fixed one (2); 'damage': the byte that is changed under the checksum."""
    def made(total):
        return struct.pack(">8sIIQI4sIIQQHBBII16sB427x", b"conectix", 2, 0x10000, (1 << 64) - 1, 0, b"test", 1, 0, size, size,
                           1, 1, 1, kind, total, bytes(range(16)), 0)
    data = bytearray(made(_sum(made(0))))
    if damage is not None:
        data[damage] ^= 1
    return bytes(data)
