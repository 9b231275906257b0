"""Damage and forgery of a bundle's archive, block by block and member by member."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator

from cvforge_edge.tar_format import tar_header
from edge.mutations import Files, flipped, zip_of


def archive_mutations(data: bytes, files: Files) -> Iterator[tuple[str, bytes]]:
    """Archives: every block touched, lengths changed, and what an attacker or another program would make of a bundle."""
    for block in range(0, len(data), 512):
        for offset in (0, 107, 124, 148, 156, 265, 300, 500):
            yield f"bit of byte {block + offset}", flipped(data, block + offset, 0x01)
    for length in (0, 1, 511, 512, 1024, len(data) // 2, len(data) - 1024, len(data) - 512, len(data) - 1):
        yield f"cut to {length}", data[:length]
    yield "a block more", data + bytes(512)
    yield "another archive behind", data + data
    for mode in ("w:gz", "w:bz2", "w:xz", "w"):
        yield f"tarfile {mode}", _foreign_tar(files, mode)
    yield "zip", zip_of(files)
    members = _members(files)
    for path in ("../evil", "/tmp/evil", "golden/../../evil", "manifest.json", "model_fp32.onnx"):
        yield f"member {path} more", _tar([*members, (tar_header(path, 0), b"")])
        if path != "model_fp32.onnx":
            yield f"model renamed {path}", _tar(_replaced(members, tar_header(path, len(files["model_fp32.onnx"]))))
    for kind in TAR_KINDS:
        yield (
            f"model is of type {kind}",
            _tar(_replaced(members, _with(_model_header(files), 156, kind, b"/etc/passwd"))),
        )
    for size in (2**33 - 1, 2**30):
        yield f"manifest of {size} bytes", tar_header("manifest.json", size) + data[512:]
        yield f"model of {size} bytes", _tar(_replaced(members, tar_header("model_fp32.onnx", size)))
    for offset, value in ((100, b"0004755"), (108, b"0001750"), (136, b"00000000001"), (265, b"root"), (124, b"\x80")):
        yield f"field at {offset}", _tar(_replaced(members, _with(_model_header(files), offset, value)))
    yield "two members exchanged", _tar([*members[:-2], members[-1], members[-2]])
    yield "a member twice", _tar([*members, members[-1]])
    yield "a member missing", _tar(members[:-1])
    yield "only the manifest", _tar(members[:1])
    yield "hidden bytes behind a file", data[:-1025] + b"x" + data[-1024:]


TAR_KINDS = tuple(kind.encode("ascii") for kind in "123456SLKxgA")


def _members(files: Files) -> list[tuple[bytes, bytes]]:
    head = [name for name in ("manifest.json", "signature.json") if name in files]
    return [(tar_header(name, len(files[name])), files[name]) for name in [*head, *sorted(set(files) - set(head))]]


def _model_header(files: Files) -> bytes:
    return tar_header("model_fp32.onnx", len(files["model_fp32.onnx"]))


def _replaced(members: list[tuple[bytes, bytes]], header: bytes) -> list[tuple[bytes, bytes]]:
    """The members with another header for the model."""
    return [(header if old.startswith(b"model_fp32.onnx") else old, data) for old, data in members]


def _with(header: bytes, offset: int, value: bytes, link: bytes = b"") -> bytes:
    """A header with some bytes changed and a right checksum."""
    changed = bytearray(header)
    changed[offset : offset + len(value)] = value
    changed[157 : 157 + len(link)] = link
    changed[148:156] = b" " * 8
    changed[148:156] = b"%06o\0 " % sum(changed)
    return bytes(changed)


def _tar(members: list[tuple[bytes, bytes]]) -> bytes:
    return b"".join(header + data + bytes(-len(data) % 512) for header, data in members) + bytes(1024)


def _foreign_tar(files: Files, mode: str) -> bytes:
    """What Python's tarfile makes of the files: other headers, other padding."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return buffer.getvalue()
