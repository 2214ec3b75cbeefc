"""SealedStore: runs that are served, each copied into a read-only folder named by its digest."""

from __future__ import annotations

import contextlib
import os
import re
import stat
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from llmrec_peft.artifact.exchange import exchange
from llmrec_peft.artifact.folder import flush
from llmrec_peft.artifact.manifest import (
    HISTORIES,
    MERGED_BASE,
    NAME,
    Manifest,
    is_there,
    limit_of,
    read_manifest,
    write_json,
)
from llmrec_peft.artifact.sealed import SealedFolder
from llmrec_peft.artifact.workspace import NEW, OLD, Workspace, removed
from llmrec_peft.backbone.tensor_header import read_header
from llmrec_peft.errors import InputError, disk_is_full, reason_of
from llmrec_peft.printable import quoted, shown
from llmrec_peft.regular_files import is_folder, open_regular

ENDING = "new"
"""Ending of the hidden folder in which a copy is made."""
_WITHHELD = "".join(f"(?:-no-{Path(name).stem})?" for name in HISTORIES)
_SEALED = re.compile(rf"[0-9a-f]{{64}}{_WITHHELD}")
_PARTIAL = re.compile(rf"\.({_SEALED.pattern})\.{ENDING}")
_FILE_MODE, _FOLDER_MODE, _STORE_MODE = 0o400, 0o500, 0o700
"""A run holds its users' histories, so nobody but the store's owner reads them, and he cannot overwrite them either."""
_POLL_S, _MISSES = 0.05, 3
_PARQUET = b"PAR1"


@dataclass(frozen=True)
class SealedRun:
    """A run in the store.

    Attributes:
        folder: Its folder in the store.
        digest: Digest of its manifest.
        withheld: Private files that can change an answer and that did not come with the run. The manifest's digest is
            the same with and without them, the answers are not.
    """

    folder: Path
    digest: str
    withheld: tuple[str, ...]

    @classmethod
    def of(cls, store: Path, manifest: Manifest, names: Sequence[str]) -> Self:
        """Name the place in a store of a run of which some files are there."""
        withheld = tuple(name for name in HISTORIES if name in manifest.private and name not in names)
        name = manifest.digest + "".join(f"-no-{Path(each).stem}" for each in withheld)
        return cls(store / name, manifest.digest, withheld)

    @classmethod
    def named(cls, store: Path, name: str) -> Self:
        """Return the run in a store whose folder has a name, whether or not it is there.

        Raises:
            InputError: If the store gives no folder such a name.
        """
        if not _SEALED.fullmatch(name):
            raise InputError(f"{quoted(name)} is no name of a run in a store")
        digest, *_ = name.split("-")
        return cls(store / name, digest, tuple(one for one in HISTORIES if f"-no-{Path(one).stem}" in name))


