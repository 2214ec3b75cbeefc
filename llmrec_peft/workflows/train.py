"""Train: from a recipe to a run folder with before, after, baselines and ablations."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmrec_peft.artifact.hardware import hardware, versions
from llmrec_peft.artifact.lineage import FILE as LINEAGE
from llmrec_peft.artifact.lineage import write_lineage
from llmrec_peft.backbone.shared import SharedBase
from llmrec_peft.data.dataset import RecDataset
from llmrec_peft.errors import InputError
from llmrec_peft.experiment.about_run import data_report, parameter_counts, protocol_of
from llmrec_peft.experiment.baselines import baselines_of
from llmrec_peft.experiment.decisions import Decision
from llmrec_peft.experiment.experiment import Experiment, OpenedRun, open_run
from llmrec_peft.experiment.fit_by_folds import fit_by_folds
from llmrec_peft.experiment.fitting import FittedVariant, fit_variant, scoring
from llmrec_peft.experiment.head_outcomes import HeadOutcomes
from llmrec_peft.experiment.keep_predictions import keep_predictions
from llmrec_peft.experiment.prepare import prepare
from llmrec_peft.experiment.prepared import Prepared
from llmrec_peft.experiment.recommendation import by_validation, held_against_baseline
from llmrec_peft.experiment.staging import recommender_of, stage
from llmrec_peft.experiment.starting import AskedStart, Start, begun, require_start_of
from llmrec_peft.experiment.texts import Texts
from llmrec_peft.experiment.training_folder import held_for_training, publish, refuse_occupied, training_folder
from llmrec_peft.experiment.what_answers import decider_of, served_blend
from llmrec_peft.model.warm_start import trained_tensors
from llmrec_peft.printable import shown
from llmrec_peft.progress import Progress
from llmrec_peft.recipe import Recipe
from llmrec_peft.recipe.variants import collaborative_only, untuned, without
from llmrec_peft.training.accelerator import end_training
from llmrec_peft.training.memory import peak_cuda_mb, peak_rss_mb
from llmrec_peft.writing.train_writer import as_written, is_writing, train_writer


def train(
    recipe: Recipe,
    run: Path,
    resume: bool = False,
    overwrite: bool = False,
    show: bool = True,
    dataset: RecDataset | None = None,
    shared: SharedBase | None = None,
    progress: Progress | None = None,
    start_from: AskedStart | None = None,
) -> dict[str, Any]:
    """Train a recipe and leave a run folder.

    While it runs, checkpoints lie in a hidden folder beside `run`; `run` itself appears whole at the end.

    Args:
        recipe: What to do.
        run: Folder to make.
        resume: Go on with an interrupted run of the same recipe, data and base; a finished one of the same recipe is
            left as it is.
        overwrite: Replace a run, or throw an interrupted one away; what is no run is never replaced.
        show: Whether to print notes and progress bars on stderr.
        dataset: The data, if it is in memory; else the recipe's reader reads it.
        shared: The base model, and what other trainings of the process computed with it; by default it is loaded.
        progress: Where to report to, in the place of what `show` says.
        start_from: Finished runs with whose adapters this one begins; None for a fresh one.

    Returns:
        The run's metrics, as in ``metrics.json``.

    Raises:
        InputError: When anything the user gave is not right, another process trains there, what is computed is no
            longer finite, or the disk is full; nothing is left on disk then but the checkpoints of a run that was to
            be resumed.
    """
    progress = Progress(show) if progress is None else progress
    writes = is_writing(recipe)
    recipe = recipe.unserved()
    if writes and start_from is not None:
        raise InputError("--start-from: a writer's adapter begins anew")
    as_trained = as_written(recipe) if writes else recipe
    finished = refuse_occupied(run, resume, overwrite, as_trained, lambda asked: prepare(asked, dataset).recipe)
    if finished is not None:
        if dataset is not None:
            _require_data_of(run, finished, prepare(as_trained, dataset))
        require_start_of(run, finished, start_from)
        progress.note(f"{run} is finished; nothing to resume")
        return finished
    with held_for_training(run, resume, overwrite):
        if writes:
            return train_writer(recipe, run, resume, overwrite, progress, dataset)
        return _train(recipe, run, resume, overwrite, progress, dataset, shared, start_from)


def _require_data_of(run: Path, finished: dict[str, Any], prepared: Prepared) -> None:
    """Refuse to hand a finished run back for other data in memory, of which no recipe says which they are.

    Raises:
        InputError: If the run was trained on other data.
    """
    if finished.get("data", {}).get("digest") != prepared.digest:
        raise InputError(
            f"{shown(run)} is finished, trained on other data than what is handed over: overwrite=True trains it anew,"
            " run= names another folder"
        )


@dataclass
class _Fits:
    """Outcomes and costs of everything that was fitted.

    Attributes:
        before: The untuned reference; None where the recipe is that itself.
        after: The tuned whole.
        variants: The collaborative part alone and the whole without each part, by name.
        heads: What each head's models predicted.
        parameters: Numbers of parameters by group.
        weights: Plain figures of the trained parts.
        recommended: What is recommended, and why.
    """

    before: FittedVariant | None
    after: FittedVariant
    variants: dict[str, FittedVariant]
    heads: dict[str, HeadOutcomes]
    parameters: dict[str, int]
    weights: dict[str, Any]
    recommended: dict[str, Any]


def _train(
    recipe: Recipe,
    run: Path,
    resume: bool,
    overwrite: bool,
    progress: Progress,
    dataset: RecDataset | None,
    shared: SharedBase | None,
    asked: AskedStart | None,
) -> dict[str, Any]:
    """Check everything that can be checked, claim the hidden folder, fit, report, publish."""
    for part in recipe.evaluation.ablations:
        without(recipe, part)
    start = None if asked is None else Start.read(asked, recipe)
    opened = open_run(recipe, training_folder(run), progress, dataset, shared)
    if start is not None:
        start.require_base(opened.backbone, opened.experiment.recipe)
    _introduce(opened)
    opened = opened.claimed(run, recipe, resume, None if start is None else start.digest)
    clock = time.monotonic()
    experiment, texts = opened.read_texts()
    if start is not None:
        start = begun(start, texts, experiment.recipe)
    encoding = time.monotonic() - clock
    for line in texts.notes:
        experiment.progress.note(line)
    fits = _fit_all(experiment, texts)
    accelerator, base = experiment.accelerator, opened.backbone.identity.plain()
    metrics = _metrics(experiment.prepared, fits, encoding)
    metrics["seconds"]["prepare"] = round(clock - opened.started, 3)
    metrics["data"]["notes"] += texts.notes
    metrics["seconds"]["total"] = round(opened.total_seconds, 3)
    metrics["base"] = base
    metrics["texts"] = texts.reader.plain()
    metrics["versions"] = versions()
    metrics["hardware"] = {**hardware(str(accelerator.device)), "processes": accelerator.num_processes}

    if start is not None:
        metrics["start"] = start.plain().model_dump(mode="json")

    def published() -> None:
        if start is not None:
            write_lineage(experiment.folder / "artifact" / LINEAGE, start.lineage(experiment.prepared))
        keep_predictions(experiment.folder / "artifact", fits.heads, experiment.prepared)
        publish(run, overwrite, experiment.recipe, metrics, base)

    end_training(accelerator, published)
    return metrics


def _fit_all(experiment: Experiment, texts: Texts) -> _Fits:
    """Fit the untuned reference, the whole, the baselines and the variants, and predict test with each once."""
    recipe, prepared = experiment.recipe, experiment.prepared
    decider = decider_of(prepared, experiment.accelerator.num_processes)
    if decider == "folds":
        return _fit_by_folds(experiment, texts)
    heads = {
        name: HeadOutcomes(name, prepared, baselines_of(name, prepared, texts.items, experiment.progress))
        for name in recipe.reads.heads
    }
    reference = untuned(recipe)
    before = None if reference == recipe else fit_variant(experiment, reference, "before", "before")
    if before is not None:
        _predict_test(heads, "before", before)
    decisions: list[Decision] = [outcomes.blend for outcomes in heads.values() if outcomes.blend is not None]
    primary = heads[recipe.head.name]
    serving = served_blend(decider, primary.name, prepared, primary.baselines)
    if serving is not None:
        decisions.append(serving)
    after = fit_variant(experiment, recipe, "after", "tuned", decisions)
    with scoring(after.model, prepared.test, prepared):
        _predict_test(heads, "after", after)
        for outcomes in heads.values():
            if before is None:  # nothing is tuned but a head over frozen text: one training is both
                outcomes.repeat("after", "before")
            outcomes.add_blend(after)
        weights = {**after.model.report(), **{name: head.report() for name, head in after.model.heads.items()}}
        answering, section, found = after, None, None if serving is None else serving.found
        if serving is not None and found is not None:
            answering, section = serving.answering(after)
            primary.add("recommended", answering)
        trained = trained_tensors(answering.model)
        recommender = recommender_of(answering.model, prepared, texts, section)
    parameters = parameter_counts(after.model, texts)
    if experiment.accelerator.is_main_process:
        stage(experiment.folder / "artifact", recommender, prepared, texts, trained)
    chosen = by_validation(found, primary.metric)
    return _Fits(before, after, _fit_variants(experiment, heads), heads, parameters, weights, chosen)


def _fit_by_folds(experiment: Experiment, texts: Texts) -> _Fits:
    """Let cross-validation choose what answers, then fit the variants that the recipe names beside it."""
    found = fit_by_folds(experiment, texts)
    after, before = found.fitted["after"], found.fitted.get("before")
    parameters = parameter_counts(after.model, texts)
    heads = {found.outcomes.name: found.outcomes}
    variants = {name: one for name, one in found.fitted.items() if name not in ("before", "after")}
    variants |= _fit_variants(experiment, heads)
    return _Fits(before, after, variants, heads, parameters, dict(found.weights), dict(found.recommendation))


def _fit_variants(experiment: Experiment, heads: dict[str, HeadOutcomes]) -> dict[str, FittedVariant]:
    """Fit the collaborative part alone, and the whole without each part that the recipe names."""
    recipe = experiment.recipe
    variants: dict[str, FittedVariant] = {}
    alone = collaborative_only(recipe) if recipe.evaluation.collaborative_only else None
    name = "collaborative_only"
    if alone is not None and recipe.reads.primary.task != "rating" and name not in heads[recipe.head.name].test:
        if alone == recipe:  # nothing is read: one training is both
            for outcomes in heads.values():
                outcomes.repeat("after", name)
        else:
            variants[name] = fit_variant(experiment, alone, name, "collaborative only")
            _predict_test(heads, name, variants[name])
    for part in recipe.evaluation.ablations:
        if part != "adapter" and part not in recipe.signals.active:
            continue  # the graph, where the data came without one
        name = f"without_{part}"
        variants[name] = fit_variant(experiment, without(recipe, part), name, f"without {part}")
        _predict_test(heads, name, variants[name])
    return variants


def _predict_test(heads: dict[str, HeadOutcomes], name: str, fitted: FittedVariant) -> None:
    """Predict test with a fitted variant, once for each head that it has."""
    for head in fitted.model.heads:
        heads[head].add(name, fitted)


def _metrics(prepared: Prepared, fits: _Fits, encoding: float) -> dict[str, Any]:
    """Report a run but for what the machine was; `encoding` is what encoding all texts untuned took, in seconds."""
    recipe, after = prepared.recipe, fits.after
    primary, *others = fits.heads
    report = fits.heads[primary].report()
    further = {name: fits.heads[name].report() for name in others}
    return {
        "recipe": recipe.name,
        "head": primary,
        "seed": recipe.seed,
        "protocol": protocol_of(recipe, fits.heads[primary].task),
        **report,
        "recommended": held_against_baseline(fits.recommended, report),
        **({"heads": further} if further else {}),
        "weights": fits.weights,
        "training": {
            "epochs": after.search.best_epoch,
            "history": list(after.search.history),
            "refit": recipe.refits,
            "seconds": list(after.search.epoch_seconds),
            "tokens": list(after.search.epoch_tokens),
        },
        "seconds": {
            "encode": round(encoding, 3),
            "train": round(encoding + after.seconds, 3),
            "before": 0.0 if fits.before is None else round(fits.before.seconds, 3),
            "ablations": round(sum(fitted.seconds for fitted in fits.variants.values()), 3),
        },
        "peak_memory_mb": {
            "rss": round(max(peak_rss_mb(), *(fitted.peak_rss_mb for fitted in (after, fits.before) if fitted)), 1),
            "cuda": peak_cuda_mb(),
        },
        "parameters": fits.parameters,
        "data": data_report(prepared),
    }


def _introduce(opened: OpenedRun) -> None:
    """Say what is trained on what, before it takes long."""
    experiment = opened.experiment
    prepared, section, say = experiment.prepared, experiment.recipe.backbone, experiment.progress.note
    parts, dataset = prepared.split, prepared.dataset
    say(
        f"{dataset.name}: {len(prepared.vocabulary.users)} users, {len(prepared.vocabulary.items)} items;"
        f" {len(parts.train)} training, {len(parts.valid)} validation, {len(parts.test)} test"
        f" {_CALLED[dataset.feedback]} ({experiment.recipe.data.split} split)"
    )
    for line in dataset.notes:
        say(line)
    for leak in prepared.leaks:
        say(f"leak that data.allow_leakage lets pass: {leak}")
    compute, device = opened.backbone.identity.compute, experiment.accelerator.device
    say(f"{section.name} in {compute} on {device}, quantization {section.quantization}, frozen")


_CALLED = {"rating": "ratings", "click": "clicks", "implicit": "interactions"}
"""What examples of each kind of feedback are called."""
