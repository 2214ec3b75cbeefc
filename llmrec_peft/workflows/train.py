"""Train: from a recipe to a run folder with before, after, baselines and ablations."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator, DistributedDataParallelKwargs
from numpy.typing import NDArray

from llmrec_peft import __version__, registry
from llmrec_peft.artifact.card import model_card
from llmrec_peft.artifact.folder import whole_file, whole_folder
from llmrec_peft.artifact.hardware import hardware, versions
from llmrec_peft.artifact.manifest import make_manifest, write_json
from llmrec_peft.artifact.tables import ItemTable
from llmrec_peft.backbone.adapter import require_capabilities
from llmrec_peft.backbone.load import load_backbone
from llmrec_peft.backbone.locate import locate
from llmrec_peft.errors import InputError, disk_is_full
from llmrec_peft.evaluation.baselines import Baseline, fit_baselines
from llmrec_peft.identity import values_digest
from llmrec_peft.progress import bar, note
from llmrec_peft.recipe import Recipe
from llmrec_peft.recommender import Recommender
from llmrec_peft.training.memory import peak_cuda_mb
from llmrec_peft.workflows.fitting import Fitted, Texts, fit_variant
from llmrec_peft.workflows.prepare import Prepared, prepare
from llmrec_peft.workflows.report import comparisons, figures, item_figures
from llmrec_peft.workflows.variants import untuned, without


def train(
    recipe: Recipe, run: Path, resume: bool = False, overwrite: bool = False, show: bool = True
) -> dict[str, Any]:
    """Train a recipe and leave a run folder.

    While it runs, checkpoints lie in a hidden folder beside `run`; `run` itself appears whole at the end.

    Args:
        recipe: What to do.
        run: Folder to make.
        resume: Go on with an interrupted run of the same recipe and data; a finished one is left as it is.
        overwrite: Replace a run, or throw an interrupted one away.
        show: Whether to print notes and progress bars on stderr.

    Returns:
        The run's metrics, as in ``metrics.json``.

    Raises:
        InputError: When anything the user gave is not right, or the disk is full; nothing is left on disk
            then but the checkpoints of a run that was to be resumed.
    """
    work = run.with_name(f".{run.name}.training")
    resumes = resume and work.exists()
    try:
        return _train(recipe, run, work, resume, overwrite, show)
    except Exception as error:
        if not disk_is_full(error):
            raise
        if not resumes:
            shutil.rmtree(work, ignore_errors=True)
        raise InputError(f"{run}: no room on the disk; the run was not written") from None


def _train(recipe: Recipe, run: Path, work: Path, resume: bool, overwrite: bool, show: bool) -> dict[str, Any]:
    started = time.monotonic()
    if run.exists() and not overwrite:
        if resume and (run / "metrics.json").is_file():
            if show:
                note(f"{run} is finished; nothing to resume")
            return dict(json.loads((run / "metrics.json").read_text(encoding="utf-8")))
        raise InputError(f"{run} exists already: --overwrite replaces it, --out names another folder")
    if work.exists() and not resume and not overwrite:
        raise InputError(f"an interrupted run of {run} is there: --resume goes on, --overwrite starts over")
    variants = {part: without(recipe, part) for part in recipe.evaluation.ablations}
    method = registry.get("adapters", recipe.adapter.method)
    require_capabilities(recipe.adapter.method, method, recipe.backbone.quantization, None)
    location = locate(recipe.backbone.name, recipe.backbone.revision)
    recipe, prepared = prepare(recipe)
    variants = {part: without(recipe, part) for part in variants if part != "graph" or "graph" in recipe.signals.active}
    accelerator = _accelerator(recipe, work)
    backbone = load_backbone(recipe.backbone, accelerator.device)
    require_capabilities(recipe.adapter.method, method, recipe.backbone.quantization, backbone.kind)
    if show and accelerator.is_main_process:
        _introduce(recipe, prepared, backbone.identity.compute, str(accelerator.device))
    accelerator.wait_for_everyone()  # every process has looked for a run in the way before one takes the place
    earlier = 0.0
    if accelerator.is_main_process:
        earlier = _claim(work, recipe, prepared, location.weights_sha256, resume)
    accelerator.wait_for_everyone()
    accelerator.init_trackers("llmrec-peft", config={"recipe": recipe.to_yaml()})

    clock = time.monotonic()
    texts = Texts(backbone, prepared, recipe)
    encoding = time.monotonic() - clock
    before = fit_variant(untuned(recipe), prepared, texts, accelerator, work / "before", "before", show)
    before_test = before.model.scores(prepared.test.user, prepared.test.item)
    after = fit_variant(recipe, prepared, texts, accelerator, work / "after", "tuned", show)
    recommender = _recommender(recipe, prepared, texts, after)
    after_test = _test_scores(recommender, prepared)
    parameters = _parameters(after, texts)
    if accelerator.is_main_process:
        _stage(work / "artifact", recommender, prepared, texts, after)
    baselines = _baselines(prepared, recipe, show and accelerator.is_main_process)
    ablations: dict[str, tuple[NDArray[np.float32], Fitted]] = {}
    for part, variant in variants.items():
        fitted = fit_variant(variant, prepared, texts, accelerator, work / f"without_{part}", f"without {part}", show)
        ablations[f"without_{part}"] = (fitted.model.scores(prepared.test.user, prepared.test.item), fitted)
    accelerator.end_training()  # closes trackers, whose files are published, and the process group

    on_test: dict[str, NDArray[np.floating]] = {"before": before_test, "after": after_test}
    on_test |= {baseline.name: baseline.test for baseline in baselines}
    on_test |= {name: scores for name, (scores, _) in ablations.items()}
    on_valid: dict[str, NDArray[np.floating]] = {"before": before.valid, "after": after.valid}
    on_valid |= {baseline.name: baseline.valid for baseline in baselines}
    on_valid |= {name: fitted.valid for name, (_, fitted) in ablations.items()}
    names = [baseline.name for baseline in baselines]
    learned = prepared.learned(recipe.training.refit)
    counts = learned.counts_by_item(prepared.vocabulary.num_items)
    metrics: dict[str, Any] = {
        "recipe": recipe.name,
        "head": recipe.head.name,
        "primary_metric": registry.get("heads", recipe.head.name).metric,
        "seed": recipe.seed,
        "test": figures(on_test, prepared.test.label, names, list(ablations)),
        "valid": figures(on_valid, prepared.valid.label, names, list(ablations)),
        "slices": item_figures(on_test, prepared.test, counts, names, list(ablations)),
        "comparisons": comparisons(on_test, prepared.test, recipe.evaluation.bootstrap),
        "baseline_settings": {baseline.name: baseline.settings for baseline in baselines},
        "training": {
            "epochs": after.search.best_epoch,
            "history": list(after.search.history),
            "refit": recipe.training.refit,
        },
        "seconds": {
            "train": round(encoding + after.seconds, 3),
            "before": round(before.seconds, 3),
            "ablations": round(sum(fitted.seconds for _, fitted in ablations.values()), 3),
            "total": round(earlier + time.monotonic() - started, 3),
        },
        "peak_memory_mb": {"rss": round(_peak(after, before), 1), "cuda": peak_cuda_mb()},
        "parameters": parameters,
        "data": _data_report(prepared),
        "base": backbone.identity.plain(),
        "versions": versions(),
        "hardware": {**hardware(str(accelerator.device)), "processes": accelerator.num_processes},
    }
    if accelerator.is_main_process:
        _publish(work, run, overwrite, recipe, metrics, backbone.identity.plain())
    return metrics


def _accelerator(recipe: Recipe, work: Path) -> Accelerator:
    from accelerate.utils import ProjectConfiguration

    logs = work / "logs"
    trackers = list(recipe.training.trackers)
    for tracker in trackers:
        _require_tracker(tracker)
    accelerator = Accelerator(
        cpu=not torch.cuda.is_available(),  # without it Accelerate starts no process group on processors
        log_with=trackers or None,
        project_config=ProjectConfiguration(project_dir=str(work), logging_dir=str(logs)),
        # buffers are the same in all processes, and sparse ones cannot be broadcast
        kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=True, broadcast_buffers=False)],
    )
    asked = int(os.environ.get("WORLD_SIZE", "1"))
    if accelerator.num_processes != asked:
        raise InputError(
            f"{asked} processes were started, but each would train alone ({accelerator.num_processes} together):"
            f" start them with python -m torch.distributed.run --nproc_per_node {asked} -m llmrec_peft.cli.main train"
        )
    return accelerator


def _require_tracker(tracker: str) -> None:
    from importlib.util import find_spec

    if find_spec(tracker) is None:
        raise InputError(f"training.trackers: {tracker} is not installed: pip install 'llmrec-peft[tracking]'")


def _introduce(recipe: Recipe, prepared: Prepared, compute: str, device: str) -> None:
    parts, dataset = prepared.split, prepared.dataset
    note(
        f"{dataset.name}: {len(prepared.vocabulary.users)} users, {len(prepared.vocabulary.items)} items;"
        f" {len(parts.train)} training, {len(parts.valid)} validation, {len(parts.test)} test ratings"
        f" ({recipe.data.split} split)"
    )
    for line in dataset.notes:
        note(line)
    note(f"{recipe.backbone.name} in {compute} on {device}, quantization {recipe.backbone.quantization}, frozen")


def _claim(work: Path, recipe: Recipe, prepared: Prepared, weights: str, resume: bool) -> float:
    """Make the hidden folder of a running training, or take an interrupted one up; returns its seconds so far."""
    identity = values_digest([recipe.plain(), prepared.digest(), weights, __version__])
    path = work / "identity.json"
    if resume and path.is_file():
        stored = json.loads(path.read_text(encoding="utf-8"))
        if stored["identity"] != identity:
            raise InputError(
                f"the interrupted run in {work} had another recipe, data, base model or version:"
                " resume it with the same ones, or start over with --overwrite"
            )
        return max(0.0, _touched(work) - float(stored["started"]))
    shutil.rmtree(work, ignore_errors=True)
    try:
        work.mkdir(parents=True)
        with whole_file(path) as partial:
            write_json(partial, {"identity": identity, "started": time.time()})
    except (OSError, InputError) as error:
        shutil.rmtree(work, ignore_errors=True)
        raise InputError(f"cannot write beside {work}: {getattr(error, 'strerror', None) or error}") from None
    return 0.0


def _touched(work: Path) -> float:
    """When the interrupted run last wrote anything."""
    return max(path.stat().st_mtime for path in work.rglob("*"))


def _baselines(prepared: Prepared, recipe: Recipe, show: bool) -> list[Baseline]:
    fit = prepared.learned(recipe.training.refit)
    vocabulary = prepared.vocabulary
    found = []
    with bar("baselines", 5, show=show) as shown:
        for baseline in fit_baselines(
            prepared.train,
            prepared.valid,
            fit,
            prepared.test,
            vocabulary.num_users,
            vocabulary.num_items,
            prepared.dataset.rating_range,
        ):
            found.append(baseline)
            shown.advance(text=baseline.name)
    return found


def _recommender(recipe: Recipe, prepared: Prepared, texts: Texts, after: Fitted) -> Recommender:
    """Fold the trained model and give it its catalogue."""
    model = after.model
    vectors: torch.Tensor | None = model.text_table
    if model.encoder is not None:
        with model.encoder.fixed() as encoded:
            vectors = encoded.clone()
    model.fold()
    learned = prepared.learned(recipe.training.refit)
    counts = learned.counts_by_item(prepared.vocabulary.num_items)
    items = ItemTable(tuple(prepared.titles), prepared.texts[1:], counts[1:])
    seen = [np.empty(0, np.int64)] * prepared.vocabulary.num_users
    return Recommender(recipe, model, prepared.vocabulary, items, vectors, seen)


def _test_scores(recommender: Recommender, prepared: Prepared) -> NDArray[np.float32]:
    """Score the test part through the recommender, exactly as `llmrec evaluate` will."""
    users, items = prepared.vocabulary.users, prepared.vocabulary.items
    return recommender.score(
        [users[index - 1] for index in prepared.test.user], [items[index - 1] for index in prepared.test.item]
    )


def _stage(folder: Path, recommender: Recommender, prepared: Prepared, texts: Texts, after: Fitted) -> None:
    """Write the artifact's files before another variant trains the same adapter anew."""
    recipe = recommender.recipe
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    method = registry.get("adapters", recipe.adapter.method)(recipe.adapter.config)
    reads = recommender.catalogue.vectors is not None
    tuned = after.model.encoder.model if after.model.encoder is not None else texts.backbone.model
    recommender.save(folder, method, tuned if reads else None, texts.backbone, prepared.learned(recipe.training.refit))


