"""Writers: which decoder writes for a run, and a trained writer's folder, opened and verified."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmrec_peft.artifact.manifest import Manifest
from llmrec_peft.artifact.sealed import SealedFolder
from llmrec_peft.backbone.base import base_differences, require_base
from llmrec_peft.backbone.load import load_backbone
from llmrec_peft.backbone.preflight import known_facts
from llmrec_peft.errors import InputError
from llmrec_peft.heads.explanation import INSTRUCTION, ExplanationOptions
from llmrec_peft.recipe import Recipe
from llmrec_peft.recipe.sections import BackboneSection
from llmrec_peft.run.language_model import FILES, load_adapter
from llmrec_peft.writing.writer import Writer

if TYPE_CHECKING:
    from llmrec_peft.backbone.load import Backbone
    from llmrec_peft.run.recommender import Recommender

DECODER = "smollm2"
"""Decoder that writes for runs whose own base cannot."""


@dataclass(frozen=True)
class Opened:
    """A writer and what is to be told of it.

    Attributes:
        writer: The writer.
        instruction: What it is asked, above the facts.
        leads: Whether it is given the beginning of its answer; a trained writer knows how to begin.
        told: What it is, as plain values.
    """

    writer: Writer
    instruction: str
    leads: bool
    told: dict[str, Any]


def require_writer(decoder: str | None, folder: Path | None) -> None:
    """Refuse what cannot write, as far as that can be said before anything is loaded.

    Raises:
        InputError: When both are given, the folder holds no trained writer, or the decoder is an encoder.
    """
    if folder is not None and decoder is not None:
        raise InputError("--writer names its own decoder: leave --decoder out")
    if folder is not None:
        _read(folder)
    elif decoder is not None:
        facts = known_facts(decoder)
        if facts is not None and facts.kind != "decoder":
            raise InputError(f"backbone {decoder} is an encoder and cannot write: give a decoder, such as {DECODER}")


@contextlib.contextmanager
def opened(recommender: Recommender, decoder: str | None = None, folder: Path | None = None) -> Iterator[Opened]:
    """Inside the block a decoder is ready to write.

    A run's own base is not loaded a second time; while it writes, no text is encoded with it.

    Args:
        recommender: The run.
        decoder: Alias, folder or Hub id; by default the run's own base if that is a decoder, else `DECODER`.
        folder: Folder of a trained writer, which names its own decoder.

    Raises:
        InputError: When what is given cannot write, or is not what it should be.
    """
    require_writer(decoder, folder)
    if folder is not None:
        with _trained(recommender, folder) as found:
            yield found
        return
    section = recommender.recipe.backbone
    if decoder is None and _decodes(section):
        with recommender.language_model.bare() as backbone:
            yield _plain(backbone)
        return
    yield _plain(load_backbone(BackboneSection(name=decoder or DECODER), recommender.device))


def _plain(backbone: Backbone) -> Opened:
    told = {"decoder": backbone.identity.name, "weights_sha256": backbone.identity.weights_sha256, "writer": None}
    return Opened(Writer(backbone), INSTRUCTION, True, told)


def _decodes(section: BackboneSection) -> bool:
    facts = known_facts(section.name, section.revision)
    return facts is not None and facts.kind == "decoder"


def _read(folder: Path) -> tuple[Manifest, Recipe, ExplanationOptions]:
    """A trained writer's papers, verified."""
    sealed = SealedFolder.open(folder)
    recipe = Recipe.from_plain(sealed.recipe(), where=str(folder / "recipe.yaml"))
    options = recipe.head.config
    if not isinstance(options, ExplanationOptions):
        raise InputError(
            f"{folder} is a run with head {recipe.head.name}, not a writer: train one with head.name=explanation"
        )
    sealed.verify(FILES)
    return sealed.manifest, recipe, options


@contextlib.contextmanager
def _trained(recommender: Recommender, folder: Path) -> Iterator[Opened]:
    manifest, recipe, options = _read(folder)
    with _base_of(recommender, recipe, manifest, folder) as backbone:
        tuned = load_adapter(folder, manifest, recipe, backbone)
        try:
            told = {
                "decoder": backbone.identity.name,
                "weights_sha256": backbone.identity.weights_sha256,
                "writer": manifest.digest,
                "adapter": recipe.adapter.method,
            }
            yield Opened(Writer(backbone, tuned.eval()), options.instruction, False, told)
        finally:
            backbone.detach()


@contextlib.contextmanager
def _base_of(recommender: Recommender, recipe: Recipe, manifest: Manifest, folder: Path) -> Iterator[Backbone]:
    """The bare base of a writer: the run's own where it is the same, else loaded now."""
    own = recommender.manifest
    if own is not None and own.base and not base_differences(own.base, manifest.base):
        with recommender.language_model.bare() as backbone:
            yield backbone
        return
    compute = manifest.base.get("compute")
    section = recipe.backbone
    if compute in ("fp32", "bf16"):
        section = section.model_copy(update={"precision": compute})
    backbone = load_backbone(section, recommender.device)
    require_base(backbone.identity.plain(), manifest.base, str(folder))
    yield backbone
