"""Workspace: the hidden folder beside a target in which it is made, held by one process at a time."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import stat
import time
from collections.abc import Iterator
from pathlib import Path

from llmrec_peft.artifact.exchange import recover
from llmrec_peft.artifact.lock import Lock, about
from llmrec_peft.artifact.place import occupied, require_named
from llmrec_peft.errors import InputError, disk_is_full
from llmrec_peft.printable import shown
from llmrec_peft.regular_files import is_file
from llmrec_peft.strict_json import read_object

OWNER = "owner.json"
"""File that says for which target a hidden folder was made; without it nothing is taken for ours."""
LOCK = ".llmrec-lock"
NEW = "new"
"""Folder inside that becomes the target."""
OLD = "old"
"""Where the former target lies for a moment, where two names cannot be exchanged in one step."""
RESUMABLE = "identity.json"
"""File of a training that can be resumed."""
_MOST_BYTES = 4096


class Workspace:
    """A hidden folder ``.NAME.ENDING`` beside a target NAME.

    Its name is the target's own, so that no other target's is ever met; a file inside says whose it is, and a lock
    who writes there. What a killed process left is found and finished, or removed, by the next one.

    Attributes:
        target: What is made.
        folder: The hidden folder.
        fresh: Whether this process made it.
    """

    def __init__(self, target: Path, ending: str) -> None:
        """Name both; nothing is written yet."""
        require_named(target)
        self.target = target
        self.folder = target.with_name(f".{target.name}.{ending}")
        self.fresh = False
        self._made: list[Path] = []
        self._lock = Lock(self.folder / LOCK)

    @property
    def resumable(self) -> bool:
        """Whether a training lies here that can be resumed."""
        return is_file(self.folder / RESUMABLE)

    def left_behind(self) -> bool:
        """Whether an earlier process left something here."""
        return occupied(self.folder)

    def holder(self) -> str | None:
        """Describe the process that holds the folder; None if none does, or there is no folder."""
        if not is_file(self.folder / LOCK):
            return None
        lock = Lock(self.folder / LOCK)
        try:
            held = lock.acquire()
        except OSError:
            return None
        lock.release()
        return held

    def take(self) -> None:
        """Make the folder, or take over what an earlier process left, and lock it.

        Raises:
            InputError: When another process holds it, something else lies there, or it cannot be written.
        """
        occupied(self.target)  # a path that cannot be looked at is named as it was given
        try:
            for _ in range(100):  # a process that is just ending removes the folder between two of our steps
                self._make()
                try:
                    held = self._lock.acquire()
                except (FileNotFoundError, FileExistsError):  # filelock makes the folder anew
                    continue
                break
            else:
                held = "other processes, one after the other"
            if held is not None:
                raise InputError(f"{shown(self.target)} is being written by {held}: wait, or give another --out")
            if not self.fresh and not self._is_ours():
                self._lock.release()
                raise self._in_the_way()
            if self.fresh:
                self._sign()
            recover(self.target, self.folder / OLD)
        except (OSError, ValueError) as error:
            self.remove()
            said = "no room on the disk" if disk_is_full(error) else getattr(error, "strerror", None) or error
            raise InputError(f"cannot write beside {shown(self.target)}: {said}") from None

    def _make(self) -> None:
        self._made = self._made or [parent for parent in self.target.parents if not os.path.lexists(parent)]
        above = self._made[-1].parent if self._made else self.target.parent
        if len(os.fsencode(self.folder.absolute())) > _longest_path(above):
            raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG))
        try:
            self.target.parent.mkdir(parents=True, exist_ok=True)
        except FileExistsError:
            raise OSError(errno.ENOTDIR, os.strerror(errno.ENOTDIR)) from None
        try:
            self.folder.mkdir()
            self.fresh = True
        except FileExistsError:
            if not self._may_be_ours():
                raise self._in_the_way() from None

    def _in_the_way(self) -> InputError:
        return InputError(
            f"{shown(self.folder)} is in the way and was not made for {shown(self.target)}:"
            " move it away, or give another --out"
        )

    def _may_be_ours(self) -> bool:
        """Whether a hidden folder that is not held yet looks like ours, so that nothing is put into another's."""
        for _ in range(5):  # a process that holds it may change it while it is looked at
            try:
                if not stat.S_ISDIR(self.folder.lstat().st_mode):
                    return False
                entries = {entry.name for entry in os.scandir(self.folder)}
            except FileNotFoundError:
                return True  # it was removed meanwhile
            if not entries or entries & {LOCK, OWNER, RESUMABLE}:
                return True
            time.sleep(0.01)
        return False

    def _is_ours(self) -> bool:
        """Whether the hidden folder, which is held, was made for this target; one that a kill left empty was."""
        entries = {entry.name for entry in os.scandir(self.folder)}
        if RESUMABLE in entries or all(_is_kept(name) for name in entries):
            return True
        try:
            owner = read_object(self.folder / OWNER, _MOST_BYTES)
        except InputError:
            return False
        return bool(owner.get("target") == os.fsencode(self.target.name).hex())

    def _sign(self) -> None:
        """Write down whose the folder is."""
        text = json.dumps({"made_by": "llmrec-peft", "target": os.fsencode(self.target.name).hex()})
        (self.folder / OWNER).write_text(text + "\n", encoding="utf-8")

    def empty(self) -> None:
        """Remove what an earlier process left in the folder; this process must hold it."""
        self._clear()
        self._sign()

    def _clear(self) -> None:
        removed(self.folder / RESUMABLE)  # first: what a kill leaves half removed is no training to resume
        with contextlib.suppress(FileNotFoundError):
            for entry in os.scandir(self.folder):
                if not _is_kept(entry.name):
                    removed(Path(entry.path))

    def release(self) -> None:
        """Let go; what is there stays, and the next process may take it over."""
        self._lock.release()

    def remove(self) -> None:
        """Remove what this process holds or made, and let go."""
        if self._lock.held:
            self._clear()
            for left in self.folder.glob(f"{about(Path(LOCK)).name}.*"):
                removed(left)
            (self.folder / OWNER).unlink(missing_ok=True)
        self._lock.release()
        for made in (self.folder, *self._made):
            with contextlib.suppress(OSError):
                made.rmdir()  # if it is empty: nobody else has begun there

    @classmethod
    @contextlib.contextmanager
    def of(cls, target: Path, ending: str = "new") -> Iterator[Workspace]:
        """Hold a workspace inside the block, empty at its beginning and gone at its end.

        Raises:
            InputError: When it cannot be had.
        """
        workspace = cls(target, ending)
        workspace.take()
        try:
            workspace.empty()
            yield workspace
        finally:
            workspace.remove()


def _is_kept(name: str) -> bool:
    """Whether a file of a hidden folder belongs to its lock, or says whose it is."""
    return name in (OWNER, LOCK) or name.startswith(about(Path(LOCK)).name)


def removed(path: Path) -> None:
    """Remove a file or a folder with all that is in it; a link is removed itself, and errors are ignored."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink()


def _longest_path(parent: Path) -> int:
    """Bytes that the path of a hidden folder may have, so that the files inside it can be made, too."""
    try:
        return os.pathconf(parent, "PC_PATH_MAX") - _ROOM_INSIDE
    except (OSError, ValueError, AttributeError):
        return 4096 - _ROOM_INSIDE


_ROOM_INSIDE = 256
"""Bytes of the longest path inside a hidden folder: checkpoints of variants, logs of trackers."""
