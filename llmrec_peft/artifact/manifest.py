"""Manifest: the digests of a run folder's files, and the base model of the run."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from pydantic import Field, ValidationError

from llmrec_peft.errors import InputError
from llmrec_peft.identity import files_digest, values_digest
from llmrec_peft.options import Options, one_line
from llmrec_peft.printable import quoted
from llmrec_peft.regular_files import open_regular, read_parts, read_regular
from llmrec_peft.strict_json import parse_json

FORMAT = 4
"""Version of the run folder's layout; a folder of another version is refused."""
NAME = "manifest.json"
ANSWERING = (
    "adapter_config.json",
    "adapter_model.safetensors",
    "head.safetensors",
    "signals.safetensors",
    "catalogue.safetensors",
    "items.parquet",
    "item_vectors.safetensors",
    "item_matrix.safetensors",
    "canary.safetensors",
    "recipe.yaml",
)
"""Files that can change an answer, and that are published."""
ADDED = ("catalogue.safetensors", "item_matrix.safetensors", "canary.safetensors")
"""Those of them that runs of the former format lack."""
EXPLAINING = ("learning.safetensors",)
"""What explanations and scores in time order read besides: published, and part of the run's identity."""
PUBLISHED = (*ANSWERING, *EXPLAINING)
HISTORIES = ("seen.safetensors", "users.parquet")
"""Private files that can change an answer: they may be left out, and what is there must match its digest."""
PRIVATE = (*HISTORIES, "predictions.parquet", "trained.safetensors")
"""Files with people's interactions or data, and what a later training begins with; never published."""


class Layout(NamedTuple):
    """Files of a version of the run folder.

    Attributes:
        format: The version.
        published: As `PUBLISHED`.
        histories: As `HISTORIES`.
        private: As `PRIVATE`.
    """

    format: int
    published: tuple[str, ...]
    histories: tuple[str, ...]
    private: tuple[str, ...]


LAYOUT = Layout(FORMAT, PUBLISHED, HISTORIES, PRIVATE)
FORMER = Layout(
    3,
    (*(name for name in ANSWERING if name not in ADDED), "vocabulary.parquet"),
    ("seen.parquet", "users.parquet"),
    ("seen.parquet", "users.parquet", "predictions.parquet", "trained.safetensors"),
)
"""The version that ``llmrec convert`` turns into `FORMAT`."""
REPORTS = ("metrics.json", "lineage.json")
"""Files that a run is judged by; training times are in them, so they are no part of its version."""
SIGNATURE = "model.sig"
"""Signature over what is published, see `llmrec_peft.artifact.signature`."""
ORIGIN = "hub.json"
"""From which repository and commit of the Hub a run was pulled."""
PROSE = ("README.md", NAME, SIGNATURE, ORIGIN, "logs")
"""What else a run folder holds; no answer reads it."""
MERGED_BASE = "base"
"""Folder of the base model that ``llmrec merge`` makes of one run, inside the run that reads it; ``base`` in the
manifest has the digests of its files."""
LIMITS = {".json": 64 << 20, ".yaml": 1 << 20, ".parquet": 2 << 30, ".safetensors": 32 << 30}
"""Bytes that a file of a run folder can have, by its ending."""
MANIFEST_BYTES = 1 << 20
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Manifest(Options):
    """Contents and identity of a run folder.

    The digest covers the base model and every file that can change an answer, private ones included: a copy without
    its private files is the same version, one with other private files is another. Caches, slots and answers are
    keyed by it, never by a path.
    """

    format: int
    """Version of the layout."""
    version: str = Field(max_length=64)
    """Version of the package that wrote it."""
    digest: Sha256
    """Identity of the run."""
    base: dict[str, Annotated[str, Field(max_length=4096)] | None]
    """Identity of the base model: weights' SHA-256, quantization, computation; name and revision for information."""
    files: dict[str, Sha256]
    """SHA-256 of every published file that can change an answer or an explanation."""
    private: dict[str, Sha256]
    """SHA-256 of the private files; they may be missing."""
    reports: dict[str, Sha256]
    """SHA-256 of the files that the run is judged by."""
    former: Sha256 | None = None
    """Digest that the run had before ``llmrec convert`` brought it to this format; information, no part of it."""

    def digest_of(self, name: str) -> str | None:
        """Return the recorded SHA-256 of a file; None for one that the run did not write."""
        return self.files.get(name) or self.private.get(name) or self.reports.get(name)


def make_manifest(
    folder: Path,
    base: dict[str, str | None],
    version: str,
    former: str | None = None,
    withheld: Mapping[str, str] | None = None,
) -> Manifest:
    """Make the manifest from the digests of a folder's files.

    Args:
        folder: Run folder.
        base: Identity of the base model.
        version: Version of the package that wrote the files.
        former: Digest that the run had in the former format, if it was converted.
        withheld: Digests of private files that belong to the run and stay elsewhere.
    """
    files, private, reports = (_digests(folder, names) for names in (PUBLISHED, PRIVATE, REPORTS))
    private = {**(withheld or {}), **private}
    digest = _digest(base, files, private)
    told: dict[str, Any] = {"files": files, "private": private, "reports": reports, "former": former}
    return Manifest(format=FORMAT, version=version, digest=digest, base=base, **told)


