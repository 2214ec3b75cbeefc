"""Contract of a backbone alias: a name for one set of weights, known by its digest."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from llmrec_peft.backbone.facts import BackboneFacts


@dataclass(frozen=True)
class GgufFile:
    """A model in one GGUF file of a Python package; it is converted to safetensors once.

    Attributes:
        file: Name of the file in the package's folder.
        sha256: Its digest.
        converted_sha256: Digest of the resulting ``model.safetensors``, which identifies these weights.
        seconds: About how long the conversion takes, for the note that announces it.
    """

    file: str
    sha256: str
    converted_sha256: str
    seconds: int = 20


@dataclass(frozen=True)
class BackboneAlias:
    """One set of weights under a short name.

    Attributes:
        summary: One line for `llmrec list`.
        kind: Whether tokens attend to later tokens (encoder) or not (decoder).
        hub_id: Repository on the Hugging Face Hub.
        revision: Commit of that repository with these weights.
        weights: SHA-256 of each weight file on the Hub, and in the package unless it contains a GGUF file.
        package: Python package that contains the files, if any.
        package_folder: Folder inside that package.
        install: Command that installs the package.
        facts: What its configuration says, if the package contains no ``config.json``.
        gguf: The GGUF file, if the package contains one. Its weights were rounded once more than the Hub's, so they are
            another base: an adapter trained on one does not load on the other.
        licence: Licence of the weights by the Hub's identifier, such as ``apache-2.0``; empty if it is not known.
    """

    summary: str
    kind: Literal["encoder", "decoder"]
    hub_id: str
    revision: str
    weights: dict[str, str] = field(default_factory=dict)
    package: str | None = None
    package_folder: str = "."
    install: str = ""
    facts: BackboneFacts | None = None
    gguf: GgufFile | None = None
    licence: str = ""

    @property
    def digests(self) -> frozenset[str]:
        """SHA-256 of every weight file that goes by this name, the converted one included."""
        converted = () if self.gguf is None else (self.gguf.converted_sha256,)
        return frozenset((*self.weights.values(), *converted))

    def embedded(self) -> Path | None:
        """Return the folder of the files in the installed package, without importing it; None if not installed."""
        if self.package is None:
            return None
        spec = importlib.util.find_spec(self.package)
        if spec is None or not spec.submodule_search_locations:
            return None
        folder = Path(next(iter(spec.submodule_search_locations))) / self.package_folder
        return folder if folder.is_dir() else None
