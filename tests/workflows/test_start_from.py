"""`llmrec train --start-from`: the adapter begins with that of a run, or with the mean of several, and says so."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from growing_films import growing_films
from resealed import resealed
from safetensors.torch import load_file
from spoiled import change_tensors

from llmrec_peft.artifact.manifest import read_manifest
from llmrec_peft.cli.main import main
from llmrec_peft.data.dataset import RecDataset, column
from llmrec_peft.errors import InputError
from llmrec_peft.experiment.starting import AskedStart, mean_cosine
from llmrec_peft.plugins import table
from llmrec_peft.recipe import Recipe, load_recipe
from llmrec_peft.workflows import train as workflow
from llmrec_peft.workflows.lineage import lineage

pytestmark = pytest.mark.trains

LORA = {"method": "lora", "layers": "top-2"}
STILL = {"training.adapter_epochs": 0}
"""The adapter stays as it begins."""
QUICK: dict[str, Any] = {
    "data.path": "demo",
    "backbone.precision": "fp32",
    "training.epochs": 1,
    "training.refit": False,
    "training.choice": "validation",
    "evaluation.bootstrap": 0,
    "evaluation.ablations": (),
}


@pytest.fixture(scope="module")
def pair(quick_run: Callable[..., Path]) -> list[Path]:
    """Two runs with LoRA of ranks 3 and 5 whose adapters have moved."""
    fast = {"training.adapter.learning_rate": 0.02}
    first = quick_run("movies", {**fast, "seed": 1, "adapter": {**LORA, "rank": 3}})
    return [first, quick_run("movies", {**fast, "seed": 2, "adapter": {**LORA, "rank": 5, "alpha": 5.0}})]


@pytest.fixture
def recipe(tiny_backbone: Path) -> Callable[..., Recipe]:
    """Make the recipe of a new run on the same base."""

    def make(**more: Any) -> Recipe:
        changes = {**QUICK, "backbone.name": str(tiny_backbone), "seed": 9, "adapter": {**LORA, "rank": 3}}
        return load_recipe("movies", changes={**changes, **more})

    return make


def updates(run: Path, scale: float) -> list[torch.Tensor]:
    """Scale · B A of every layer of a run's adapter."""
    tensors = load_file(run / "adapter_model.safetensors")
    names = sorted(name for name in tensors if "lora_A" in name)
    return [scale * tensors[name.replace("lora_A", "lora_B")] @ tensors[name] for name in names]


def vectors(run: Path) -> torch.Tensor:
    """Stored vectors of a run's items."""
    return load_file(run / "item_vectors.safetensors")["text"]


def test_run_begins_with_the_vectors_of_the_run_that_it_starts_from(
    pair: list[Path], recipe: Callable[..., Recipe], tmp_path: Path
) -> None:
    workflow.train(recipe(**STILL), tmp_path / "new", show=False, start_from=AskedStart((pair[0],)))
    own, parent = (load_file(run / "adapter_model.safetensors") for run in (tmp_path / "new", pair[0]))
    assert own.keys() == parent.keys()
    assert all(torch.equal(own[name], parent[name]) for name in own)
    workflow.train(recipe(**STILL), tmp_path / "cold", show=False)
    assert torch.allclose(vectors(tmp_path / "new"), vectors(pair[0]), atol=1e-6)
    assert not torch.allclose(vectors(tmp_path / "cold"), vectors(pair[0]), atol=1e-3)


def test_several_runs_give_the_mean_of_their_updates(
    pair: list[Path], recipe: Callable[..., Recipe], tmp_path: Path
) -> None:
    wide = recipe(**STILL, **{"adapter.rank": 8, "adapter.alpha": 4.0})
    workflow.train(wide, tmp_path / "new", show=False, start_from=AskedStart(tuple(pair)))
    first, second = updates(pair[0], 16.0 / 3.0), updates(pair[1], 1.0)
    for found, one, other in zip(updates(tmp_path / "new", 0.5), first, second, strict=True):
        assert torch.allclose(found, 0.5 * (one + other), atol=1e-5)


def test_mean_is_brought_to_the_rank_of_the_recipe(
    pair: list[Path], recipe: Callable[..., Recipe], tmp_path: Path
) -> None:
    workflow.train(recipe(**STILL), tmp_path / "new", show=False, start_from=AskedStart(tuple(pair)))
    first, second = updates(pair[0], 16.0 / 3.0), updates(pair[1], 1.0)
    for found, one, other in zip(updates(tmp_path / "new", 16.0 / 3.0), first, second, strict=True):
        mean = 0.5 * (one + other)
        assert torch.allclose((found - mean).norm(), torch.linalg.svdvals(mean)[3:].norm(), rtol=1e-3)


