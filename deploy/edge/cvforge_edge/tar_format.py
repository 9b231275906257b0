"""The one form of a tar header that archives of bundles have: a plain file, its name and its size, nothing else.

Python's own tarfile writes headers that differ between its versions, and reads links, devices, sparse files and extended
headers. Here a header is accepted only when it is byte for byte the one that would be written for the expected file.
"""

from __future__ import annotations

import struct

BLOCK_BYTES = 512
MAX_MEMBER_BYTES = 8**11 - 1
END = bytes(2 * BLOCK_BYTES)
_LAYOUT = struct.Struct("100s8s8s8s12s12s8s1s100s6s2s32s32s8s8s155s12x")
_CHECKSUM = slice(148, 156)
_NAME_BYTES, _PREFIX_BYTES = 100, 155
_KINDS = {
    b"1": "a hard link",
    b"2": "a symbolic link",
    b"3": "a character device",
    b"4": "a block device",
    b"5": "a folder",
    b"6": "a pipe",
    b"S": "a sparse file",
    b"L": "a GNU extension",
    b"K": "a GNU extension",
    b"x": "an extended header",
    b"g": "an extended header",
}
_PACKED = {b"\x1f\x8b": "gzip", b"PK": "zip", b"BZ": "bzip2", b"\xfd7": "xz", b"\x28\xb5": "zstd"}


def tar_header(path: str, size_bytes: int) -> bytes:
    """The header block of a plain file, the same on every machine: mode 644, owner 0, time 0.

    Source: POSIX.1-2017, pax, "ustar Interchange Format".

    Raises:
        ValueError: the path or the size does not fit into a header.
    """
    if not 0 <= size_bytes <= MAX_MEMBER_BYTES:
        raise ValueError(f"{path}: {size_bytes} bytes do not fit into an archive; at most {MAX_MEMBER_BYTES}")
    prefix, name = _split(path)
    octal = b"%07o\0"
    fields = (name, octal % 0o644, octal % 0, octal % 0, b"%011o\0" % size_bytes, b"%011o\0" % 0, b" " * 8, b"0", b"")
    header = bytearray(_LAYOUT.pack(*fields, b"ustar\0", b"00", b"", b"", octal % 0, octal % 0, prefix))
    header[_CHECKSUM] = b"%06o\0 " % sum(header)
    return bytes(header)


def padding(size_bytes: int) -> int:
    """Zero bytes between the end of a file and the next header."""
    return -size_bytes % BLOCK_BYTES


def header_path(header: bytes) -> str:
    """The path that a header claims, for messages only."""
    values = _LAYOUT.unpack(header)
    prefix, name = (values[index].partition(b"\0")[0].decode("utf-8", "replace") for index in (15, 0))
    return f"{prefix}/{name}" if prefix else name


def header_difference(found: bytes, path: str, size_bytes: int) -> str:
    """Why a header is not that of the expected file, in words."""
    expected = f"expected {path} of {size_bytes} bytes"
    packed = next((name for start, name in _PACKED.items() if found.startswith(start)), None)
    if packed is not None:
        return f"a {packed} file; expected a plain tar as tools/export.py pack writes it"
    if len(found) < BLOCK_BYTES or not found.strip(b"\0"):
        return f"ends early; {expected}"
    values = _LAYOUT.unpack(found)
    if values[9] != b"ustar\0":
        return f"no tar header; {expected}"
    claimed = header_path(found)
    if values[7] in _KINDS:
        return f"{claimed!r} is {_KINDS[values[7]]}; an archive of a bundle holds plain files"
    if claimed != path:
        return f"found {claimed!r}, {expected}; archives hold the files of the manifest, once each, in order"
    declared = values[4].rstrip(b"\0 ").decode("ascii", "replace")
    if values[4] != b"%011o\0" % size_bytes:
        return f"{path!r} is declared with {declared!r} (octal) bytes; {expected}"
    return f"the header of {path!r} is damaged or not in the form that tools/export.py pack writes"


def _split(path: str) -> tuple[bytes, bytes]:
    """Prefix and name: the name takes all it can."""
    data = path.encode("utf-8")
    if len(data) <= _NAME_BYTES:
        return b"", data
    cut = data.find(b"/", len(data) - _NAME_BYTES - 1)
    if not 0 < cut <= _PREFIX_BYTES or cut == len(data) - 1:
        raise ValueError(f"{path}: too long for an archive; at most {_NAME_BYTES} bytes in the last part")
    return data[:cut], data[cut + 1 :]
