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


def _header(image):
    assert image[:8] == b"conectix" and image[512:520] == b"cxsparse", image[:8]
    return struct.unpack(">8sQQIIII16sII512s", image[512:512 + 576])


def parent(image):
    """The name of what it is a difference of."""
    return _header(image)[10].decode("utf-16-be").rstrip("\0").removesuffix(".vhd")


def upon(image, base):
    """The content of a differencing one: the sectors that it has, and else those of the base."""
    _, _, table, _, entries, block, *_ = _header(image)
    out = bytearray(base)
    n = block // 512
    for i in range(entries):
        at, = struct.unpack(">I", image[table + 4 * i:table + 4 * i + 4])
        bits = image[at * 512:at * 512 + n // 8]
        for k in range(n if at != 0xFFFFFFFF else 0):
            to = i * block + k * 512
            if bits[k // 8] >> (7 - k % 8) & 1 and to < len(out):
                begin = at * 512 + -(-n // 8 // 512) * 512 + k * 512
                out[to:to + 512] = image[begin:begin + 512]
    return bytes(out)
