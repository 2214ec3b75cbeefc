"""Fingerprint: digests of the files that a cell reads: those of its data, and a base model that is a folder."""

from __future__ import annotations

import os
from pathlib import Path

from llmrec_peft import registry
from llmrec_peft.backbone.base_files import content_digest
from llmrec_peft.errors import InputError, reason_of
from llmrec_peft.identity import files_digest, values_digest
from llmrec_peft.printable import shown
from llmrec_peft.recipe import DEMO, Recipe
from llmrec_peft.regular_files import is_file, is_folder, require_regular

MOST_FILES = 20_000
"""Files of a folder at most."""
_LARGEST = 1 << 50


class Fingerprints:
    """Digests of folders, each read once as long as the object is kept."""

    def __init__(self) -> None:
        self._known: dict[str, str] = {}

    def of_data(self, recipe: Recipe) -> str:
        """Return a digest of names and contents of the data's files, wherever they lie.

        Hidden files do not count. Made-up data are what the reader's code makes of them, which counts as code.

        Args:
            recipe: Resolved recipe.

        Raises:
            InputError: If a folder holds too many files, or a file cannot be read.
        """
        section = recipe.data
        return values_digest({"data": self._of(section.path), "graph": self._of(section.graph)})

    def of_base(self, recipe: Recipe) -> str | None:
        """Return a digest of the base model's files if it is a folder; None for an alias or a commit on the Hub.

        Raises:
            InputError: As `of_data`.
        """
        name = recipe.backbone.name
        if name in registry.plugins("backbones") or not is_folder(Path(name).expanduser()):
            return None
        return self._of(name)

    def _of(self, path: str | None) -> str | None:
        if path is None or path == DEMO:
            return path
        if path not in self._known:
            self._known[path] = _folder_digest(Path(path).expanduser())
        return self._known[path]


def _folder_digest(folder: Path) -> str:
    """Return a digest of a folder's files, or of a file; empty where there is none, which the cell will say."""
    try:
        if is_file(folder):
            return content_digest(folder)
        return files_digest({name: content_digest(folder / name) for name in _names(folder)})
    except OSError as error:
        raise InputError(f"{shown(folder)}: {reason_of(error)}") from None


def _names(folder: Path) -> list[str]:
    """Return the names of a folder's regular files, and of links to some, by their path below it."""
    names: list[str] = []
    for place, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in files:
            path = Path(place) / name
            if name.startswith(".") or not is_file(path):
                continue
            require_regular(path, _LARGEST, follow_links=True)
            names.append(path.relative_to(folder).as_posix())
            if len(names) > MOST_FILES:
                raise InputError(f"{shown(folder)}: more than {MOST_FILES:,} files; give the folder of one data set")
    return names