def test_adapter_is_trained_on_and_the_refit_begins_there_too(
    pair: list[Path], recipe: Callable[..., Recipe], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[torch.Tensor] = []
    fit = workflow.fit_variant.__globals__["fit"]

    def watched(model: Any, *arguments: Any, **named: Any) -> Any:
        if model.encoder is not None:
            state = model.trained_state().items()
            begun.append(next(one.clone() for name, one in state if "lora_B" in name))
        return fit(model, *arguments, **named)

    monkeypatch.setitem(workflow.fit_variant.__globals__, "fit", watched)
    refit = recipe(**{"training.refit": True})
    workflow.train(refit, tmp_path / "new", show=False, start_from=AskedStart((pair[0],)))
    parent = load_file(pair[0] / "adapter_model.safetensors")
    expected = next(one for name, one in parent.items() if "lora_B" in name)
    assert len(begun) == 2
    assert all(torch.equal(one, expected) for one in begun)
    own = load_file(tmp_path / "new" / "adapter_model.safetensors")
    assert any(not torch.equal(own[name], parent[name]) for name in own)


def test_any_method_begins_with_one_run_of_the_same_options(
    quick_run: Callable[..., Path], recipe: Callable[..., Recipe], tmp_path: Path
) -> None:
    changes = {"adapter": {"method": "ia3"}, "training.adapter.learning_rate": 0.05}
    runs = [quick_run("movies", {**changes, "seed": seed}) for seed in (1, 2)]
    new = recipe(**STILL, adapter={"method": "ia3"})
    workflow.train(new, tmp_path / "new", show=False, start_from=AskedStart((runs[0],)))
    own, parent = (load_file(run / "adapter_model.safetensors") for run in (tmp_path / "new", runs[0]))
    assert all(torch.equal(own[name], parent[name]) for name in own)
    with pytest.raises(InputError, match="cannot be brought together"):
        workflow.train(new, tmp_path / "mean", show=False, start_from=AskedStart(tuple(runs)))
    assert not (tmp_path / "mean").exists()


def _other_texts(films: RecDataset) -> RecDataset:
    """The same films under titles of other words."""
    ids = column(films.items, "item_id")
    titles = [f"schedule of invoice {at}, tax ledger" for at in range(len(ids))]
    told = {name: column(films.items, name) for name in films.items.column_names if name != "title"}
    return replace(films, items=table({**told, "title": titles}))


def test_nearest_run_is_the_one_whose_texts_are_most_alike(recipe: Callable[..., Recipe], tmp_path: Path) -> None:
    films = growing_films()
    frozen = {}
    for name, data in (("films", films), ("papers", _other_texts(films))):
        workflow.train(recipe(), tmp_path / name, show=False, dataset=data)
        plain = recipe(adapter={"method": "none"})
        workflow.train(plain, tmp_path / f"{name}-frozen", show=False, dataset=data)
        frozen[name] = vectors(tmp_path / f"{name}-frozen")[1:]
    near = {name: mean_cosine(frozen["films"], of) for name, of in frozen.items()}
    best = max(near, key=lambda name: near[name])
    asked = AskedStart((tmp_path / "films", tmp_path / "papers"), nearest=1)
    metrics = workflow.train(recipe(), tmp_path / "new", show=False, dataset=films, start_from=asked)
    assert abs(near["films"] - near["papers"]) > 1e-3, "both are as near"
    assert metrics["start"]["runs"] == [read_manifest(tmp_path / best).digest]
    assert metrics["start"]["nearness"] == pytest.approx([near[best]], abs=0.02)  # of a sample


def test_lineage_names_the_runs_and_no_ancestor(
    pair: list[Path], recipe: Callable[..., Recipe], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    workflow.train(recipe(), tmp_path / "new", show=False, start_from=AskedStart(tuple(pair)))
    told = lineage(tmp_path / "new")
    assert told["lineage"] == [read_manifest(tmp_path / "new").digest]
    assert told["runs"][0]["started"]["runs"] == [read_manifest(run).digest for run in pair]
    with pytest.raises(SystemExit):
        main(["lineage", str(tmp_path / "new")])
    assert "its adapter began with the mean of those of" in capsys.readouterr().out


class _StopError(Exception):
    """Stands for an interruption inside this process."""


def test_interrupted_run_is_resumed_from_the_same_start_alone(
    pair: list[Path], recipe: Callable[..., Recipe], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object, **__: object) -> None:
        raise _StopError

    start, run = AskedStart(tuple(pair)), tmp_path / "new"
    with monkeypatch.context() as patch:
        patch.setattr(workflow, "stage", stop)
        with pytest.raises(_StopError):
            workflow.train(recipe(), run, show=False, start_from=start)
    for other in (None, AskedStart((pair[0],)), AskedStart(tuple(pair), nearest=1)):
        with pytest.raises(InputError, match="the run that it goes on from is another"):
            workflow.train(recipe(), run, resume=True, show=False, start_from=other)
    workflow.train(recipe(), run, resume=True, show=False, start_from=start)
    workflow.train(recipe(), tmp_path / "whole", show=False, start_from=start)
    assert read_manifest(run).digest == read_manifest(tmp_path / "whole").digest
    assert workflow.train(recipe(), run, resume=True, show=False, start_from=start)["start"]["weights"] == [0.5, 0.5]
    with pytest.raises(InputError, match="its adapter began otherwise"):
        workflow.train(recipe(), run, resume=True, show=False)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"adapter": {"method": "ia3"}}, "the recipe trains a ia3 adapter"),
        ({"adapter.layers": "top-1"}, "layers that are adapted differ"),
        ({"adapter.start": "pissa"}, "begins with the base's own weights"),
        ({"signals.text": False, "signals.taste": False}, "reads no text"),
    ],
)
def test_runs_that_do_not_fit_the_recipe_are_refused_and_nothing_is_written(
    pair: list[Path], recipe: Callable[..., Recipe], tmp_path: Path, change: dict[str, Any], said: str
) -> None:
    with pytest.raises(InputError, match=said):
        workflow.train(recipe(**change), tmp_path / "new", show=False, start_from=AskedStart((pair[0],)))
    assert not list(tmp_path.iterdir())