def _digests(folder: Path, names: Iterable[str]) -> dict[str, str]:
    return {name: _file_digest(folder / name, limit_of(name)) for name in names if (folder / name).is_file()}


def _digest(
    base: dict[str, str | None], files: dict[str, str], private: dict[str, str], histories: tuple[str, ...] = HISTORIES
) -> str:
    fields = ("weights_sha256", "files_sha256", "quantization", "compute")
    identity = {key: base.get(key) for key in fields} if base else {}
    known = {name: private[name] for name in histories if name in private}
    return values_digest([identity, files_digest(files), files_digest(known)])


def _file_digest(path: Path, limit: int) -> str:
    """Return the SHA-256 of a regular file's bytes."""
    sha = hashlib.sha256()
    with open_regular(path, limit) as (descriptor, found):
        for part in read_parts(descriptor, found.st_size):
            sha.update(part)
    return sha.hexdigest()


def limit_of(name: str) -> int:
    """Return how many bytes a file of a run folder can have."""
    return MANIFEST_BYTES if name == NAME else LIMITS[Path(name).suffix]


def read_manifest(folder: Path, verify: bool = True, layout: Layout = LAYOUT) -> Manifest:
    """Read a run folder's manifest and check it against itself, and every file against it.

    Args:
        folder: Run folder.
        verify: Whether the files' digests are computed and compared; whoever reads the files does it by
            `llmrec_peft.artifact.sealed`, so that each is read once.
        layout: Version of the run folder that it has to be.

    Raises:
        InputError: If it is no run folder, is of another version, or a file is missing or changed; a private file may
            be missing.
    """
    path = folder / NAME
    if not folder.is_dir():
        raise InputError(f"no run folder {folder}")
    if not path.exists() and not path.is_symlink():
        raise InputError(f"{folder} is no run folder: it has no {NAME}")
    manifest = _parsed(folder, path, read_regular(path, limit_of(NAME)), layout)
    known = {"files": layout.published, "private": layout.private, "reports": REPORTS}
    for field, names in known.items():
        strange = next((name for name in getattr(manifest, field) if name not in names), None)
        if strange is not None:
            raise InputError(f"{path}: names a file {strange[:60]!r} that no run folder holds in {field}")
    if "adapter_model.safetensors" in manifest.files and not manifest.base.get("weights_sha256"):
        raise InputError(f"{path}: base.weights_sha256 is empty: it is not said what the adapter was trained on")
    if _digest(manifest.base, manifest.files, manifest.private, layout.histories) != manifest.digest:
        raise InputError(f"{path} was changed: its digest does not match the files and the base model it names")
    if verify:
        require_files(folder, manifest, [*manifest.files, *manifest.reports])
        require_files(folder, manifest, [name for name in manifest.private if is_there(folder / name)])
    return manifest


def _parsed(folder: Path, path: Path, content: bytes, layout: Layout) -> Manifest:
    values: Any = parse_json(content, str(path))
    if not isinstance(values, dict):
        raise InputError(f"{path}: not a manifest")
    found = values.get("format")
    if found != layout.format:
        advice = f"this version reads format {FORMAT}: train it again"
        if found == FORMER.format:
            advice = f"this version reads format {FORMAT}: `llmrec convert` brings it up to date"
        if found == FORMAT:
            advice = "it is up to date"
        raise InputError(
            f"{folder} is a run folder of format {quoted(found)}, written by version"
            f" {quoted(values.get('version'))}; {advice}"
        )
    try:
        return Manifest.model_validate(values)
    except ValidationError as error:
        raise InputError(f"{path}: {one_line(error, Manifest)[:300]}") from None


def require_files(folder: Path, manifest: Manifest, names: Iterable[str]) -> None:
    """Verify the digests of some files of a run folder.

    Args:
        folder: Run folder.
        manifest: Its manifest.
        names: Files to verify.

    Raises:
        InputError: Naming a file that is missing, changed, no regular file, or too large.
    """
    for name in names:
        if not is_there(folder / name):
            raise InputError(f"{folder}: {name} is missing")
        require_digest(folder / name, manifest, _file_digest(folder / name, limit_of(name)))


def require_digest(path: Path, manifest: Manifest, digest: str) -> None:
    """Refuse a file whose digest is not the recorded one.

    Raises:
        InputError: Naming the file.
    """
    if digest != manifest.digest_of(path.name):
        raise InputError(f"{path} is not what the run wrote: its SHA-256 does not match {NAME}")


def is_there(path: Path) -> bool:
    """Return whether anything has this name, a dangling link included: what is there is verified or refused."""
    return path.is_symlink() or path.exists()


def write_json(path: Path, values: Any) -> None:
    """Write plain values as readable JSON."""
    path.write_text(json.dumps(values, indent=2, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")
