"""Golden vectors: real images with what the trained network made of them, written by the exporter, replayed by devices.

The folder `golden` of a bundle holds for each image `NN.png` (the original image, lossless) and `NN.npz` with
- `input`: (height, width, 3) uint8, what preprocessing must make of the image;
- `output/<role>`: float32, raw output of the fp32 checkpoint, without batch axis;
- `prediction/<field>`: the fields of the expected `Detections`, `ClassScores` or `SegmentationMap`;

and one `golden.json`:
```
{"schema_version": 1,
 "items": [{"image": "00.png", "arrays": "00.npz"}, ...],
 "tolerances": {"fp32": {"input_steps": 1, "output_max": 0.001, "output_mean": 0.0002,
                         "score": 0.005, "box_iou": 0.95, "unmatched": 0.0}, ...}}
```
with one entry for each precision in the bundle; `Tolerance` explains the numbers. Where the model gives an embedding, an entry
has `embedding` too.
"""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cvforge_edge.errors import BundleError, ImageError, SpecError
from cvforge_edge.image_io import PNG_START, read_image, write_image
from cvforge_edge.manifest import PRECISIONS
from cvforge_edge.records import dataclass
from cvforge_edge.strict_json import Fields, format_json, parse_strict
from cvforge_edge.tolerance import Tolerance as Tolerance
from cvforge_edge.tolerance import read_tolerances
from cvforge_edge.types import ClassScores, Detections, Prediction, SegmentationMap, Task

if TYPE_CHECKING:
    import numpy.typing as npt

GOLDEN_FOLDER = "golden"
GOLDEN_NAME = "golden.json"
GOLDEN_SCHEMA_VERSION = 1
MAX_ITEM_BYTES = 512 * 1024 * 1024
MAX_ITEM_ARRAYS = 64
MAX_PICTURE_PIXELS = 100_000_000
_PNG_SIZE = slice(16, 24)
_DAMAGE = (
    OSError,
    ValueError,
    KeyError,
    TypeError,
    EOFError,
    MemoryError,
    RuntimeError,
    NotImplementedError,
    zipfile.BadZipFile,
    zlib.error,
)
"""What zipfile and numpy raise at a damaged, encrypted or lying file."""
PREDICTION_TYPES: dict[Task, type[Any]] = {
    Task.CLASSIFICATION: ClassScores,
    Task.DETECTION: Detections,
    Task.SEGMENTATION: SegmentationMap,
}


@dataclass(frozen=True, eq=False)
class GoldenItem:
    """One image and what must come of it.

    Attributes:
        image_bgr: (h, w, 3) uint8, the original image.
        input_u8: (height, width, 3) uint8, the prepared image.
        outputs: role -> raw output of the fp32 checkpoint, float32, without batch axis.
        prediction: what the manifest's postprocess makes of these outputs.
    """

    image_bgr: npt.NDArray[np.uint8]
    input_u8: npt.NDArray[np.uint8]
    outputs: Mapping[str, npt.NDArray[Any]]
    prediction: Prediction


@dataclass(frozen=True, eq=False)
class Golden:
    """The golden vectors of a bundle.

    Attributes:
        items: at least one.
        tolerances: precision -> how far a device may be off.
    """

    items: tuple[GoldenItem, ...]
    tolerances: Mapping[str, Tolerance]


def write_golden(folder: Path | str, items: Sequence[GoldenItem], tolerances: Mapping[str, Tolerance]) -> list[str]:
    """Write golden vectors into a new folder; the same vectors give the same bytes.

    Args:
        folder: the folder `golden` of a bundle; it is created.
        items: at least one image.
        tolerances: one for each precision in the bundle.

    Returns:
        Names of the files written, relative to `folder`.

    Raises:
        SpecError: no items, no tolerances, or a tolerance for an unknown precision.
    """
    unknown = sorted(set(tolerances) - set(PRECISIONS))
    if not items or not tolerances or unknown:
        raise SpecError(
            f"golden vectors: found {len(items)} items and tolerances for {', '.join(tolerances) or 'nothing'}; "
            f"expected at least one item and one tolerance, for {', '.join(PRECISIONS)}"
        )
    folder = Path(folder)
    folder.mkdir(parents=True)
    entries = []
    for index, item in enumerate(items):
        entry = {"image": f"{index:02d}.png", "arrays": f"{index:02d}.npz"}
        write_image(folder / entry["image"], item.image_bgr)
        np.savez_compressed(folder / entry["arrays"], **_arrays(item))  # type: ignore[arg-type]
        entries.append(entry)
    document = {
        "schema_version": GOLDEN_SCHEMA_VERSION,
        "items": entries,
        "tolerances": {precision: tolerance.to_value() for precision, tolerance in tolerances.items()},
    }
    (folder / GOLDEN_NAME).write_text(format_json(document), encoding="utf-8", newline="\n")
    return [name for entry in entries for name in entry.values()] + [GOLDEN_NAME]


