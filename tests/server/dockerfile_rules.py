"""Rules for Dockerfiles, after those of hadolint (DL and SC numbers) where it has them; ours alone are named in words."""

from __future__ import annotations

import fnmatch
import json
import re
import shlex
from pathlib import Path

Instruction = tuple[str, str]


def instructions(text: str) -> list[Instruction]:
    """Name and arguments of each, lines put together, comments left out."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n", " ", "\n".join(lines))
    found = []
    for line in filter(None, map(str.strip, joined.splitlines())):
        name, _, rest = line.partition(" ")
        found.append((name.upper(), rest.strip()))
    return found


def problems(text: str, *, context: Path, ignored: str) -> list[str]:
    """What is wrong with a Dockerfile.

    Args:
        text: its content.
        context: folder that it is built from.
        ignored: content of its `.dockerignore`, as a list of what is let in: `*`, then `!path` lines.
    """
    all_of = instructions(text)
    found = [problem for name, rest in all_of for problem in _of_one(name, rest)]
    users = [rest for name, rest in all_of if name == "USER"]
    if not users or not re.fullmatch(r"[1-9]\d*(:[1-9]\d*)?", users[-1]):
        found.append("DL3002 last USER is root, or has no number")
    if not any(name == "HEALTHCHECK" and "CMD" in rest for name, rest in all_of):
        found.append("DL3057 no HEALTHCHECK")
    for name, rest in all_of:
        if name == "COPY":
            found += [problem for source in shlex.split(rest)[:-1] for problem in _of_source(source, context, ignored)]
    return found


def _of_one(name: str, rest: str) -> list[str]:
    if name == "FROM":
        return _of_from(rest)
    if name == "RUN":
        return [*_of_apt(rest), *_of_pip(rest)]
    if name == "ADD":
        return ["DL3020 ADD in place of COPY"]
    if name == "WORKDIR" and not rest.startswith("/"):
        return ["DL3000 WORKDIR is not absolute"]
    if name in ("CMD", "ENTRYPOINT"):
        return [] if _is_exec(rest) else [f"DL3025 {name} is not in JSON form"]
    if name == "HEALTHCHECK" and not _is_exec(rest.partition("CMD")[2].strip()):
        return ["DL3025 HEALTHCHECK is not in JSON form"]
    if name in ("ENV", "ARG") and re.search(r"(?i)(token|secret|passw|_key\b|credential)", rest):
        return [f"{name} holds a secret"]
    return []


def _of_from(rest: str) -> list[str]:
    image = re.sub(r"\$\{\w+\}", "", rest.split()[0])
    tag = image.partition("@")[0].rpartition("/")[2].partition(":")[2]
    if "@sha256:" in image:
        return []
    if not tag:
        return ["DL3006 image without tag"]
    if tag == "latest":
        return ["DL3007 tag latest"]
    return [] if re.match(r"\d+\.\d+\.\d+", tag) else ["image with a tag that moves"]


def _of_apt(rest: str) -> list[str]:
    commands = [shlex.split(command) for command in re.split(r"&&|;|\|\|", rest)]
    installs = [words for words in commands if words[:2] == ["apt-get", "install"]]
    found = ["DL3027 apt in place of apt-get" for words in commands if words[:1] == ["apt"]]
    for words in installs:
        found += [] if "-y" in words else ["DL3014 apt-get install without -y"]
        found += [] if "--no-install-recommends" in words else ["DL3015 without --no-install-recommends"]
        packages = [word for word in words[2:] if not word.startswith("-")]
        found += [f"DL3008 {package} has no version" for package in packages if "=" not in package]
    if installs and ["apt-get", "update"] not in commands:
        found.append("SC apt-get update is in another layer")
    if installs and ["rm", "-rf", "/var/lib/apt/lists/*"] not in commands:
        found.append("DL3009 lists of apt-get are left in the layer")
    return found


def _of_pip(rest: str) -> list[str]:
    found = []
    for command in re.split(r"&&|;|\|\|", rest):
        words = shlex.split(command)
        if "pip" not in words or "install" not in words:
            continue
        after = words[words.index("install") + 1 :]
        found += [] if "--no-cache-dir" in after else ["DL3042 pip without --no-cache-dir"]
        loose = [word for word in after if not word.startswith("-") and "==" not in word]
        if loose and "--require-hashes" not in after:
            found.append("DL3013 pip without versions or hashes")
    return found


def _of_source(source: str, context: Path, ignored: str) -> list[str]:
    if source.startswith("--"):
        return []
    if not (context / source).exists():
        return [f"COPY of {source}, which is not there"]
    let_in = [line[1:] for line in ignored.splitlines() if line.startswith("!")]
    inside = any(fnmatch.fnmatch(source, pattern) or source.startswith(f"{pattern}/") for pattern in let_in)
    return [] if inside else [f"COPY of {source}, which .dockerignore leaves out"]


def _is_exec(rest: str) -> bool:
    try:
        words = json.loads(rest)
    except ValueError:
        return False
    return isinstance(words, list) and all(isinstance(word, str) for word in words)
