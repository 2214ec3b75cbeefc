"""Hostile targets of --out and --overwrite: nothing outside the hidden folder and the target may change."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest import mock

from fuzz.harness import Attempt
from llmrec_peft.artifact.folder import whole_file, whole_folder
from llmrec_peft.artifact.workspace import Workspace
from llmrec_peft.errors import InputError
from llmrec_peft.experiment.resuming import Begun, stored_recipe
from llmrec_peft.experiment.training_folder import held_for_training

MANIFEST = {"format": 2, "version": "0.1.0", "digest": "0" * 64, "base": {}, "files": {"content": "0" * 64}}
ODD_NAMES = (
    *(".", "..", "", "/", "//", "a/..", "a/./b", "target/", "./target", "../place/target", "x" * 200, "x" * 245),
    *("x" * 255, "x" * 256, "x" * 5000, "a\0b", "a\nb", "a\tb", "\x1b[31mred", "[bold]", "é" * 120, "é" * 127),
    *("\udcff\udcfe", "target.training", ".target.training", ".target.new", "..target.new.training", "-rf", "~", "*"),
    *("file/target", "link/target", "dangling/target", "/".join("d" * 50 for _ in range(90))),
    *("/dev/null", "/proc/self/fd/1", "/proc/x", "con", "a b", "$HOME", "{{ x }}", "%s%n"),
)


def attempts(rng: random.Random, folder: Path) -> Iterator[Attempt]:
    """Yield targets in a fresh place each, with a canary beside it whose digest must not change."""
    number = 0
    while True:
        number += 1
        place = folder / f"{number}"
        place.mkdir()
        lies = rng.choice(list(LYING))
        name = "target" if rng.random() < 0.6 else rng.choice(ODD_NAMES)
        left = rng.choice(list(LEFT)) if rng.random() < 0.4 else "nothing"
        act = rng.choice(list(ACTS))
        yield Attempt(
            f"{number}: {act} on {name!r:.40}, where {lies} lies, {left} left",
            _call(place, name, lies, left, act, rng.random()),
        )
        shutil.rmtree(place, ignore_errors=True)


def _call(place: Path, name: str, lies: str, left: str, act: str, draw: float) -> Callable[[], None]:
    def call() -> None:
        inner = place / "place"
        canary = _canary(inner)
        target = inner / "target"
        LYING[lies](target)
        kept = lies not in MAY_GO
        LEFT[left](inner)
        precious = _digest(target) if kept else ""
        before = _digest(canary)
        asked = Path(name) if name.startswith("/") else inner / name if name not in ("", ".", "..") else Path(name)
        try:
            with mock.patch("os.fsync"):  # the disk need not follow
                ACTS[act](asked, draw)
        finally:
            assert _digest(canary) == before, "the canary was touched"
            assert not kept or _digest(target) == precious, "what is no run was replaced"
            assert Path("/dev/null").is_char_device(), "/dev/null was replaced"
            assert (place.parent).is_dir()

    return call


def _canary(inner: Path) -> Path:
    canary = inner / "canary"
    canary.mkdir(parents=True)
    (canary / "thesis.tex").write_text("thesis", encoding="utf-8")
    for hidden in (".target.b.training", ".target.b.new", ".targe.training", ".target.zzz.new", ".target"):
        (canary / hidden).mkdir()
        (canary / hidden / "half").touch()
    (inner / "file").write_text("precious", encoding="utf-8")
    (inner / "other").mkdir()
    (inner / "link").symlink_to("other")
    (inner / "dangling").symlink_to("nowhere")
    return canary


def _run(target: Path, **changes: object) -> None:
    target.mkdir()
    (target / "content").write_text("old", encoding="utf-8")
    (target / "manifest.json").write_text(json.dumps({**MANIFEST, **changes}), encoding="utf-8")


def _with(target: Path, name: str, make: Callable[[Path], object]) -> None:
    _run(target)
    make(target / name)


def _only(target: Path, manifest: bytes) -> None:
    target.mkdir()
    (target / "thesis.tex").touch()
    (target / "manifest.json").write_bytes(manifest)


LYING: dict[str, Callable[[Path], object]] = {
    "nothing": lambda target: None,
    "a run": _run,
    "a run of another version": lambda target: _run(target, format=1),
    "an empty folder": Path.mkdir,
    "a file": lambda target: target.write_text("precious", encoding="utf-8"),
    "a pipe": os.mkfifo,
    "a link to the canary": lambda target: target.symlink_to("canary"),
    "a link to a file": lambda target: target.symlink_to("file"),
    "a link to nothing": lambda target: target.symlink_to("nowhere"),
    "a link to itself": lambda target: target.symlink_to("target"),
    "somebody's folder": lambda target: shutil.copytree(target.parent / "canary", target),
    "a run with a thesis": lambda target: _with(target, "thesis.tex", Path.touch),
    "a run with a folder": lambda target: _with(target, "more", Path.mkdir),
    "a run with a link": lambda target: _with(target, "more", lambda path: path.symlink_to("../canary")),
    "a manifest of no run": lambda target: _run(target, digest="1.2.3"),
    "a manifest of lists": lambda target: _run(target, files=["content"]),
    "an empty manifest": lambda target: _only(target, b""),
    "a deep manifest": lambda target: _only(target, b"[" * 100_000),
    "a huge manifest": lambda target: _only(target, b" " * (2 << 20)),
    "a manifest of NaN": lambda target: _only(target, b'{"format": NaN}'),
    "a manifest in another encoding": lambda target: _only(target, '{"é": 1}'.encode("utf-16")),
    "a piped manifest": lambda target: (target.mkdir(), os.mkfifo(target / "manifest.json")),
    "a linked manifest": lambda target: (target.mkdir(), (target / "manifest.json").symlink_to("/dev/zero")),
    "a folder as manifest": lambda target: (target / "manifest.json").mkdir(parents=True),
}
MAY_GO = ("nothing", "a run", "a run of another version", "an empty folder", "a file", "a link to nothing")
"""What may be replaced, be it by `whole_file`; a link to nothing has nothing that could change."""


def _hidden(inner: Path, ending: str, name: str, content: bytes) -> None:
    folder = inner / f".target.{ending}"
    folder.mkdir(exist_ok=True)
    (folder / name).write_bytes(content)


LEFT: dict[str, Callable[[Path], object]] = {
    "nothing": lambda inner: None,
    "an empty folder": lambda inner: (inner / ".target.training").mkdir(),
    "a broken identity": lambda inner: _hidden(inner, "training", "identity.json", b"{"),
    "an identity of numbers": lambda inner: _hidden(
        inner, "training", "identity.json", b'{"identity": 1, "started": 1e999}'
    ),
    "a hostile recipe": lambda inner: _hidden(
        inner,
        "training",
        "identity.json",
        b'{"identity": "x", "started": 1, "process": 1, "asked": {"backbone": {"trust_remote_code": true}}}',
    ),
    "a recipe that is none": lambda inner: _hidden(
        inner, "training", "identity.json", b'{"identity": "x", "started": 1, "process": 1, "asked": [1]}'
    ),
    "a thesis": lambda inner: _hidden(inner, "training", "thesis.tex", b"thesis"),
    "another's owner": lambda inner: _hidden(inner, "new", "owner.json", b'{"target": "00"}'),
    "a link": lambda inner: (inner / ".target.training").symlink_to("canary"),
    "a link to new": lambda inner: (inner / ".target.new").symlink_to("canary"),
    "a file": lambda inner: (inner / ".target.training").touch(),
    "a linked lock": lambda inner: (
        (inner / ".target.new").mkdir(),
        (inner / ".target.new" / ".llmrec-lock").symlink_to("../canary/thesis.tex"),
    ),
    "a folder as lock": lambda inner: (inner / ".target.training" / ".llmrec-lock").mkdir(parents=True),
    "a piped identity": lambda inner: (
        (inner / ".target.training").mkdir(),
        os.mkfifo(inner / ".target.training" / "identity.json"),
    ),
}


def _folder(target: Path, draw: float) -> None:
    with whole_folder(target, overwrite=draw < 0.8) as partial:
        (partial / "new").touch()
        if draw < 0.1:
            raise InputError("half way")


def _file(target: Path, draw: float) -> None:
    with whole_file(target, overwrite=draw < 0.8) as partial:
        partial.write_text("new", encoding="utf-8")
        if draw < 0.1:
            raise InputError("half way")


def _training(target: Path, draw: float) -> None:
    with held_for_training(target, resume=draw < 0.3, overwrite=draw > 0.2):
        if draw < 0.5:
            raise InputError("wrong recipe")


def _resume(target: Path, draw: float) -> None:
    with contextlib.suppress(InputError):
        Begun.read(Workspace(target, "training").folder)
    stored_recipe(target)


ACTS: dict[str, Callable[[Path, float], None]] = {
    "whole_folder": _folder,
    "whole_file": _file,
    "training": _training,
    "resume": _resume,
}


def _digest(path: Path) -> str:
    """Names, kinds and contents of a path and of all below it; links are not followed."""
    sha = hashlib.sha256()
    below = sorted(path.rglob("*")) if path.is_dir() and not path.is_symlink() else []
    for one in (path, *below):
        link = str(one.readlink()) if one.is_symlink() else ""
        sha.update(f"{one.name} {one.lstat().st_mode} {link}".encode(errors="surrogateescape"))
        if one.is_file() and not one.is_symlink():
            sha.update(one.read_bytes())
    return sha.hexdigest()
