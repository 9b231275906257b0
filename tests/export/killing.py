"""A program that does one piece of work again and again in copies of itself, each killed (-9) one step later than the last.

`python killing.py JOB OLD FOLDER` prints one line of JSON for each killed copy. A step is a call of Python to the file system,
seen by an audit hook, so every state that the disk can be left in between two calls is reached; `moments` kills by the clock
instead, also inside a call.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cvforge.export import folder as export_folder
from cvforge.export.folder import put_back_old, whole_folder
from cvforge.export.sign import SigningKey, sign_bundle
from cvforge_edge.archive import pack_bundle, unpack_bundle
from cvforge_edge.bundle import open_bundle, open_bundle_to_sign
from cvforge_edge.trust import TrustStore
from edge.conftest import build_bundle
from edge.signing import private_key, trusting

KEY = SigningKey("team-a", private_key(1))
TRUST = trusting(private_key(1))
CHANGES = ("os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.chmod", "os.truncate", "os.link")
MAX_STEPS = 500
MOMENTS = 12


@dataclass(frozen=True)
class Job:
    """What is killed.

    Attributes:
        run: does the work in a folder.
        state: says what is at its place now, and raises if that is not whole.
        prepare: fills the folder before.
    """

    run: Callable[[Path], None]
    state: Callable[[Path], str]
    prepare: Callable[[Path], None]


def main() -> None:
    name, old, moments, place = sys.argv[1], sys.argv[2], sys.argv[3] == "moments", Path(sys.argv[4])
    job = {"replace": replacing, "export": exporting, "unpack": unpacking, "pack": packing, "sign": signing}[name](
        place / "material", old
    )
    if name == "replace" and old.endswith("without exchange"):
        export_folder._exchange = lambda first, second: False
    work = place / "work"
    duration_s = whole_duration_s(job, work) if moments else 0.0
    known: set[tuple[str, ...]] = set()
    for number in range(1, (MOMENTS if moments else MAX_STEPS) + 1):
        renew(job, work)
        event = killed_at(job, work, duration_s * number / MOMENTS) if moments else killed_before(job, work, number)
        if event is None and not moments:
            return
        state, left = job.state(work), left_overs(work)
        line = {"event": event, "state": state, "left": left, "after": None, "names": None}
        if (state, *left) not in known:
            known.add((state, *left))
            job.run(work)
            line |= {"after": job.state(work), "names": sorted(entry.name for entry in work.iterdir())}
        sys.stdout.write(json.dumps(line) + "\n")
        sys.stdout.flush()  # or the next copy of this process would have it too
    if not moments:
        raise SystemExit(f"not done after {MAX_STEPS} steps")


def renew(job: Job, work: Path) -> None:
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    job.prepare(work)


def left_overs(work: Path) -> list[str]:
    """What lies beside the place, without the numbers of processes."""
    return sorted("".join(c for c in path.name if not c.isdigit()) for path in work.iterdir())


def killed_before(job: Job, work: Path, step: int) -> str | None:
    """Run the job in a copy of this process that is killed before its step; the step's name, or None if it ended first."""
    receive, send = os.pipe()
    child = os.fork()
    if child == 0:
        sys.addaudithook(Killer(step, work, send))
        job.run(work)
        os._exit(0)
    os.close(send)
    with os.fdopen(receive, encoding="utf-8") as pipe:
        event = pipe.read()
    return event if was_killed(child) else None


def killed_at(job: Job, work: Path, moment_s: float) -> str | None:
    """The same, killed by the clock."""
    child = os.fork()
    if child == 0:
        job.run(work)
        os._exit(0)
    time.sleep(moment_s)
    os.kill(child, signal.SIGKILL)
    return f"after {moment_s:.2f} s" if was_killed(child) else None


def whole_duration_s(job: Job, work: Path) -> float:
    renew(job, work)
    started = time.monotonic()
    child = os.fork()
    if child == 0:
        job.run(work)
        os._exit(0)
    assert not was_killed(child)
    return time.monotonic() - started


def was_killed(child: int) -> bool:
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return True
    assert os.WEXITSTATUS(status) == 0, "the job failed by itself"
    return False


class Killer:
    """An audit hook that counts calls to the file system and kills the process before one of them."""

    def __init__(self, step: int, work: Path, send: int) -> None:
        self.left, self.work, self.send = step, str(work), send

    def __call__(self, event: str, arguments: tuple) -> None:
        opened = event == "open" and isinstance(arguments[0], (str, bytes)) and self.work in os.fsdecode(arguments[0])
        if not opened and event not in CHANGES:
            return
        self.left -= 1
        if self.left == 0:
            os.write(self.send, f"{event} {arguments[0]}".encode())
            os.kill(os.getpid(), signal.SIGKILL)


