# SPDX-License-Identifier: LGPL-2.1-or-later
"""vmdk.py -- VMDK images made by hand: sparse(), stream(); and what can be changed in them."""

import struct
import zlib

SECTOR = 512
PER_TABLE = 512
NEWLINES, COPY, ZEROED, COMPRESSED, MARKERS = 1, 2, 4, 1 << 16, 1 << 17
AT_END = (1 << 64) - 1
END, TABLE, DIRECTORY, FOOTER = range(4)


def description(kind="monolithicSparse", parent="ffffffff", extents='RW 1 SPARSE "a.vmdk"'):
    return f'# Disk DescriptorFile\nversion=1\nCID=12345678\nparentCID={parent}\ncreateType="{kind}"\n\n# Extent description\n{extents}\n'.encode()


def header(capacity, grain=128, flags=NEWLINES, version=1, directory=21, grains=128, compression=0, **changed):
    """All in sectors."""
    fields = {"magic": 0x564D444B, "version": version, "flags": flags, "capacity": capacity, "grain": grain, "description": 1,
              "description_size": 20, "per_table": PER_TABLE, "copy": 0, "directory": directory, "grains": grains, "unclean": 0,
              "newlines": b"\n \r\n", "compression": compression}
    fields.update({k: v for k, v in changed.items() if k in fields})
    return struct.pack("<IIIQQQQIQQQB4sH433x", *fields.values())


def _padded(data, n=SECTOR):
    return data + bytes(-len(data) % n)


def _grains(data, size):
    """{number: bytes} of those that are not zero."""
    pieces = {i // size: data[i:i + size] for i in range(0, len(data), size)}
    return {n: piece + bytes(size - len(piece)) for n, piece in pieces.items() if any(piece)}


def sparse(data, grain=128, order=None, tables_backwards=False, change_tables=None, text=None, **changed):
    """Directory, tables, grains in the order of 'order' (a sort key of their numbers)."""
    capacity = len(data) // SECTOR
    pieces = _grains(data, grain * SECTOR)
    n_tables = -(-capacity // (grain * PER_TABLE))
    directory_sectors = -(-n_tables * 4 // SECTOR)
    first_table = 21 + directory_sectors
    begin = -(-(first_table + 4 * n_tables) // grain) * grain
    tables = [0] * (n_tables * PER_TABLE)
    numbers = sorted(pieces, key=order)
    for place, number in enumerate(numbers):
        tables[number] = begin + place * grain
    if change_tables:
        change_tables(tables)
    places = [first_table + 4 * i for i in range(n_tables)]
    if tables_backwards:
        places.reverse()
    out = bytearray(begin * SECTOR)
    out[:SECTOR] = header(**{"capacity": capacity, "grain": grain, "grains": begin, **changed})
    words = description() if text is None else text
    out[SECTOR:SECTOR + len(words)] = words
    struct.pack_into(f"<{n_tables}I", out, 21 * SECTOR, *places)
    for i, place in enumerate(places):
        struct.pack_into(f"<{PER_TABLE}I", out, place * SECTOR, *tables[i * PER_TABLE:(i + 1) * PER_TABLE])
    return bytes(out) + b"".join(pieces[n] for n in numbers)


def marked_grain(sector, plain, size=None, packed=None):
    packed = zlib.compress(plain) if packed is None else packed
    return _padded(struct.pack("<QI", sector, len(packed) if size is None else size) + packed)


def marker(kind, sectors=0):
    return _padded(struct.pack("<QII", sectors, 0, kind))


def stream(data, grain=128, begin=128, footer=True, end=True, extra=b"", **changed):
    """As VMware writes them: the tables behind what they are about, the directory, a copy of the header, the end."""
    capacity = len(data) // SECTOR
    flags = NEWLINES | COMPRESSED | MARKERS
    head = header(**{"capacity": capacity, "grain": grain, "flags": flags, "version": 3, "directory": AT_END, "grains": begin, "compression": 1, **changed})
    out = bytearray(_padded(head + description("streamOptimized"), begin * SECTOR))
    pieces = _grains(data, grain * SECTOR)
    directory = []
    for first in range(0, -(-capacity // grain), PER_TABLE):
        table = [0] * PER_TABLE
        for n in range(first, first + PER_TABLE):
            if n in pieces:
                table[n - first] = len(out) // SECTOR
                out += marked_grain(n * grain, pieces[n])
        out += marker(TABLE, 4)
        directory.append(len(out) // SECTOR if any(table) else 0)
        out += struct.pack(f"<{PER_TABLE}I", *table)
    out += extra
    words = _padded(struct.pack(f"<{len(directory)}I", *directory))
    out += marker(DIRECTORY, len(words) // SECTOR)
    place = len(out) // SECTOR
    out += words
    if footer:
        out += marker(FOOTER, 1) + header(capacity, grain, flags=flags, version=3, directory=place, compression=1)
    return bytes(out + marker(END)) if end else bytes(out)
