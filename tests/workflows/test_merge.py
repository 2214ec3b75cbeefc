"""`llmrec merge`: one run with several runs' adapters, the first one's in all else, and nothing written if refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from growing_films import growing_films, until
from resealed import resealed
from safetensors.torch import load_file
from spoiled import change_tensors

from llmrec_peft import Recommender
from llmrec_peft.artifact.manifest import read_manifest
from llmrec_peft.cli.main import main
from llmrec_peft.errors import InputError
from llmrec_peft.page.run_report import read_run
from llmrec_peft.recipe import load_recipe
from llmrec_peft.workflows.evaluate import evaluate
from llmrec_peft.workflows.lineage import lineage
from llmrec_peft.workflows.merge import MergeAsked, merge
from llmrec_peft.workflows.train import train
from llmrec_peft.workflows.update import Asked, update

pytestmark = pytest.mark.trains

QUIET = MergeAsked(show=False)
LORA = {"method": "lora", "layers": "top-2"}
STRONG = {"training.adapter.learning_rate": 0.02}


@pytest.fixture(scope="module")
def pair(quick_run: Callable[..., Path]) -> list[Path]:
    """Two runs with LoRA of ranks 3 and 5 from two seeds."""
    first = quick_run("movies", {**STRONG, "seed": 1, "adapter": {**LORA, "rank": 3}})
    return [first, quick_run("movies", {**STRONG, "seed": 2, "adapter": {**LORA, "rank": 5, "alpha": 5.0}})]


def asked(**more: Any) -> MergeAsked:
    """Return what is asked for, without notes."""
    return MergeAsked(show=False, **more)


def vectors(run: Path) -> torch.Tensor:
    """Stored vectors of a run's items, finite."""
    found = load_file(run / "item_vectors.safetensors")["text"]
    assert found.isfinite().all()
    return found


def updates(run: Path, scale: float) -> list[torch.Tensor]:
    """Scale · B A of every layer of a run's adapter."""
    tensors = load_file(run / "adapter_model.safetensors")
    names = sorted(name for name in tensors if "lora_A" in name)
    return [scale * tensors[name.replace("lora_A", "lora_B")] @ tensors[name] for name in names]


def test_linear_merge_is_the_mean_of_the_saved_updates(pair: list[Path], tmp_path: Path) -> None:
    merge(pair, tmp_path / "mean", QUIET)
    first, second = updates(pair[0], 16.0 / 3.0), updates(pair[1], 1.0)
    for found, one, other in zip(updates(tmp_path / "mean", 1.0), first, second, strict=True):
        assert one.norm() > 0.01
        assert torch.allclose(found, 0.5 * one + 0.5 * other, atol=1e-6)


def test_weights_of_one_and_zero_give_the_first_runs_answers(pair: list[Path], tmp_path: Path) -> None:
    metrics = merge(pair, tmp_path / "same", asked(weights=(1.0, 0.0)))
    assert torch.allclose(vectors(tmp_path / "same"), vectors(pair[0]), atol=1e-5)
    assert not torch.allclose(vectors(pair[1]), vectors(pair[0]), atol=1e-3), "the two runs are too much alike"
    test = metrics["test"]
    assert test["after"]["rmse"] == pytest.approx(test["before"]["rmse"], abs=1e-5)
    users = Recommender.from_pretrained(pair[0]).vocabulary.users[:5]
    ours, theirs = (Recommender.from_pretrained(run).recommend(users, 5) for run in (tmp_path / "same", pair[0]))
    assert [[item.item_id for item in one.items] for one in ours] == [
        [item.item_id for item in one.items] for one in theirs
    ]


def test_merged_run_differs_in_adapter_and_vectors_alone(pair: list[Path], tmp_path: Path) -> None:
    merge(pair, tmp_path / "mean", QUIET)
    own, first = read_manifest(tmp_path / "mean"), read_manifest(pair[0])
    changed = {name for name in own.files if own.files[name] != first.files[name]}
    assert own.files.keys() == first.files.keys()
    assert changed == {
        "adapter_config.json", "adapter_model.safetensors", "item_vectors.safetensors", "recipe.yaml",
        "item_matrix.safetensors", "canary.safetensors",
    }  # fmt: skip
    assert own.private["seen.safetensors"] == first.private["seen.safetensors"]
    merged = Recommender.from_pretrained(tmp_path / "mean")
    texts = list(merged.tenant.items.texts[:3])
    assert torch.allclose(merged.encode(texts), vectors(tmp_path / "mean")[1:4], atol=1e-5)


def test_figures_are_those_of_evaluate_and_of_each_runs_adapter(pair: list[Path], tmp_path: Path) -> None:
    metrics = merge(pair, tmp_path / "mean", QUIET)
    told = evaluate(tmp_path / "mean")
    assert told["repeats"]
    assert told["test"]["after"] == pytest.approx(metrics["test"]["after"], abs=1e-6)
    stored = json.loads((pair[0] / "metrics.json").read_text(encoding="utf-8"))["test"]["after"]
    assert metrics["test"]["before"]["rmse"] == pytest.approx(stored["rmse"], abs=1e-5)
    assert set(metrics["test"]["ablations"]) == {"adapter_of_run_2"}
    assert read_run(tmp_path / "mean").report.before == "unmerged"