def test_other_base_and_broken_adapters_are_refused(
    pair: list[Path], recipe: Callable[..., Recipe], tmp_path: Path
) -> None:
    for name in ("base", "shapes", "changed"):
        shutil.copytree(pair[0], tmp_path / name)
    resealed(tmp_path / "base", weights_sha256="0" * 64)
    for name in ("shapes", "changed"):
        weights = tmp_path / name / "adapter_model.safetensors"
        change_tensors(weights, lambda tensors: {key: one[:, :-1] for key, one in tensors.items()})
    resealed(tmp_path / "shapes")
    for name, said in (("base", "another base than this training"), ("shapes", "shapes"), ("changed", "not what the")):
        with pytest.raises(InputError, match=said):
            workflow.train(recipe(), tmp_path / "new", show=False, start_from=AskedStart((tmp_path / name,)))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["base", "changed", "shapes"]


@pytest.mark.parametrize(
    ("runs", "nearest", "said"),
    [((0, 0), None, "are the same run"), ((), 1, "name some"), ((0, 1), 3, "names 2 runs"), ((0,), 0, "names 1 runs")],
)
def test_wrong_choice_of_runs_is_one_line(
    pair: list[Path],
    recipe: Callable[..., Recipe],
    tmp_path: Path,
    runs: tuple[int, ...],
    nearest: int | None,
    said: str,
) -> None:
    asked = AskedStart(tuple(pair[at] for at in runs), nearest)
    with pytest.raises(InputError, match=said):
        workflow.train(recipe(), tmp_path / "new", show=False, start_from=asked)


def test_command_takes_runs_and_a_number(
    pair: list[Path], tiny_backbone: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = {**{name: json.dumps(value) for name, value in QUICK.items() if name != "data.path"}}
    settings |= {"backbone.name": str(tiny_backbone), "adapter": json.dumps({**LORA, "rank": 3})}
    given = [part for name, value in settings.items() for part in ("--set", f"{name}={value}")]
    begin = [part for run in pair for part in ("--start-from", str(run))]
    out = str(tmp_path / "new")
    with pytest.raises(SystemExit) as ended:
        main(
            ["train", "movies", "--data", "demo", *given, *begin, "--start-nearest", "1", "--out", out, "--json", "-q"]
        )
    assert not ended.value.code
    assert len(json.loads(capsys.readouterr().out)["start"]["runs"]) == 1