class SealedStore:
    """Copies of run folders that nobody changes: whoever owns a run may overwrite or delete it afterwards.

    A copy is made in a hidden folder beside its place, held against the manifest byte by byte, flushed to the disk,
    made read-only, and renamed. A process that is killed leaves a hidden folder, which the next `SealedStore` removes.
    The base that `llmrec merge` left in a run's folder is not copied, as no base is: the copy has a link to it, and
    what is loaded through the link is held against the manifest.

    Attributes:
        folder: The store.
    """

    def __init__(self, folder: str | Path, wait_s: float = 600.0) -> None:
        """Open a store, or make one, and remove what killed processes left in it.

        Args:
            folder: Its folder; made, for its owner alone, if it is missing.
            wait_s: Seconds to wait for another process that takes the same run in.

        Raises:
            InputError: If the folder cannot be made or read.
        """
        self.folder = Path(folder).absolute()
        self._wait_s = wait_s
        self._counted: tuple[float, int] | None = None
        try:
            self.folder.mkdir(mode=_STORE_MODE, parents=True, exist_ok=True)
            names = [entry.name for entry in os.scandir(self.folder) if _PARTIAL.fullmatch(entry.name)]
        except OSError as error:
            raise InputError(f"{shown(self.folder)}: no store can be here ({reason_of(error)})") from None
        for name in names:
            self._tidy(name)

    def add(
        self, run: str | Path, digest: str | None = None, anew: Callable[[SealedRun], bool] | None = None
    ) -> SealedRun:
        """Take a run in, unless it is in the store already; its folder is not read afterwards.

        Args:
            run: Run folder.
            digest: Digest that it must have.
            anew: Says of a run in the store whether it is to be replaced; by default one of which a file is missing or
                was cut.

        Returns:
            The run in the store.

        Raises:
            InputError: If it is no run folder or another run, if a file is missing, changed, a link, too large, or no
                file of its kind, or if the copy cannot be written. The store is as it was then.
        """
        source = SealedFolder.open(Path(run))
        found = source.manifest.digest
        if digest is not None and digest != found:
            raise InputError(f"{shown(Path(run))} is run {found[:12]}, and not {digest[:12]}, which was asked for")
        names = _names_in(source.folder, source.manifest)
        sealed = SealedRun.of(self.folder, source.manifest, names)
        damaged = (anew is not None and anew(sealed)) or not _points_to(sealed.folder, _base_in(source.folder))
        if self._is_whole(sealed) and not damaged:
            return sealed
        with self._workspace(sealed, damaged) as workspace:
            if workspace is not None:
                self._fill(workspace, source, names, sealed)
        return sealed

    def runs(self) -> list[str]:
        """Return the names of the folders in the store, sorted."""
        return sorted(entry.name for entry in os.scandir(self.folder) if _SEALED.fullmatch(entry.name))

    def nbytes(self, age_s: float = 0.0) -> int:
        """Return the bytes of all runs in the store.

        Args:
            age_s: Seconds for which a number that was counted before is good enough: counting looks at every file.
        """
        counted = self._counted
        if counted is not None and time.monotonic() - counted[0] < age_s:
            return counted[1]
        total = 0
        for name in self.runs():
            with contextlib.suppress(OSError):  # it is being replaced
                total += sum(entry.stat(follow_symlinks=False).st_size for entry in os.scandir(self.folder / name))
        self._counted = time.monotonic(), total
        return total

    def _tidy(self, name: str) -> None:
        """Remove a hidden folder that no process holds; one that is not ours stays."""
        found = _PARTIAL.fullmatch(name)
        if found is None:
            return
        workspace = Workspace(self.folder / found[1], ENDING)
        with contextlib.suppress(InputError):  # a process holds it, or somebody else made it
            workspace.take()
            _make_removable(workspace.folder / OLD)
            workspace.remove()

    @contextlib.contextmanager
    def _workspace(self, sealed: SealedRun, damaged: bool) -> Iterator[Workspace | None]:
        """Hold the place of a copy; yield None if another process has made the copy meanwhile and it is not damaged.

        Raises:
            InputError: If it cannot be had in time.
        """
        until, misses = time.monotonic() + self._wait_s, 0
        while True:
            workspace = Workspace(sealed.folder, ENDING)
            try:
                workspace.take()
                break
            except InputError as error:
                holder = workspace.holder()
                misses += holder is None  # the holder has just left, or there is another reason
                if misses > _MISSES or time.monotonic() > until:
                    said = error if holder is None else f"{shown(sealed.folder)} is being written by {holder}"
                    raise InputError(said) from None
                time.sleep(_POLL_S)
        try:
            workspace.empty()
            yield None if not damaged and self._is_whole(sealed) else workspace
        finally:
            _make_removable(workspace.folder / OLD)
            _make_removable(workspace.folder / NEW)
            workspace.remove()

    def _fill(self, workspace: Workspace, source: SealedFolder, names: Sequence[str], sealed: SealedRun) -> None:
        """Copy a run into the hidden folder and give it its name.

        Raises:
            InputError: As `add`.
        """
        partial, manifest = workspace.folder / NEW, source.manifest
        try:
            partial.mkdir(mode=_STORE_MODE)
            for name in names:
                target = partial / name
                source.copy(name, target, limit_of(name))
                _require_kind(target, str(source.folder / name))
            write_json(partial / NAME, manifest.model_dump(mode="json"))
            for path in partial.iterdir():
                path.chmod(_FILE_MODE)
                flush(path)
            base = _base_in(source.folder)
            if base is not None:
                (partial / MERGED_BASE).symlink_to(base)
            flush(partial)
            if is_there(sealed.folder):
                sealed.folder.chmod(_STORE_MODE)  # a damaged copy: the folder of a read-only one could not be moved
            exchange(partial, sealed.folder, workspace.folder / OLD)
            sealed.folder.chmod(_FOLDER_MODE)
            flush(sealed.folder)
            flush(self.folder)
        except OSError as error:
            why = "no room on the disk" if disk_is_full(error) else reason_of(error)
            raise InputError(f"{shown(source.folder)} was not taken into {shown(self.folder)}: {why}") from None

    def _is_whole(self, sealed: SealedRun) -> bool:
        """Return whether a run lies in the store, looking at the manifest and at the beginning of each file.

        Every byte is verified when the run is loaded. A folder that misses a file, or has one that was cut, counts as
        none, so that a new copy takes its place.

        Raises:
            InputError: If something else than a folder has its name.
        """
        folder = sealed.folder
        if not is_there(folder):
            return False
        if folder.is_symlink() or not is_folder(folder):
            raise InputError(f"{shown(folder)} is no folder: move it away, the run's copy belongs there")
        try:
            manifest = read_manifest(folder, verify=False)
            names = _names_in(folder, manifest)
            for name in names:
                _require_kind(folder / name, str(folder / name))
        except (InputError, OSError):
            return False
        if SealedRun.of(self.folder, manifest, names) != sealed:
            return False
        with contextlib.suppress(OSError):
            if stat.S_IMODE(folder.stat().st_mode) != _FOLDER_MODE:  # killed before its last step
                folder.chmod(_FOLDER_MODE)
        return True


