"""Damage and forgery, systematically: of a bundle's files and of its documents.

A bundle is a mapping from path to content here; a mutation gives its name and a changed copy, or acts on the folder.
"""

from __future__ import annotations

import copy
import io
import json
import os
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

Files = dict[str, bytes]
FLIPS_PER_FILE = 16
WRONG_VALUES: tuple[Any, ...] = (None, True, -1, 1e999, "nonsense", [], {}, [[]])


def read_files(folder: Path) -> Files:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def write_files(files: Files, folder: Path) -> Path:
    for path, data in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
    return folder


def flipped(data: bytes, position: int, bit: int) -> bytes:
    changed = bytearray(data)
    changed[position] ^= bit
    return bytes(changed)


def content_mutations(files: Files) -> Iterator[tuple[str, Files]]:
    """Bytes flipped, cut off, added, and whole files taken away, emptied or swapped, in every file."""
    for path, data in files.items():
        for position in np.linspace(0, len(data) - 1, FLIPS_PER_FILE).astype(int):
            for bit in (0x01, 0x20, 0x80):
                yield f"{path}: bit {bit:#x} of byte {position}", {**files, path: flipped(data, int(position), bit)}
        for length in (0, 1, len(data) // 2, len(data) - 1):
            yield f"{path}: cut to {length} bytes", {**files, path: data[:length]}
        yield f"{path}: a byte more", {**files, path: data + b"\n"}
        yield f"{path}: a space in front", {**files, path: b" " + data}
        yield f"{path}: removed", {other: kept for other, kept in files.items() if other != path}
    paths = sorted(files)
    for first, second in zip(paths, paths[1:] + paths[:1], strict=True):
        yield f"{first} and {second} swapped", {**files, first: files[second], second: files[first]}
    for extra in ("note.txt", "golden/99.png", "golden/deep/er.npz", "conftest.py", "manifest.json.part"):
        yield f"{extra} added", {**files, extra: b"extra"}


def folder_mutations(paths: list[str]) -> Iterator[tuple[str, Callable[[Path], None]]]:
    """Every file replaced by something that is no plain file, and by a link to its own content."""

    def as_link(folder: Path, path: str) -> None:
        outside = folder.parent / "outside"
        (folder / path).rename(outside)
        (folder / path).symlink_to(outside)

    def as_folder(folder: Path, path: str) -> None:
        (folder / path).unlink()
        (folder / path).mkdir()

    def as_pipe(folder: Path, path: str) -> None:
        (folder / path).unlink()
        os.mkfifo(folder / path)

    def as_device_link(folder: Path, path: str) -> None:
        (folder / path).unlink()
        (folder / path).symlink_to("/dev/zero")

    for path in paths:
        for change in (as_link, as_folder, as_pipe, as_device_link):
            yield f"{path} {change.__name__}", lambda folder, change=change, path=path: change(folder, path)

    def linked_folder(folder: Path) -> None:
        (folder / "golden").rename(folder.parent / "elsewhere")
        (folder / "golden").symlink_to(folder.parent / "elsewhere", target_is_directory=True)

    yield "golden is a link to a folder", linked_folder
    yield "an empty folder added", lambda folder: (folder / "empty").mkdir()
    yield "a link added", lambda folder: (folder / "extra").symlink_to("/etc/passwd")


def document_mutations(document: Any) -> Iterator[tuple[str, str]]:
    """JSON texts: every key removed, misspelt, given twice and of every wrong type, and texts that are no such document."""
    text = json.dumps(document)
    for where in _places(document):
        removed = copy.deepcopy(document)
        parent, last = _parent(removed, where)
        old = parent[last]
        if isinstance(parent, dict):
            del parent[last]
            yield f"{where} removed", json.dumps(removed)
            parent[f"{last}x"] = old
            yield f"{where} misspelt", json.dumps(removed)
            del parent[f"{last}x"]
        for wrong in WRONG_VALUES:
            if type(wrong) is not type(old) or isinstance(wrong, bool):
                parent[last] = wrong
                yield f"{where} = {wrong!r}", json.dumps(removed)
    yield "not JSON", text[:-1]
    yield "NaN", text.replace(": 1", ": NaN", 1)
    yield "a key twice", '{"name": "x", ' + text[1:]
    yield "nested too deep", '{"provenance": ' + "[" * 100_000 + "]" * 100_000 + "}"
    yield "a number of 10000 digits", '{"version": ' + "9" * 10_000 + "}"
    yield "a list", "[]"
    yield "a byte order mark", "\ufeff" + text


def manifest_mutations(manifest: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Texts of manifests that are well formed and say what must not be."""

    def changed(change: Callable[[dict[str, Any]], object]) -> str:
        draft = copy.deepcopy(manifest)
        change(draft)
        return json.dumps(draft)

    paths = ("/etc/passwd", "../model.onnx", "golden/../../x", "./model.onnx", "a//b", "", ".", "..", "C:\\x", "a\\b")
    paths += ("a:b", "manifest.json", "MANIFEST.JSON", "signature.json", "manifest.json/x", "a\nb", "a\0b", "x" * 5000)
    for path in paths:
        yield f"path {path[:20]!r}", changed(lambda m, path=path: m["files"][0].update(path=path))
    for version in (0, 2, -1, 10**30):
        yield f"schema {version}", changed(lambda m, version=version: m.update(schema_version=version))
    yield "file listed twice", changed(lambda m: m["files"].append(m["files"][0]))
    yield "one file, two cases", changed(lambda m: m["files"].append({**m["files"][0], "path": "MODEL_FP32.ONNX"}))
    yield "file that is a folder", changed(lambda m: m["files"].append({**m["files"][0], "path": "golden"}))
    yield "no model", changed(lambda m: m.update(files=m["files"][1:]))
    yield "no files", changed(lambda m: m.update(files=[]))
    yield "huge file", changed(lambda m: m["files"][0].update(size_bytes=10**18))
    yield "size one too small", changed(lambda m: m["files"][0].update(size_bytes=m["files"][0]["size_bytes"] - 1))
    yield "wrong SHA-256", changed(lambda m: m["files"][0].update(sha256="0" * 64))
    yield "SHA-256 in capitals", changed(lambda m: m["files"][0].update(sha256=m["files"][0]["sha256"].upper()))
    yield "pickle format", changed(lambda m: m["files"][0].update(format="pickle"))
    yield "python path", changed(lambda m: m["postprocess"].update(kind="os.system"))
    yield "labels twice", changed(lambda m: m.update(labels=["a", "a"]))
    yield "empty name", changed(lambda m: m.update(name=""))
    yield "name with a path", changed(lambda m: m.update(name="../x"))
    yield "input of no pixels", changed(lambda m: m["preprocess"].update(size_hw=[0, 0]))
    yield "50000 unknown keys", changed(lambda m: m.update({f"k{i}": i for i in range(50_000)}))
    yield (
        "50000 files missing",
        changed(lambda m: m["files"].extend({**m["files"][0], "path": f"f{i}"} for i in range(50_000))),
    )


def golden_mutations(files: Files) -> Iterator[tuple[str, str, bytes]]:
    """Golden files that are not what they claim, to be listed with their right checksums: name, path, content."""
    arrays = dict(np.load(io.BytesIO(files["golden/00.npz"])))
    objects = np.array([{"a": 1}], dtype=object)
    for name in arrays:
        yield f"pickle in {name}", "golden/00.npz", _npz({**arrays, name: objects})
        yield f"{name} missing", "golden/00.npz", _npz({other: kept for other, kept in arrays.items() if other != name})
        yield f"{name} as text", "golden/00.npz", _npz({**arrays, name: np.array(["text"])})
        yield f"{name} of another rank", "golden/00.npz", _npz({**arrays, name: arrays[name][None, None]})
        if arrays[name].dtype == np.float32 and arrays[name].size:
            holed = arrays[name].copy()
            holed.flat[0] = np.nan
            yield f"NaN in {name}", "golden/00.npz", _npz({**arrays, name: holed})
    yield "unknown output", "golden/00.npz", _npz({**arrays, "output/extra": arrays["input"].astype(np.float32)})
    yield "unknown prediction field", "golden/00.npz", _npz({**arrays, "prediction/extra": arrays["input"]})
    yield "bare pickle", "golden/00.npz", b"\x80\x04K\x01."
    yield "no zip", "golden/00.npz", b"not a zip file"
    yield "zip bomb", "golden/00.npz", _zip_bomb(files["golden/00.npz"])
    yield "lying array header", "golden/00.npz", _huge_array()
    yield (
        "picture of 2e9 pixels",
        "golden/00.png",
        files["golden/00.png"][:16] + b"\0\0\xb0\0" * 2 + files["golden/00.png"][24:],
    )
    yield "truncated picture", "golden/00.png", files["golden/00.png"][:-8]
    yield "picture is text", "golden/00.png", b"hello"
    document = json.loads(files["golden/golden.json"])
    for name, text in document_mutations(document):
        yield f"golden.json: {name}", "golden/golden.json", text.encode("utf-8")
    for image in ("../manifest.json", "/etc/passwd", "a/b.png", "..", "missing.png"):
        document["items"][0]["image"] = image
        yield f"golden image {image}", "golden/golden.json", json.dumps(document).encode("utf-8")


def zip_of(files: Files) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def _npz(arrays: dict[str, Any]) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def _zip_bomb(npz: bytes) -> bytes:
    """The same arrays, and one that says it is 4 GB long."""
    buffer = io.BytesIO(npz)
    with zipfile.ZipFile(buffer, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb.npy", b"\0" * 1000)
    data = bytearray(buffer.getvalue())
    entry = data.rindex(b"PK\x01\x02")
    data[entry + 24 : entry + 28] = (0xFFFFFFF0).to_bytes(4, "little")
    return bytes(data)


def _huge_array() -> bytes:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": (10**13,)})
    return zip_of({"input.npy": header.getvalue()})


def _places(value: Any, prefix: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in items:
        yield (*prefix, key)
        yield from _places(child, (*prefix, key))


def _parent(document: Any, where: tuple[Any, ...]) -> tuple[Any, Any]:
    for key in where[:-1]:
        document = document[key]
    return document, where[-1]
