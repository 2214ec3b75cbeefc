"""Manifest: the digests of a run folder's files, and the base model of the run."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from llmrec_peft.errors import InputError
from llmrec_peft.identity import file_digest, files_digest, values_digest
from llmrec_peft.options import Options, one_line

FORMAT = 2
"""Version of the run folder's layout; a folder of another version is refused."""
NAME = "manifest.json"
ANSWERING = (
    "adapter_config.json",
    "adapter_model.safetensors",
    "head.safetensors",
    "signals.safetensors",
    "vocabulary.parquet",
    "items.parquet",
    "item_vectors.safetensors",
    "recipe.yaml",
)
"""Files that can change an answer; the run's version is computed from their digests."""


class Manifest(Options):
    """Contents and identity of a run folder.

    The digest covers the base model and every file that can change an answer; caches, slots and answers are keyed by
    it, never by a path.
    """

    format: int
    """Version of the layout."""
    version: str
    """Version of the package that wrote it."""
    digest: str = Field(pattern=r"^[0-9a-f]{64}$")
    """Identity of the run."""
    base: dict[str, str | None]
    """Identity of the base model: weights' SHA-256, quantization, computation; name and revision for information."""
    files: dict[str, str]
    """SHA-256 of every file that can change an answer."""


def make_manifest(folder: Path, base: dict[str, str | None], version: str) -> Manifest:
    """Make the manifest from the digests of a folder's files."""
    files = {name: file_digest(folder / name) for name in ANSWERING if (folder / name).is_file()}
    return Manifest(format=FORMAT, version=version, digest=_digest(base, files), base=base, files=files)


def _digest(base: dict[str, str | None], files: dict[str, str]) -> str:
    fields = ("weights_sha256", "files_sha256", "quantization", "compute")
    identity = {key: base.get(key) for key in fields} if base else {}
    return values_digest([identity, files_digest(files)])


def read_manifest(folder: Path, verify: bool = True) -> Manifest:
    """Read a run folder's manifest and check every file against it.

    Args:
        folder: Run folder.
        verify: Whether the files' digests are computed and compared.

    Raises:
        InputError: If it is no run folder, is of another version, or a file is missing or changed.
    """
    path = folder / NAME
    if not folder.is_dir():
        raise InputError(f"no run folder {folder}")
    if not path.is_file():
        raise InputError(f"{folder} is no run folder: it has no {NAME}")
    try:
        values: Any = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise InputError(f"{path}: unreadable ({error})") from None
    if not isinstance(values, dict):
        raise InputError(f"{path}: not a manifest")
    if values.get("format") != FORMAT:
        raise InputError(
            f"{folder} is a run folder of format {values.get('format')!r}, written by version"
            f" {values.get('version')!r}; this version reads format {FORMAT}: train it again"
        )
    try:
        manifest = Manifest.model_validate(values)
    except ValidationError as error:
        raise InputError(f"{path}: {one_line(error, Manifest)}") from None
    if verify:
        for name in manifest.files:
            if name not in ANSWERING:
                raise InputError(f"{path}: names a file {name!r} that no run folder holds")
        require_files(folder, manifest, manifest.files)
        if "adapter_model.safetensors" in manifest.files and not manifest.base.get("weights_sha256"):
            raise InputError(f"{path}: base.weights_sha256 is empty: it is not said what the adapter was trained on")
        if _digest(manifest.base, manifest.files) != manifest.digest:
            raise InputError(f"{path} was changed: its digest does not match the files and the base model it names")
    return manifest


def require_files(folder: Path, manifest: Manifest, names: Iterable[str]) -> None:
    """Verify the digests of some files of a run folder.

    Args:
        folder: Run folder.
        manifest: Its manifest.
        names: Files to verify.

    Raises:
        InputError: Naming a file that is missing or changed.
    """
    for name in names:
        if not (folder / name).is_file():
            raise InputError(f"{folder}: {name} is missing")
        if file_digest(folder / name) != manifest.files.get(name):
            raise InputError(f"{folder / name} is not what the run wrote: its SHA-256 does not match {NAME}")


def write_json(path: Path, values: Any) -> None:
    """Write plain values as readable JSON."""
    path.write_text(json.dumps(values, indent=2, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")
