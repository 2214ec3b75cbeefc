"""`llmrec merge RUN`: the adapter in the base's weights, answers as before, and nothing written if refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from growing_films import changes, growing_films, until
from resealed import resealed
from safetensors.torch import load_file
from spoiled import change_tensors

from llmrec_peft import Recommender
from llmrec_peft.artifact.manifest import read_manifest
from llmrec_peft.cli.main import main
from llmrec_peft.errors import InputError
from llmrec_peft.experiment.parent import Parent
from llmrec_peft.recipe import load_recipe
from llmrec_peft.workflows.evaluate import evaluate
from llmrec_peft.workflows.lineage import lineage
from llmrec_peft.workflows.merge_into_base import IntoBase, merge_into_base
from llmrec_peft.workflows.train import train
from llmrec_peft.workflows.update import Asked, update

pytestmark = pytest.mark.trains

QUIET = IntoBase(show=False)
STRONG = {"training.adapter.learning_rate": 0.05}
LORA = {"method": "lora", "layers": "top-2"}
NEW = {"item_id": "new", "title": "Silent Window", "year": 1990, "genres": ["Drama"], "description": "a storm at sea"}


@pytest.fixture(scope="module")
def run(quick_run: Callable[..., Path]) -> Path:
    """A run whose LoRA changes every vector."""
    return quick_run("movies", {**STRONG, "adapter": LORA})


@pytest.fixture(scope="module")
def merged(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("merged") / "run"
    merge_into_base(run, out, QUIET)
    return out


def change(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))["change"]
    return found


def test_merged_run_answers_as_before_without_an_adapter(run: Path, merged: Path) -> None:
    before, after = Recommender.from_pretrained(run), Recommender.from_pretrained(merged)
    assert load_file(merged / "adapter_model.safetensors") == {}
    untuned = load_file(Path(before.recipe.backbone.name) / "model.safetensors")
    written = load_file(merged / "base" / "model.safetensors")
    moved = {name.split(".")[-2] for name in untuned if not torch.equal(untuned[name], written[name])}
    assert moved == {"query", "value"}, "LoRA's layers, and no others"
    users = before.vocabulary.users[:20]
    ours, theirs = (
        [[item.item_id for item in one.items] for one in each.recommend(users, 5)] for each in (after, before)
    )
    assert ours == theirs
    for each in (before, after):
        each.add_items([NEW])
    assert after.score(users, ["new"] * 20).tolist() == pytest.approx(before.score(users, ["new"] * 20), abs=1e-5)


def test_base_is_a_plain_folder_that_gives_the_runs_vectors(run: Path, merged: Path) -> None:
    from sentence_transformers import SentenceTransformer

    recommender = Recommender.from_pretrained(run)
    texts = list(recommender.items.texts)
    model = SentenceTransformer(str(merged / "base"), device="cpu")
    vectors = torch.from_numpy(model.encode(texts))
    torch.testing.assert_close(vectors, recommender.catalogue.vectors[: len(texts)], rtol=0, atol=1e-5)


def test_change_is_what_vectors_and_scores_say(run: Path, merged: Path) -> None:
    told, ours, theirs = change(merged), *(Recommender.from_pretrained(one) for one in (merged, run))
    cosine = torch.nn.functional.cosine_similarity(ours.catalogue.vectors, theirs.catalogue.vectors, dim=1)
    assert told["vectors"]["number"] == len(ours.catalogue.ids) == told["items"]
    assert told["vectors"]["cosine_distance_max"] == pytest.approx(float((1 - cosine.double()).max()), abs=1e-7)
    assert told["vectors"]["cosine_distance_max"] < 1e-5
    assert told["scores"]["median"] <= told["scores"]["max"] < 1e-4
    assert told["top_10_kept"] == pytest.approx(1.0, abs=0.01)
    card = (merged / "README.md").read_text(encoding="utf-8")
    assert "## What merging changed" in card
    assert f"| ten best items kept | {told['top_10_kept']:.1%} |" in card


def test_change_of_another_model_is_not_small(run: Path, merged: Path) -> None:
    from llmrec_peft.workflows.answer_change import change_of_answers

    tenant = Recommender.from_pretrained(run).loaded
    vectors = tenant.catalogue.vectors
    assert vectors is not None
    found = change_of_answers(tenant, tenant.with_vectors(vectors.flip(0)))
    assert found["vectors"]["cosine_distance_median"] > change(merged)["vectors"]["cosine_distance_max"]
    assert found["scores"]["max"] > 10 * change(merged)["scores"]["max"]
    assert found["top_10_kept"] < 1.0


def test_figures_lineage_and_evaluation_are_those_of_a_merged_run(run: Path, merged: Path) -> None:
    told = json.loads((merged / "metrics.json").read_text(encoding="utf-8"))
    stored = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
    assert told["test"]["before"]["rmse"] == pytest.approx(stored["test"]["after"]["rmse"], abs=1e-5)
    assert told["test"]["after"]["rmse"] == pytest.approx(told["test"]["before"]["rmse"], abs=1e-4)
    assert told["parameters"]["adapter"] == 0
    assert evaluate(merged)["repeats"]
    found = lineage(merged)["runs"][-1]["merged"]
    assert (found["runs"], found["how"], found["rank"]) == ([read_manifest(run).digest], "into the base", None)


@pytest.mark.parametrize(
    ("quantization", "adapter", "most"),
    [("nf4", {"method": "ia3"}, 1e-5), ("int8", LORA, 1e-3)],  # int8 layers round their inputs, too
)
def test_quantized_base_is_dequantized_first(
    quantization: str, adapter: dict[str, Any], most: float, quick_run: Callable[..., Path], tmp_path: Path
) -> None:
    run = quick_run("movies", {**STRONG, "adapter": adapter, "backbone.quantization": quantization})
    metrics = merge_into_base(run, tmp_path / "merged", QUIET)
    assert metrics["base"]["quantization"] == "none"
    assert metrics["change"]["vectors"]["cosine_distance_max"] < most
    assert Recommender.from_pretrained(tmp_path / "merged").encode(["a film"]).isfinite().all()
    assert "quantization_config" not in json.loads((tmp_path / "merged" / "base" / "config.json").read_text())


def test_precision_is_the_runs_or_the_one_asked_for(quick_run: Callable[..., Path], tmp_path: Path) -> None:
    run = quick_run("movies", {**STRONG, "adapter": LORA, "backbone.precision": "bf16"})
    for asked, expected in ((None, torch.bfloat16), ("fp32", torch.float32)):
        metrics = merge_into_base(run, tmp_path / str(asked), IntoBase(precision=asked, show=False))
        assert {one.dtype for one in load_file(tmp_path / str(asked) / "base" / "model.safetensors").values()} == {
            expected
        }
        assert metrics["base"]["compute"] == {torch.bfloat16: "bf16", torch.float32: "fp32"}[expected]
        assert metrics["change"]["vectors"]["cosine_distance_max"] < 1e-3


def test_decoder_that_reads_prompts_keeps_its_output_embedding(
    quick_run: Callable[..., Path], speaking_decoder: Path, tmp_path: Path
) -> None:
    from transformers import AutoModelForCausalLM

    template = "{% for film in history %}{{ film.title }}; {% endfor %}next {{ item.title }}"
    prompts = {"views.prompt.template": template, "views.prompt.max_length": 96, "head.feed": "prompt"}
    few = {"data.expand_histories": False, "data.train_size": 64, "evaluation.collaborative_only": False}
    base = {"backbone.name": str(speaking_decoder), "backbone.pooling": "last-token", "adapter": LORA}
    run = quick_run("tallrec-movie", {**prompts, **few, **base, **STRONG, "signals": {"collaborative": {}}})
    metrics = merge_into_base(run, tmp_path / "merged", QUIET)
    assert "vectors" not in metrics["change"]
    assert metrics["change"]["scores"]["max"] < 1e-4
    assert not (tmp_path / "merged" / "base" / "modules.json").exists()
    whole, info = AutoModelForCausalLM.from_pretrained(tmp_path / "merged" / "base", output_loading_info=True)
    assert not info["missing_keys"]
    heads = [
        load_file(folder / "model.safetensors")["lm_head.weight"]
        for folder in (speaking_decoder, tmp_path / "merged" / "base")
    ]
    assert torch.equal(*heads)
    assert torch.equal(whole.lm_head.weight, heads[0])
    merge_into_base(run, tmp_path / "merged", IntoBase(overwrite=True, show=False))


def test_moved_run_finds_the_base_inside(merged: Path, tmp_path: Path) -> None:
    shutil.copytree(merged, tmp_path / "first")
    away = (tmp_path / "first").rename(tmp_path / "elsewhere")
    hidden = merged.rename(merged.with_name("hidden"))
    try:
        recommender = Recommender.from_pretrained(away)
        assert recommender.add_items([NEW]) == ["new"]
        assert recommender.tenant.notes == ()
        assert Parent.read(away).recipe.backbone.name == str((away / "base").resolve())
        change_tensors(away / "base" / "model.safetensors", lambda tensors: {n: 2.0 * t for n, t in tensors.items()})
        with pytest.raises(InputError, match="weights_sha256 is"):
            Recommender.from_pretrained(away).add_items([NEW])
    finally:
        hidden.rename(merged)


def test_merged_run_is_replaced_and_what_lies_beside_its_base_never_is(run: Path, merged: Path, tmp_path: Path) -> None:
    out = Path(shutil.copytree(merged, tmp_path / "run"))
    with pytest.raises(InputError, match="exists already"):
        merge_into_base(run, out, QUIET)
    (out / "base" / "thesis.txt").write_text("years of work")
    with pytest.raises(InputError, match=r"base/thesis\.txt, which is no file of the run's base"):
        merge_into_base(run, out, IntoBase(overwrite=True, show=False))
    (out / "base" / "thesis.txt").unlink()
    merge_into_base(run, out, IntoBase(overwrite=True, show=False))
    assert (
        read_manifest(out).files["item_vectors.safetensors"] == read_manifest(merged).files["item_vectors.safetensors"]
    )


def test_merged_run_learns_on(tiny_backbone: Path, tmp_path: Path) -> None:
    films = growing_films()
    recipe = load_recipe("movies", [], changes(tiny_backbone, **STRONG))
    train(recipe, tmp_path / "run", show=False, dataset=until(films, 0.5))
    merge_into_base(tmp_path / "run", tmp_path / "merged", QUIET, until(films, 0.5))
    asked = Asked(force=True, show=False)
    updated = update(tmp_path / "merged", None, tmp_path / "later", asked, until(films, 0.8))
    assert updated["update"]["parent"] == read_manifest(tmp_path / "merged").digest
    assert updated["base"]["weights_sha256"] == read_manifest(tmp_path / "merged").base["weights_sha256"]


@pytest.mark.parametrize(
    ("adapter", "said"),
    [
        ({"method": "prefix"}, "prefix adapters are no change of weights"),
        ({"method": "none"}, "answers without an adapter"),
    ],
)
def test_what_cannot_be_merged_is_refused_before_anything_is_loaded(
    adapter: dict[str, Any],
    said: str,
    quick_run: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = quick_run("movies", {"adapter": adapter})
    monkeypatch.setattr(Recommender, "from_pretrained", lambda *_: pytest.fail("loaded"))
    with pytest.raises(InputError, match=said):
        merge_into_base(run, tmp_path / "merged", QUIET)
    assert not list(tmp_path.iterdir())


def test_base_with_code_of_its_own_is_refused(run: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(run, tmp_path / "other"))
    recipe = (other / "recipe.yaml").read_text(encoding="utf-8")
    (other / "recipe.yaml").write_text(recipe.replace("trust_remote_code: false", "trust_remote_code: true"))
    with pytest.raises(InputError, match="runs Python code of its own, which is not written elsewhere"):
        merge_into_base(resealed(other), tmp_path / "merged", QUIET)
    assert [path.name for path in tmp_path.iterdir()] == ["other"]


def test_adapter_that_was_changed_is_refused(run: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(run, tmp_path / "other"))
    change_tensors(other / "adapter_model.safetensors", lambda tensors: {n: 2.0 * t for n, t in tensors.items()})
    with pytest.raises(InputError, match="not what the run wrote"):
        merge_into_base(other, tmp_path / "merged", QUIET)
    resealed(other, weights_sha256="0" * 64)
    with pytest.raises(InputError, match="weights_sha256 is"):
        merge_into_base(other, tmp_path / "merged", QUIET)
    assert [path.name for path in tmp_path.iterdir()] == ["other"]


def test_command_says_what_changed_and_refuses_options_of_several_runs(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    out = str(tmp_path / "merged")
    assert _code(["merge", str(run), "--out", out, "-q"]) == 0
    said = capsys.readouterr().out
    assert "cosine distance, vectors of 260 items: largest" in said
    assert f"merged language model: {out}/base" in said
    assert _code(["merge", str(run), "--out", out, "--overwrite", "--json", "-q"]) == 0
    assert json.loads(capsys.readouterr().out)["change"]["top_10_kept"] > 0.9
    for options in (["--weights", "1"], ["--how", "ties"], ["--rank", "3"]):
        assert _code(["merge", str(run), "--out", str(tmp_path / "x"), *options]) == 2
        assert f"error: {options[0]} is for several runs" in capsys.readouterr().err
    assert _code(["merge", str(run), str(run), "--out", str(tmp_path / "x"), "--precision", "fp32"]) == 2
    assert "error: --precision is for one run" in capsys.readouterr().err


def _code(arguments: list[str]) -> int:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    return int(ended.value.code or 0)