def test_lineage_names_the_runs_their_weights_and_how(pair: list[Path], tmp_path: Path) -> None:
    merge(pair, tmp_path / "ties", asked(weights=(1.0, 0.5), how="dare-ties", density=0.4, seed=9, rank=4))
    told = lineage(tmp_path / "ties")
    assert told["lineage"][0] == read_manifest(pair[0]).digest
    merged = told["runs"][-1]["merged"]
    assert merged["runs"] == [read_manifest(run).digest for run in pair]
    said = {name: merged[name] for name in ("weights", "how", "density", "seed", "rank")}
    assert said == {"weights": [1.0, 0.5], "how": "dare-ties", "density": 0.4, "seed": 9, "rank": 4}
    assert json.loads((tmp_path / "ties" / "metrics.json").read_text(encoding="utf-8"))["merge"] == merged


def test_same_merge_gives_the_same_digest(pair: list[Path], tmp_path: Path) -> None:
    how = asked(how="dare-linear", seed=3)
    for name in ("one", "two"):
        merge(pair, tmp_path / name, how)
    assert read_manifest(tmp_path / "one").digest == read_manifest(tmp_path / "two").digest


def test_run_without_its_data_is_merged_without_figures(pair: list[Path], tmp_path: Path) -> None:
    shutil.copytree(pair[0], tmp_path / "moved")
    recipe = (tmp_path / "moved" / "recipe.yaml").read_text(encoding="utf-8")
    (tmp_path / "moved" / "recipe.yaml").write_text(recipe.replace("path: demo", "path: gone"), encoding="utf-8")
    metrics = merge([resealed(tmp_path / "moved"), pair[1]], tmp_path / "mean", QUIET)
    assert metrics["test"]["after"] == {}
    assert not (tmp_path / "mean" / "predictions.parquet").exists()
    with pytest.raises(InputError, match="stores no figures"):
        evaluate(tmp_path / "mean")
    assert Recommender.from_pretrained(tmp_path / "mean").recommend(["1"], 3)[0].items


def test_run_without_private_files_is_merged_without_them(pair: list[Path], tmp_path: Path) -> None:
    shutil.copytree(pair[0], tmp_path / "public")
    for name in ("seen.safetensors", "trained.safetensors", "predictions.parquet"):
        (tmp_path / "public" / name).unlink()
    merge([tmp_path / "public", pair[1]], tmp_path / "mean", QUIET)
    assert not (tmp_path / "mean" / "seen.safetensors").exists()
    assert not (tmp_path / "mean" / "trained.safetensors").exists()


def test_merged_run_learns_on_from_the_merged_adapter(tiny_backbone: Path, tmp_path: Path) -> None:
    from growing_films import changes

    films, runs = growing_films(), [tmp_path / name for name in ("a", "b")]
    for seed, run in enumerate(runs, start=1):
        recipe = load_recipe("movies", [], changes(tiny_backbone, seed=seed, **STRONG))
        train(recipe, run, show=False, dataset=until(films, 0.5))
    merge(runs, tmp_path / "mean", QUIET, until(films, 0.5))
    updated = update(tmp_path / "mean", None, tmp_path / "mean-u1", Asked(force=True, show=False), until(films, 0.8))
    assert updated["update"]["parent"] == read_manifest(tmp_path / "mean").digest
    assert updated["notes"] == []
    merged, later = (load_file(tmp_path / name / "adapter_model.safetensors") for name in ("mean", "mean-u1"))
    assert all(torch.equal(merged[name], later[name]) for name in merged)  # this recipe updates no adapter
    assert len(lineage(tmp_path / "mean-u1")["lineage"]) == 3


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"weights": (1.0,)}, "1 weights for 2 runs"),
    ({"weights": (float("nan"), 1.0)}, "is no number from"),
    ({"weights": (float("inf"), 1.0)}, "is no number from"),
    ({"weights": (0.0, 0.0)}, "all are 0"),
    ({"how": "slerp"}, "linear, ties, dare-linear, dare-ties"),
    ({"density": 0.0}, "above 0 and at most 1"),
    ({"density": float("nan")}, "above 0 and at most 1"),
    ({"seed": -1}, "--seed -1"),
    ({"rank": 33}, "rank 33"),
    ({"rank": 0}, "rank 0"),
    ({"data": "nowhere"}, "nowhere"),
]


@pytest.mark.parametrize(("given", "said"), REFUSED)
def test_wrong_settings_are_refused_and_nothing_is_written(
    pair: list[Path], tmp_path: Path, given: dict[str, Any], said: str
) -> None:
    with pytest.raises(InputError, match=said):
        merge(pair, tmp_path / "mean", asked(**given))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("adapter", "said"),
    [
        ({"method": "ia3"}, "has a ia3 adapter and"),
        ({"method": "none"}, "answers without an adapter"),
        ({**LORA, "layers": "top-1"}, "layers that are adapted differ"),
    ],
)
def test_other_adapters_are_refused(
    pair: list[Path], quick_run: Callable[..., Path], tmp_path: Path, adapter: dict[str, Any], said: str
) -> None:
    with pytest.raises(InputError, match=said):
        merge([pair[0], quick_run("movies", {"adapter": adapter})], tmp_path / "mean", QUIET)
    assert not list(tmp_path.iterdir())