def _parameters(after: Fitted, texts: Texts) -> dict[str, int]:
    groups = after.model.parameter_groups()
    count = {name: sum(parameter.numel() for _, parameter in members) for name, members in groups.items()}
    adapters = {id(p) for _, p in groups["adapter"]}
    base = sum(p.numel() for p in texts.backbone.model.parameters() if id(p) not in adapters and not p.requires_grad)
    trainable = sum(count.values())
    return {"total": base + trainable, "trainable": trainable, **count}


def _peak(*variants: Fitted) -> float:
    from llmrec_peft.training.memory import peak_rss_mb

    return max(peak_rss_mb(), *(variant.peak_rss_mb for variant in variants))


def _data_report(prepared: Prepared) -> dict[str, Any]:
    parts = prepared.split
    return {
        "name": prepared.dataset.name,
        "digest": prepared.digest(),
        "users": len(prepared.vocabulary.users),
        "items": len(prepared.vocabulary.items),
        "train": len(parts.train),
        "valid": len(parts.valid),
        "test": len(parts.test),
        "licence": prepared.dataset.licence,
        "notes": list(prepared.dataset.notes),
    }


def _publish(
    work: Path,
    run: Path,
    overwrite: bool,
    recipe: Recipe,
    metrics: Mapping[str, Any],
    base: dict[str, str | None],
) -> None:
    """Move the finished artifact into place as a whole and remove the hidden folder."""
    with whole_folder(run, overwrite) as folder:
        shutil.copytree(work / "artifact", folder, dirs_exist_ok=True)
        if (work / "logs").is_dir() and any((work / "logs").iterdir()):
            shutil.copytree(work / "logs", folder / "logs")
        write_json(folder / "metrics.json", metrics)
        write_json(folder / "manifest.json", make_manifest(folder, base, __version__).model_dump(mode="json"))
        (folder / "README.md").write_text(model_card(recipe, metrics), encoding="utf-8")
    shutil.rmtree(work, ignore_errors=True)