def read_golden(folder: Path | str, *, task: Task) -> Golden:
    """The golden vectors in the folder `golden` of a bundle.

    Raises:
        BundleError: the folder is missing, incomplete, or written for another version or task.
    """
    folder = Path(folder)
    entries, tolerances = _read_index(folder)
    return Golden(tuple(_read_item(folder, entry, task=task) for entry in entries), tolerances)


def read_golden_image(folder: Path | str) -> npt.NDArray[np.uint8]:
    """The first image (h, w, 3) uint8 BGR in the folder `golden` of a bundle, and nothing else of it.

    Raises:
        BundleError: as `read_golden`.
    """
    entries, _ = _read_index(Path(folder))
    return _read_picture(Path(folder) / entries[0]["image"])


def _read_index(folder: Path) -> tuple[list[dict[str, str]], dict[str, Tolerance]]:
    path = folder / GOLDEN_NAME
    try:
        value = parse_strict(path.read_bytes().decode("utf-8"))
    except FileNotFoundError:
        raise BundleError(f"{path}: not found; this bundle has no golden vectors, export it again") from None
    except (OSError, ValueError) as error:
        raise BundleError(f"{path}: cannot be read: {error}; export the bundle again") from None
    return _read_document(value, where=str(path))


def _arrays(item: GoldenItem) -> dict[str, npt.NDArray[Any]]:
    arrays: dict[str, npt.NDArray[Any]] = {"input": item.input_u8}
    for role, output in item.outputs.items():
        arrays[f"output/{role}"] = np.asarray(output, np.float32)
    for name, value in vars(item.prediction).items():
        if value is not None:
            arrays[f"prediction/{name}"] = value
    return arrays


def _read_document(value: Any, *, where: str) -> tuple[list[dict[str, str]], dict[str, Tolerance]]:
    problems: list[str] = []
    top = Fields(value, key="", problems=problems)
    version = top.integer("schema_version", low=1)
    if version is not None and version != GOLDEN_SCHEMA_VERSION:
        problems.append(f"schema_version: found {version}, accepted {GOLDEN_SCHEMA_VERSION}")
    entries = []
    for item in top.objects("items") or ():
        entry = {name: item.text(name) or "" for name in ("image", "arrays")}
        problems += [
            f"{item.path(name)}: found {file!r}, accepted a plain file name"
            for name, file in entry.items()
            if _is_path(file)
        ]
        item.finish()
        entries.append(entry)
    if not entries:
        problems.append("items: expected at least one")
    tolerances = read_tolerances(top.object("tolerances"))
    top.finish()
    if problems:
        raise BundleError(f"{where}: {'; '.join(problems)}; export the bundle again")
    return entries, tolerances


def _read_item(folder: Path, entry: dict[str, str], *, task: Task) -> GoldenItem:
    path = folder / entry["arrays"]
    try:
        arrays = _read_arrays(path)
        found = {name.partition("/")[2]: array for name, array in arrays.items() if name.startswith("prediction/")}
        prediction = PREDICTION_TYPES[task](**found)
        outputs = {name.partition("/")[2]: array for name, array in arrays.items() if name.startswith("output/")}
        input_u8 = arrays["input"]
    except _DAMAGE as error:
        raise BundleError(
            f"{path}: no golden vector of task {task.value!r} ({error}); export the bundle again"
        ) from None
    return GoldenItem(_read_picture(folder / entry["image"]), input_u8, outputs, prediction)


def _read_arrays(path: Path) -> dict[str, npt.NDArray[Any]]:
    """The arrays of an `.npz` file: never a pickle, and no more bytes than a golden vector can have.

    A zip file promises the length of its parts, and Python's reader gives no more than that.
    """
    with zipfile.ZipFile(path) as archive:
        parts = archive.infolist()
        size = sum(part.file_size for part in parts)
        if size > MAX_ITEM_BYTES or len(parts) > MAX_ITEM_ARRAYS:
            raise ValueError(
                f"{len(parts)} arrays of {size} bytes together; at most {MAX_ITEM_ARRAYS} of {MAX_ITEM_BYTES}"
            )
        return {
            part.filename.removesuffix(".npy"): np.lib.format.read_array(
                io.BytesIO(archive.read(part)), allow_pickle=False
            )
            for part in parts
        }


def _read_picture(path: Path) -> npt.NDArray[np.uint8]:
    """A golden image; how many pixels it claims is looked at before they are decoded. Source: PNG specification, 11.2.2."""
    try:
        with path.open("rb") as file:
            header = file.read(_PNG_SIZE.stop)
        pixels = int.from_bytes(header[_PNG_SIZE][:4], "big") * int.from_bytes(header[_PNG_SIZE][4:], "big")
        if header.startswith(PNG_START) and pixels > MAX_PICTURE_PIXELS:
            raise ImageError(f"{path}: claims {pixels} pixels; at most {MAX_PICTURE_PIXELS} are accepted")
        return read_image(path)
    except (OSError, ImageError) as error:
        raise BundleError(f"{error}; export the bundle again") from None


def _is_path(name: str) -> bool:
    return name in ("", ".", "..") or any(mark in name for mark in "/\\:")
