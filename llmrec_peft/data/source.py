"""Contract of a reader: where the published files of a data set come from and how they are read."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Self

from llmrec_peft.data.dataset import RecDataset
from llmrec_peft.errors import InputError
from llmrec_peft.options import Options, validated


@dataclass(frozen=True)
class Download:
    """A published archive.

    Attributes:
        url: The owner's address.
        md5: Digest that the owner publishes beside the archive.
        folder: Folder inside the archive that holds the files.
        sha256: Digest of each file that is unpacked; no other file is.
        licence: What the owner allows, in a few lines, shown before the download.
    """

    url: str
    md5: str
    folder: str
    sha256: dict[str, str]
    licence: str


class NoReaderOptions(Options):
    """There is nothing to choose."""


class Reader(ABC):
    """A source of data: it reads its owner's files and can generate a small dataset.

    A recipe names its reader in ``data.reader``; any number of recipes can share one. Settings for the made-up data
    are read from ``demo.yaml`` in the folder of the reader's module.
    """

    summary: ClassVar[str]
    """One line for `llmrec list`."""
    download: ClassVar[Download | None] = None
    """Published archive, if its owner lets people fetch it."""
    Config: ClassVar[type[Options]] = NoReaderOptions
    """Options that a recipe gives as `data.options`; the object has them, validated, as `options`."""
    takes_path: ClassVar[bool] = True
    """Whether files are read; false where data is handed over in Python alone."""
    options: Options = NoReaderOptions()
    """What the recipe chose."""

    @classmethod
    def opened(cls, options: Options | None = None) -> Self:
        """Return a reader with the options of a recipe.

        Raises:
            InputError: If a needed option is missing.
        """
        reader = cls()
        reader.options = validated(cls.Config, {}, "data.options") if options is None else options
        return reader

    def no_path(self, name: str) -> str:
        """Say what to do where a recipe does not say where the data is; `name` is the reader's."""
        return (
            "data.path: say where the data is: --data DIR, --data demo for a made-up set, or fetch it with"
            f" `llmrec download {name}`"
        )

    @abstractmethod
    def read(self, path: Path, graph: Path | None) -> RecDataset:
        """Read the owner's files.

        What is returned is checked by `llmrec_peft.data.soundness`: ids are texts and there once, and interactions
        name users and items that have a row.

        Args:
            path: Folder in the owner's layout.
            graph: Folder of a knowledge graph, if any.

        Raises:
            InputError: Naming the file and the line of the mistake.
        """

    def demo(self, seed: int) -> RecDataset:
        """Generate a small dataset with a known structure, the same for the same seed.

        Raises:
            InputError: If this reader generates none.
        """
        raise InputError(f"{type(self).__name__} makes no data up: give a folder with --data DIR")


class RecipeSource(Reader):
    """A reader that is also a recipe of its own name, registered as a class in the group ``llmrec_peft.recipes``.

    Kept for plugins written before recipes were registered as folders. A new plugin derives `Reader`, which it
    registers in ``llmrec_peft.readers``, and registers the folder of its recipes in ``llmrec_peft.recipes``.
    """

    @classmethod
    @abstractmethod
    def folder(cls) -> Path:
        """Return the folder that holds ``recipe.yaml`` and, if there is made-up data, ``demo.yaml``."""