def _base_in(folder: Path) -> Path | None:
    """Return the place of the merged base that lies in a run's folder; None if there is none."""
    return (folder / MERGED_BASE).resolve() if is_folder(folder / MERGED_BASE) else None


def _points_to(folder: Path, base: Path | None) -> bool:
    """Return whether a copy, if there is one, has the link to a run's merged base; a run without one needs none."""
    if base is None or not is_there(folder):
        return True
    with contextlib.suppress(OSError):
        return (folder / MERGED_BASE).readlink() == base
    return False


def _names_in(folder: Path, manifest: Manifest) -> Sequence[str]:
    """Return the files of a run: all but private ones have to be there.

    Raises:
        InputError: Naming one that is missing.
    """
    needed = [*manifest.files, *manifest.reports]
    for name in needed:
        if not is_there(folder / name):
            raise InputError(f"{folder}: {name} is missing")
    return [*needed, *(name for name in manifest.private if is_there(folder / name))]


def _require_kind(path: Path, where: str) -> None:
    """Refuse a file that is not what its ending says, such as a pickle, or of which the end is missing.

    Args:
        path: The file.
        where: How messages name it.

    Raises:
        InputError: If it is no regular file, no safetensors or Parquet file, or a link.
    """
    with open_regular(path, limit_of(path.name)) as (descriptor, found):
        if path.suffix == ".safetensors":
            read_header(descriptor, found.st_size, where)
        elif path.suffix == ".parquet":
            begin = os.pread(descriptor, len(_PARQUET), 0)
            end = os.pread(descriptor, len(_PARQUET), max(0, found.st_size - len(_PARQUET)))
            if begin != _PARQUET or end != _PARQUET:
                raise InputError(f"{where}: no Parquet file")


def _make_removable(folder: Path) -> None:
    """Let a folder's files be removed, and remove it; nothing if it is not there."""
    with contextlib.suppress(OSError):
        folder.chmod(_STORE_MODE)
    removed(folder)
