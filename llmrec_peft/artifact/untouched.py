"""Untouched: a run folder that was read once, and whose files are mapped again as long as nobody has touched them."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from mmap import mmap
from pathlib import Path
from typing import Self

from llmrec_peft.artifact.manifest import ANSWERING, HISTORIES, NAME
from llmrec_peft.artifact.mapped_files import Stamp, is_settled, map_same

_NAMES = (NAME, *ANSWERING, *HISTORIES)


@dataclass(frozen=True)
class Untouched:
    """What the system said of a run folder, and of each of its files that can change an answer.

    A file that is added, removed or replaced changes what is said of the folder; one that is written into changes what
    is said of the file.

    Attributes:
        folder: The folder.
        own: Its own stamp.
        files: Stamps of its files, by name.
    """

    folder: Path
    own: Stamp
    files: Mapping[str, Stamp]

    @classmethod
    def now(cls, folder: Path) -> Self | None:
        """Look at a folder; None if it cannot be looked at."""
        try:
            own = Stamp.of(folder.lstat())
            found = {name: Stamp.of((folder / name).lstat()) for name in _NAMES if (folder / name).exists()}
        except OSError:
            return None
        return cls(folder, own, found)

    @property
    def settled(self) -> bool:
        """Whether a further change is sure to be seen."""
        return all(map(is_settled, (self.own, *self.files.values())))

    def mapped(self, names: Collection[str]) -> dict[str, mmap] | None:
        """Map some of the files; None if any file was touched, whether it is mapped or not.

        Args:
            names: Files that are mapped, none of them empty.
        """
        prefix, found = f"{self.folder}{os.sep}", dict[str, mmap]()
        try:
            if Stamp.of(os.lstat(self.folder)) != self.own:
                return None
            for name, stamp in self.files.items():
                if name in names:
                    content = map_same(prefix + name, stamp)
                    if content is None:
                        return None
                    found[name] = content
                elif Stamp.of(os.lstat(prefix + name)) != stamp:
                    return None
        except (OSError, ValueError):
            return None
        return found
