"""Contract of a recipe plugin: where a domain's published files come from and how they are read."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from llmrec_peft.data.dataset import RecDataset


@dataclass(frozen=True)
class Download:
    """A published archive.

    Attributes:
        url: The owner's address.
        md5: Digest that the owner publishes beside the archive.
        folder: Folder inside the archive that holds the files.
        sha256: Digest of each file that is unpacked; nothing else is.
        licence: What the owner allows, in a few lines, shown before the download.
    """

    url: str
    md5: str
    folder: str
    sha256: dict[str, str]
    licence: str


class RecipeSource(ABC):
    """A domain: a folder with ``recipe.yaml`` and a reader of its owner's files."""

    summary: ClassVar[str]
    """One line for `llmrec list`."""
    download: ClassVar[Download | None] = None
    """Published archive, where its owner lets people fetch it."""

    @classmethod
    @abstractmethod
    def folder(cls) -> Path:
        """Folder that holds ``recipe.yaml`` and, where there is made-up data, ``demo.yaml``."""

    @abstractmethod
    def read(self, path: Path, graph: Path | None) -> RecDataset:
        """Read the owner's files.

        Args:
            path: Folder in the owner's layout.
            graph: Folder of a knowledge graph, if any.

        Raises:
            InputError: Naming the file and line of what is wrong.
        """

    @abstractmethod
    def demo(self, seed: int) -> RecDataset:
        """Make a small dataset up, with a known structure, the same for the same seed."""
