"""Sealed: a run folder's files, each read once into memory; the bytes that are parsed are those that were hashed."""

from __future__ import annotations

import hashlib
import itertools
import mmap
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from llmrec_peft.artifact.manifest import (
    HISTORIES,
    MERGED_BASE,
    PRIVATE,
    PROSE,
    PUBLISHED,
    REPORTS,
    Manifest,
    is_there,
    limit_of,
    read_manifest,
    require_digest,
    require_files,
)
from llmrec_peft.artifact.mapped_files import map_file
from llmrec_peft.errors import InputError, reason_of
from llmrec_peft.recipe.yaml_file import parse_yaml
from llmrec_peft.regular_files import open_regular, read_parts
from llmrec_peft.strict_json import parse_json

Bytes = TypeVar("Bytes", bytearray, mmap.mmap, bytearray | mmap.mmap)
Content = bytes | bytearray | mmap.mmap | None
"""A file's bytes; None where it is read by whoever takes them."""
_NAMED, _LOOKED_AT = 3, 1000
"""Surplus files that a note names, and entries of a folder that are looked at for it."""


@dataclass(frozen=True)
class SealedFolder:
    """A run folder whose manifest has been checked against itself; each file is checked when it is read.

    Nothing is mapped into memory unless `mapped`: whoever writes into the folder later changes nothing that was read.

    Attributes:
        folder: The folder.
        manifest: Its manifest.
        mapped: Whether `stored` maps files in place of reading them: only for folders that nobody writes into, such
            as those of a sealed store. What is written into such bytes stays in this process.
    """

    folder: Path
    manifest: Manifest
    mapped: bool = False

    @classmethod
    def open(cls, folder: Path, mapped: bool = False) -> SealedFolder:
        """Read the manifest of a run folder.

        Raises:
            InputError: As `read_manifest` without verifying files.
        """
        return cls(folder, read_manifest(folder, verify=False), mapped)

    def stored(self, name: str, limit: int | None = None) -> bytearray | mmap.mmap:
        """Return a file's bytes, mapped where the folder is, else as `content`.

        Raises:
            InputError: As `content`.
        """
        if not self.mapped:
            return self.content(name, limit)
        found = map_file(self._there(name), self._most(name, limit))
        require_digest(self.folder / name, self.manifest, found.digest)
        return found.content

    def content(self, name: str, limit: int | None = None) -> bytearray:
        """Return a file's bytes, which no other holder can change.

        Args:
            name: The file.
            limit: Bytes that it can have, if these are fewer than of any such file.

        Raises:
            InputError: If the file is missing, no regular file, too large, or not what the run wrote.
        """
        return self._verified(name, read_content(self._there(name), self._most(name, limit)))

    def _there(self, name: str) -> Path:
        path = self.folder / name
        if not is_there(path):
            raise InputError(f"{self.folder}: {name} is missing")
        return path

    @staticmethod
    def _most(name: str, limit: int | None) -> int:
        return limit_of(name) if limit is None else min(limit, limit_of(name))

    def _verified(self, name: str, content: Bytes) -> Bytes:
        require_digest(self.folder / name, self.manifest, hashlib.sha256(content).hexdigest())
        return content

    def copy(self, name: str, target: Path, limit: int) -> None:
        """Copy a file, some bytes at a time; what was copied is what was verified.

        Args:
            name: The file.
            target: Path of the copy.
            limit: Bytes that it can have.

        Raises:
            InputError: As `content`.
            OSError: If the copy cannot be written.
        """
        path = self.folder / name
        require_digest(path, self.manifest, copied(path, target, min(limit, limit_of(name))))

    def verify(self, names: Iterable[str]) -> None:
        """Check files that are read later.

        Raises:
            InputError: As `content`.
        """
        if not self.mapped:
            require_files(self.folder, self.manifest, names)
            return
        for name in names:
            require_digest(self.folder / name, self.manifest, map_file(self._there(name), limit_of(name)).digest)

    def report(self) -> dict[str, Any]:
        """Return ``metrics.json``.

        Raises:
            InputError: If it is missing, changed, or not what a run writes.
        """
        figures = parse_json(self.content("metrics.json"), str(self.folder / "metrics.json"))
        if not isinstance(figures, dict):
            raise InputError(f"{self.folder}: metrics.json is not what a run writes")
        return figures

    def recipe(self) -> dict[str, Any]:
        """Return ``recipe.yaml`` as plain values.

        Raises:
            InputError: If it is missing, changed, or no block of fields in YAML.
        """
        path = self.folder / "recipe.yaml"
        try:
            values = parse_yaml(self.content(path.name).decode("utf-8"), str(path))
        except UnicodeDecodeError:
            raise InputError(f"{path}: unreadable YAML (not UTF-8 text)") from None
        if not isinstance(values, dict):
            raise InputError(f"{path}: no block of fields")
        return values

    def private(self, name: str) -> bytearray | None:
        """Return a private file's bytes; None if it was not passed on.

        Raises:
            InputError: As `content`.
        """
        return self.content(name) if is_there(self.folder / name) else None

    def withheld(self) -> list[str]:
        """Return the private files that can change an answer and were not passed on; the digest is the same then."""
        return [name for name in HISTORIES if name in self.manifest.private and not is_there(self.folder / name)]

    def lacking(self) -> str | None:
        """Return a line about histories that were not passed on; None if everything is there."""
        missing = self.withheld()
        if "seen.safetensors" in missing or not is_there(self.folder / "seen.safetensors"):
            return f"{self.folder} has no seen.safetensors: histories are missing, nothing is left out as seen"
        if "users.parquet" in missing:
            return f"{self.folder} has no users.parquet: what prompts say of users is missing"
        return None

    def surplus(self) -> str | None:
        """Return a line that names files which no run folder holds; None if there are none."""
        known = {*PUBLISHED, *PRIVATE, *REPORTS, *PROSE, MERGED_BASE}
        with os.scandir(self.folder) as entries:
            looked_at = itertools.islice(entries, _LOOKED_AT)
            strange = sorted(entry.name for entry in looked_at if entry.name not in known)
        if not strange:
            return None
        named = ", ".join(repr(name[:60]) for name in strange[:_NAMED])
        more = f" and {len(strange) - _NAMED} more" if len(strange) > _NAMED else ""
        return f"{self.folder}: {named}{more} ignored: no file of a run"