def test_method_that_cannot_be_combined_is_refused(quick_run: Callable[..., Path], tmp_path: Path) -> None:
    runs = [quick_run("movies", {"seed": seed, "adapter": {"method": "ia3"}}) for seed in (1, 2)]
    with pytest.raises(InputError, match="ia3 adapters cannot be merged"):
        merge(runs, tmp_path / "mean", QUIET)
    assert not list(tmp_path.iterdir())


def test_run_given_twice_is_refused(pair: list[Path], tmp_path: Path) -> None:
    shutil.copytree(pair[0], tmp_path / "copy")
    with pytest.raises(InputError, match="are the same run"):
        merge([pair[0], tmp_path / "copy"], tmp_path / "mean", QUIET)
    with pytest.raises(InputError, match="two runs or more"):
        merge(pair[:1], tmp_path / "mean", QUIET)


def test_other_base_is_refused(pair: list[Path], tmp_path: Path) -> None:
    shutil.copytree(pair[1], tmp_path / "other")
    resealed(tmp_path / "other", weights_sha256="0" * 64)
    with pytest.raises(InputError, match="was trained on another base"):
        merge([pair[0], tmp_path / "other"], tmp_path / "mean", QUIET)


def test_adapter_of_other_shapes_is_refused(pair: list[Path], tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(pair[1], other)
    change_tensors(
        other / "adapter_model.safetensors", lambda tensors: {name: one[:, :-1] for name, one in tensors.items()}
    )
    with pytest.raises(InputError, match="other"):
        merge([pair[0], resealed(other)], tmp_path / "mean", QUIET)
    assert not (tmp_path / "mean").exists()


def test_adapter_that_was_changed_without_its_manifest_is_refused(pair: list[Path], tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(pair[1], other)
    change_tensors(
        other / "adapter_model.safetensors", lambda tensors: {name: 2.0 * one for name, one in tensors.items()}
    )
    with pytest.raises(InputError, match="not what the run wrote"):
        merge([pair[0], other], tmp_path / "mean", QUIET)
    assert [path.name for path in tmp_path.iterdir()] == ["other"]


@pytest.mark.parametrize("figures", ["[]", "{}", '{"data": 3}', '{"data": {"digest": "x", "name": "y"}}'])
def test_report_of_another_shape_is_refused(pair: list[Path], tmp_path: Path, figures: str) -> None:
    shutil.copytree(pair[0], tmp_path / "first")
    (tmp_path / "first" / "metrics.json").write_text(figures, encoding="utf-8")
    with pytest.raises(InputError, match=r"metrics\.json is not what a run writes"):
        merge([resealed(tmp_path / "first"), pair[1]], tmp_path / "mean", QUIET)
    assert not (tmp_path / "mean").exists()


def test_trained_parts_of_another_adapter_are_refused(pair: list[Path], tmp_path: Path) -> None:
    first = tmp_path / "first"
    shutil.copytree(pair[0], first)
    strange = {"encoder.model.strange": torch.zeros(1)}
    change_tensors(first / "trained.safetensors", lambda tensors: {**tensors, **strange})
    with pytest.raises(InputError, match=r"encoder\.model\.strange is no tensor of the run's adapter"):
        merge([resealed(first), pair[1]], tmp_path / "mean", QUIET)
    assert not (tmp_path / "mean").exists()


def test_command_prints_figures_and_writes_the_run(
    pair: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    runs, out = [str(run) for run in pair], str(tmp_path / "mean")
    assert _code(["merge", *runs, "--weights", "0.6,0.4", "--out", out, "-q"]) == 0
    said = capsys.readouterr().out
    assert "the merged adapter" in said
    assert "linear of 2 adapters with weights 0.6, 0.4; rank 8" in said
    assert _code(["lineage", out]) == 0
    assert f"adapter merged (linear): 0.6 of {read_manifest(pair[0]).digest[:12]}" in capsys.readouterr().out
    assert _code(["merge", *runs, "--out", out, "-q"]) == 2
    assert "exists already" in capsys.readouterr().err
    assert _code(["merge", *runs, "--how", "ties", "--out", out, "--overwrite", "--json", "-q"]) == 0
    assert json.loads(capsys.readouterr().out)["merge"]["how"] == "ties"


@pytest.mark.parametrize("weights", ["a,b", "0.5;0.5", "0.5,"])
def test_weights_that_are_no_numbers_are_one_line(
    pair: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], weights: str
) -> None:
    assert _code(["merge", *map(str, pair), "--weights", weights, "--out", str(tmp_path / "x"), "-q"]) == 2
    assert "give one number a run" in capsys.readouterr().err


def _code(arguments: list[str]) -> int:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    return int(ended.value.code or 0)
