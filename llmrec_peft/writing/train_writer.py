"""Train a writer: an adapter in a decoder learns to write what people wrote, from what could be told before."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch

from llmrec_peft import registry
from llmrec_peft.artifact.folder import whole_folder
from llmrec_peft.artifact.hardware import hardware, versions
from llmrec_peft.artifact.manifest import make_manifest, write_json
from llmrec_peft.backbone.encoded_texts import EncodedTexts
from llmrec_peft.backbone.encoder import TextEncoder
from llmrec_peft.backbone.preflight import known_facts
from llmrec_peft.data.dataset import RecDataset
from llmrec_peft.data.tokens import TokenTable
from llmrec_peft.errors import InputError
from llmrec_peft.experiment.experiment import OpenedRun, open_run
from llmrec_peft.experiment.training_folder import announce, training_folder, workspace_of
from llmrec_peft.heads.explanation import ExplanationHead
from llmrec_peft.identity import __version__
from llmrec_peft.model import RecModel, TextPlan
from llmrec_peft.model.build import build_heads
from llmrec_peft.model.contexts import empty_head_context
from llmrec_peft.model.text_source import EncodedSource
from llmrec_peft.progress import Progress
from llmrec_peft.training.accelerator import end_training
from llmrec_peft.training.checkpoint import Checkpoint
from llmrec_peft.training.fit_result import FitResult
from llmrec_peft.training.loop import fit
from llmrec_peft.training.memory import peak_cuda_mb, peak_rss_mb
from llmrec_peft.writing.reviews import Reviews, read_reviews
from llmrec_peft.writing.writer import Writer
from llmrec_peft.writing.writer_report import figures, rated, writer_card

if TYPE_CHECKING:
    from llmrec_peft.backbone.adapter import AdapterMethod
    from llmrec_peft.backbone.load import Backbone
    from llmrec_peft.recipe import Recipe


def is_writing(recipe: Recipe) -> bool:
    """Whether a recipe trains a writer.

    Raises:
        InputError: When it asks for one beside other heads, whose examples have nothing in common with it.
    """
    writing = [registry.get("heads", choice.name).task == "writing" for choice in recipe.all_heads]
    if any(writing) and len(writing) > 1:
        raise InputError("heads: explanation is trained by itself, as the only head")
    return any(writing)


def as_written(recipe: Recipe) -> Recipe:
    """Return the recipe as a writer is trained by it: the adapter in every epoch, and no refit."""
    return recipe.changed({"training.adapter_epochs": None, "training.refit": False})


def train_writer(
    recipe: Recipe, run: Path, resume: bool, overwrite: bool, progress: Progress, dataset: RecDataset | None = None
) -> dict[str, Any]:
    """Train a recipe whose head is `explanation` and leave a folder for `llmrec explain --writer`.

    Args:
        recipe: Decoder, adapter, data with reviews, and the head's options.
        run: Folder to make.
        resume: Go on with an interrupted training.
        overwrite: Replace what is there.
        progress: Where to report to.

    Returns:
        Figures in the layout of ``metrics.json``.

    Raises:
        InputError: When the base cannot write, or the data has no reviews.
    """
    asked, recipe = recipe, as_written(recipe)
    _require_decoder(recipe)
    opened = open_run(recipe, training_folder(run), progress, dataset)
    experiment, backbone = opened.experiment, opened.backbone
    recipe, prepared, progress = experiment.recipe, experiment.prepared, experiment.progress
    middle = recipe.data.liked_above
    middle = sum(prepared.dataset.rating_range) / 2.0 if middle is None else middle
    plain = Writer(backbone)
    head = cast(ExplanationHead, build_heads(recipe, empty_head_context(recipe))[recipe.head.name])
    reviews = read_reviews(prepared, head.config, plain, middle, recipe.seed)
    _introduce(opened, reviews)
    opened = opened.claimed(run, asked, resume)
    method: AdapterMethod[Any] = registry.get("adapters", recipe.adapter.method)(recipe.adapter.config)
    with progress.bar("untuned", len(reviews.valid) + len(reviews.test)) as shown:
        before = [rated(plain, reviews.of(part), shown.advance) for part in (reviews.valid, reviews.test)]
    clock = time.monotonic()
    model, tuned = _model(recipe, backbone, method, head, reviews)

    def figure(_: RecModel) -> float:
        return rated(tuned, reviews.of(reviews.valid)).perplexity

    torch.manual_seed(recipe.seed)
    checkpoint = Checkpoint(experiment.folder / "fit")
    watched = (method, figure, None, progress)
    section, accelerator = recipe.training, experiment.accelerator
    result = fit(model, reviews.train, section, recipe.seed, accelerator, checkpoint, "writer", *watched)
    seconds = time.monotonic() - clock
    model.eval()
    after = [rated(tuned, reviews.of(part)) for part in (reviews.valid, reviews.test)]
    metrics = {
        **figures(recipe, reviews, before, after, tuned.vocabulary),
        **_facts(opened, reviews, model, result),
        "seconds": {"train": round(seconds, 3), "total": round(opened.total_seconds, 3)},
        "hardware": {**hardware(str(accelerator.device)), "processes": accelerator.num_processes},
    }
    end_training(accelerator, lambda: _publish(run, overwrite, recipe, metrics, method, tuned, backbone))
    return metrics


def _require_decoder(recipe: Recipe) -> None:
    facts = known_facts(recipe.backbone.name, recipe.backbone.revision)
    if facts is not None and facts.kind != "decoder":
        raise InputError(
            f"head explanation: backbone {recipe.backbone.name} is an encoder and cannot write; set"
            " backbone.name=smollm2 or another decoder"
        )


def _introduce(opened: OpenedRun, reviews: Reviews) -> None:
    """Say what is trained on what, before it takes long."""
    experiment, dataset = opened.experiment, opened.experiment.prepared.dataset
    for line in (*dataset.notes, *reviews.notes):
        experiment.progress.note(line)
    base = f"{experiment.recipe.backbone.name} in {opened.backbone.identity.compute}"
    experiment.progress.note(
        f"{dataset.name}: {len(reviews.train)} training, {len(reviews.valid)} validation,"
        f" {len(reviews.test)} test reviews; {base}, frozen"
    )


def _model(
    recipe: Recipe, backbone: Backbone, method: AdapterMethod[Any], head: ExplanationHead, reviews: Reviews
) -> tuple[RecModel, Writer]:
    """The decoder with a fresh adapter as a model that the training loop knows, and as a writer."""
    frozen = list(backbone.model.modules())
    torch.manual_seed(recipe.seed)
    if recipe.training.gradient_checkpointing:
        backbone.enable_gradient_checkpointing()
    tuned = method.attach(backbone)
    empty = TokenTable.of([], lambda some: [], backbone.pad_id)
    encoded = EncodedTexts(TextEncoder(tuned, frozen, "last-token", False), empty)
    writer = Writer(backbone, tuned)

    def reads(rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return writer.losses([reviews.example[row] for row in rows.tolist()])

    head.reads = reads
    model = RecModel({}, {recipe.head.name: head}, EncodedSource(TextPlan(item=False), encoded))
    return model.to(backbone.device), writer


def _facts(opened: OpenedRun, reviews: Reviews, model: RecModel, result: FitResult) -> dict[str, Any]:
    """What was trained, on what and where."""
    recipe, prepared, backbone = opened.experiment.recipe, opened.experiment.prepared, opened.backbone
    adapter = sum(parameter.numel() for _, parameter in model.parameter_groups()["adapter"])
    own = {id(parameter) for _, parameter in model.parameter_groups()["adapter"]}
    frozen = sum(parameter.numel() for parameter in backbone.model.parameters() if id(parameter) not in own)
    return {
        "recipe": recipe.name,
        "head": recipe.head.name,
        "seed": recipe.seed,
        "training": {"epochs": result.best_epoch, "history": list(result.history), "refit": False},
        "parameters": {"total": frozen + adapter, "trainable": adapter, "adapter": adapter},
        "peak_memory_mb": {"rss": round(max(peak_rss_mb(), result.peak_rss_mb), 1), "cuda": peak_cuda_mb()},
        "data": {
            "name": prepared.dataset.name,
            "digest": prepared.digest,
            "train": len(reviews.train),
            "valid": len(reviews.valid),
            "test": len(reviews.test),
            "licence": prepared.dataset.licence,
            "notes": [*prepared.dataset.notes, *reviews.notes],
        },
        "base": backbone.identity.plain(),
        "versions": versions(),
    }


def _publish(
    run: Path,
    overwrite: bool,
    recipe: Recipe,
    metrics: dict[str, Any],
    method: AdapterMethod[Any],
    tuned: Writer,
    backbone: Backbone,
) -> None:
    with whole_folder(run, overwrite, workspace_of(run)) as folder:
        method.save(tuned.model, backbone, folder)
        (folder / "recipe.yaml").write_text(recipe.to_yaml(), encoding="utf-8")
        write_json(folder / "metrics.json", metrics)
        base = backbone.identity.plain()
        manifest = make_manifest(folder, base, __version__)
        write_json(folder / "manifest.json", manifest.model_dump(mode="json"))
        (folder / "README.md").write_text(writer_card(recipe, metrics), encoding="utf-8")
        announce(run, manifest)