def bundle_state(trust: TrustStore | None) -> Callable[[Path], str]:
    def state(work: Path) -> str:
        target = work / "bundle"
        if not target.exists():
            put_back_old(target)  # what the next export does first
            if target.exists():
                return "put back " + state(work)
            return "absent"
        bundle = open_bundle(target, trust=trust) if trust is not None else open_bundle_to_sign(target)
        return f"version {bundle.manifest.version}"

    return state


def copying(source: Path | None) -> Callable[[Path], None]:
    def prepare(work: Path) -> None:
        if source is not None:
            shutil.copytree(source, work / "bundle")

    return prepare


def two_versions(material: Path, *, signed: bool) -> tuple[Path, Path]:
    from dataclasses import replace

    from cvforge_edge.manifest import read_manifest, write_manifest

    material.mkdir(parents=True)
    folders = []
    for version in (1, 2):
        folder = build_bundle(material / f"v{version}", "classifier", formats=("onnx",), golden=True)
        write_manifest(replace(read_manifest(folder), version=version), folder)
        if signed:
            sign_bundle(open_bundle_to_sign(folder), [KEY], replace=False)
        folders.append(folder)
    return folders[0], folders[1]


def replacing(material: Path, old: str) -> Job:
    """The last part of an export: a draft becomes the bundle."""
    first, second = two_versions(material, signed=False)

    def run(work: Path) -> None:
        with whole_folder(work / "bundle", replace=True) as draft:
            shutil.copytree(second, draft, dirs_exist_ok=True)

    return Job(run, bundle_state(None), copying(None if old == "none" else first))


def unpacking(material: Path, old: str) -> Job:
    _, second = two_versions(material, signed=True)
    archive = pack_bundle(open_bundle(second), material / "b.tar")

    def run(work: Path) -> None:
        shutil.rmtree(work / "bundle", ignore_errors=True)  # unpacking never replaces; only after a kill is there one
        unpack_bundle(archive, work / "bundle", trust=TRUST)

    return Job(run, bundle_state(TRUST), copying(None))


def packing(material: Path, old: str) -> Job:
    _, second = two_versions(material, signed=True)

    def run(work: Path) -> None:
        (work / "b.tar").unlink(missing_ok=True)
        pack_bundle(open_bundle(second), work / "b.tar")

    def state(work: Path) -> str:
        if not (work / "b.tar").exists():
            return "absent"
        bundle = unpack_bundle(work / "b.tar", work.parent / "unpacked", trust=TRUST)
        shutil.rmtree(bundle.folder)
        return f"version {bundle.manifest.version}"

    return Job(run, state, lambda work: None)


def signing(material: Path, old: str) -> Job:
    """A second key signs a bundle that is signed already; devices trust both."""
    first, _ = two_versions(material, signed=True)
    second_key = SigningKey("team-b", private_key(2))
    both = TrustStore((*TRUST.keys, *trusting(private_key(2), name="second").keys), "keys")

    def run(work: Path) -> None:
        sign_bundle(open_bundle_to_sign(work / "bundle"), [KEY, second_key], replace=True)

    def state(work: Path) -> str:
        return f"{len(open_bundle(work / 'bundle', trust=both).signers)} signatures"

    return Job(run, state, copying(first))


def exporting(material: Path, old: str) -> Job:
    """What tools/export.py calls, on a file that was converted once: scored, tested, signed, written, and its page."""
    import torch

    from cvforge.export.beside import write_beside
    from cvforge.export.bundle import write_bundle
    from cvforge.export.source import Source, file_name, network_source
    from cvforge.export.torch_backend import TorchBackend
    from cvforge_edge.types import Task
    from export.tiny import quiet_stages, tiny_net, tiny_plan, tiny_scoring

    torch.set_num_threads(1)
    net = tiny_net(Task.CLASSIFICATION)
    plans = [
        tiny_plan(Task.CLASSIFICATION, precisions=("fp32",), golden_images=1, version=version) for version in (1, 2)
    ]
    material.mkdir(parents=True)
    network_source(net).write(material, material, plans[0], quiet_stages)
    converted = (material / file_name("onnx", "fp32")).read_bytes()

    def write(draft: Path, *_: object) -> dict[str, Path]:
        (draft / file_name("onnx", "fp32")).write_bytes(converted)
        return {}

    def export(target: Path, version: int) -> None:
        report = write_bundle(
            Source(TorchBackend(net), write),
            tiny_scoring(Task.CLASSIFICATION),
            plans[version - 1],
            target=target,
            replace_existing=True,
            stages=quiet_stages,
            keys=[KEY] if old == "signed" else [],
        )
        write_beside(report, measure=False, stages=quiet_stages)

    export(material / "old", 1)
    return Job(
        lambda work: export(work / "bundle", 2),
        bundle_state(TRUST if old == "signed" else None),
        copying(None if old == "none" else material / "old"),
    )


if __name__ == "__main__":
    main()