def copied(path: Path, target: Path, limit: int, follow_links: bool = False) -> str:
    """Copy a regular file of at most `limit` bytes, some at a time.

    Args:
        path: The file.
        target: Path of the copy.
        limit: Bytes that it can have.
        follow_links: Whether a link to such a file is one too, as in the Hub's cache, which consists of links.

    Returns:
        SHA-256 of the bytes that were copied.

    Raises:
        InputError: If it is missing, no regular file, or too large.
        OSError: If the copy cannot be written.
    """
    sha = hashlib.sha256()
    with open_regular(path, limit, follow_links) as (descriptor, found), target.open("wb") as copy:
        for part in read_parts(descriptor, found.st_size):
            sha.update(part)
            copy.write(part)
    return sha.hexdigest()


def read_content(path: Path, limit: int) -> bytearray:
    """Read a regular file of at most `limit` bytes into memory of its own.

    Raises:
        InputError: If it is missing, no regular file, too large, or changes meanwhile.
    """
    with open_regular(path, limit) as (descriptor, found):
        content = bytearray(found.st_size)
        view, at = memoryview(content), 0
        try:
            while at < len(content) and (count := os.readv(descriptor, [view[at:]])):
                at += count
            longer = bool(os.read(descriptor, 1))
        except OSError as error:
            raise InputError(f"{path}: unreadable ({reason_of(error)})") from None
    if at < len(content) or longer:
        raise InputError(f"{path}: was changed while it was read")
    return content
