"""Card of a published run: the Hub reads its metadata, its snippets run, and words of others stay words."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from resealed import resealed

from llmrec_peft.errors import InputError
from llmrec_peft.hub.hub_card import hub_card

REPO = "films-inc/cold-films"
COMMIT = "1110a243fdf4706b3f48f1d95db1a4f5529b4d41"
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture
def run(tiny_run: Path, tmp_path: Path) -> Path:
    """A copy of a run, where a reader of its card would have it: at OWNER/NAME below the working folder."""
    folder = tmp_path / REPO
    shutil.copytree(tiny_run, folder)
    return folder


def edited(run: Path, change: Callable[[dict[str, Any]], Any]) -> Path:
    """Change ``metrics.json`` and make the manifest true again."""
    metrics = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
    change(metrics)
    (run / "metrics.json").write_text(json.dumps(metrics), encoding="utf-8")
    return resealed(run)


def on_hub(run: Path) -> Path:
    """Let a run name its base as one from the Hub is named."""
    named = {"name": "owner/tiny-bert", "revision": COMMIT}
    edited(run, lambda metrics: metrics["base"].update(named))
    return resealed(run, **named)


def test_the_hubs_own_classes_read_back_what_was_written(run: Path) -> None:
    from huggingface_hub import ModelCard
    from huggingface_hub.repocard_data import eval_results_to_model_index, model_index_to_eval_results

    card = hub_card(on_hub(run), REPO)
    again = ModelCard(str(card))
    assert again.data.to_dict() == card.data.to_dict()
    assert again.data.base_model == "owner/tiny-bert"
    assert again.data.base_model_relation == "adapter"
    assert again.data.base_model_revision == COMMIT
    results = again.data.eval_results
    index = eval_results_to_model_index(again.data.model_name, results)
    assert model_index_to_eval_results(index) == ("cold-films", results)


def test_results_are_the_runs_figures_with_the_best_baseline_beside_them(run: Path) -> None:
    metrics = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
    best, test = metrics["best_baseline"], metrics["test"]
    results = {one.metric_type: one for one in hub_card(run, REPO).data.eval_results}
    assert {name: one.metric_value for name, one in results.items()} == test["after"]
    rmse = results["rmse"]
    assert rmse.dataset_split == "test"
    assert rmse.dataset_args["sha256"] == metrics["data"]["digest"]
    assert rmse.metric_args["best_baseline"] == best
    assert rmse.metric_args["best_baseline_value"] == test["baselines"][best]["rmse"]
    assert f"best baseline, {best.replace('_', ' ')}: {test['baselines'][best]['rmse']:.4f}" in rmse.metric_name
    assert ("▼" in rmse.metric_name) == ("after" in metrics["no_better_than_best_baseline"])
    intervals = metrics["comparisons"][f"after_minus_{best}"].values()
    assert rmse.metric_args["high"] - rmse.metric_args["low"] == max(one["high"] - one["low"] for one in intervals)


@pytest.mark.parametrize("worse", [True, False])
def test_a_run_that_is_no_better_than_the_best_baseline_is_marked_everywhere(run: Path, worse: bool) -> None:
    edited(run, lambda metrics: metrics.update(no_better_than_best_baseline=["after"] if worse else []))
    card = hub_card(run, REPO)
    row = next(line for line in card.text.splitlines() if line.startswith("| after: tuned"))
    assert ("▼" in row) == worse
    assert ("- This model is no better than the best baseline (▼)" in card.text) == worse
    assert any("▼" in one.metric_name for one in card.data.eval_results) == worse


@pytest.mark.parametrize("users", [True, False])
def test_every_python_block_of_a_card_runs(
    run: Path, users: bool, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.chdir(run.parents[1])
    blocks = BLOCK.findall(hub_card(run, REPO, includes_users=users).text)
    assert len(blocks) == (4 if users else 3)
    names: dict[str, Any] = {}
    for block in blocks:
        exec(compile(block, "README.md", "exec"), names)  # noqa: S102 - a block of ours, run as a reader would
    assert len(capsys.readouterr().out.splitlines()) == 5
    assert names["vectors"].shape == (1, 32)


def test_the_block_for_stock_peft_gives_the_tuned_states(
    run: Path, tiny_backbone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    card = hub_card(on_hub(run), REPO)
    assert card.data.library_name == "peft"
    monkeypatch.chdir(run.parents[1])
    Path("owner").mkdir()
    Path("owner/tiny-bert").symlink_to(tiny_backbone)
    names: dict[str, Any] = {}
    exec(compile(BLOCK.findall(card.text)[-1], "README.md", "exec"), names)  # noqa: S102
    assert type(names["model"]).__module__.startswith("peft.")
    tokens = torch.arange(1000, 1008).reshape(1, -1)
    with torch.no_grad():
        tuned = names["model"](tokens).last_hidden_state
        with names["model"].disable_adapter():
            frozen = names["model"](tokens).last_hidden_state
    assert not torch.allclose(tuned, frozen)


@pytest.mark.parametrize("task", ["prompt", "ranking", "joint"])
def test_other_tasks_have_cards_whose_blocks_run(
    task: str, task_runs: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(task_runs(task), tmp_path / REPO)
    monkeypatch.chdir(tmp_path)
    card = hub_card(Path(REPO), REPO, includes_users=True)
    names: dict[str, Any] = {}
    for block in BLOCK.findall(card.text):
        exec(compile(block, "README.md", "exec"), names)  # noqa: S102
    assert len({one.task_name for one in card.data.eval_results}) == (2 if task == "joint" else 1)
    assert card.data.eval_results[0].metric_type == {"prompt": "auc", "ranking": "ndcg@10", "joint": "rmse"}[task]
    assert "left_out" not in str(card).lower()
    assert "**The data are made up**" in card.text


def test_what_is_left_out_is_said(run: Path) -> None:
    bare = hub_card(run, REPO, includes_users=False, includes_items=False).text
    assert "- Users: none" in bare
    assert "titles and texts were left out" in bare
    whole = hub_card(run, REPO, includes_users=True, includes_items=True).text
    assert "ids and learned vectors of all users" in whole
    assert "titles and texts." in whole
    assert "vocabulary.users" in whole
    for text in (bare, whole):
        assert "- Interactions: none" in text


def test_no_path_of_the_publisher_is_in_the_card(run: Path, tiny_backbone: Path) -> None:
    card = str(hub_card(run, REPO))
    assert str(tiny_backbone) not in card
    assert str(run.parents[2]) not in card
    assert "base_model" not in card
    assert "repeats it" in card
    assert "not on the Hub" in card


def test_the_owner_decides_the_licence_and_says_that_it_is_signed(run: Path) -> None:
    derived = hub_card(run, REPO)
    assert derived.data.license == "other"  # MovieLens: research use
    assert derived.data.license_link == f"https://huggingface.co/{REPO}#licences"
    assert "llmrec pull" not in derived.text
    chosen = hub_card(run, REPO, licence="cc-by-nc-4.0", signed=True)
    assert chosen.data.license == "cc-by-nc-4.0"
    assert "license_link" not in chosen.data.to_dict()
    assert f"llmrec pull {REPO} --verify KEY" in chosen.text


HOSTILE = {
    "ends the front matter": "x\n---\nlicense: mit\n---\n# owned",
    "markup": "<script>alert(1)</script> [a](http://evil) `x` | y",
    "a block of code": "```python\nimport os\n```",
    "a tag of YAML": "!!python/object:os.system",
    "an escape": "a\x1b[2J\u202eb",
    "a template": "{{ 7 * 7 }}{% for x in y %}",
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_words_of_others_stay_words(run: Path, text: str) -> None:
    def change(metrics: dict[str, Any]) -> None:
        metrics["data"].update(name=text, licence=text, notes=[text], leaks=[text])
        metrics["hardware"]["processor"] = text
        metrics["protocol"]["split"] = text
        metrics["test"]["baselines"][text[:150]] = {"rmse": 1.0, "mae": 1.0}
        metrics["valid"]["baselines"][text[:150]] = {"rmse": 1.0, "mae": 1.0}
        metrics["best_baseline"] = text[:150]
        metrics["test"]["after"][text[:150]] = 1.0
        metrics["protocol"][text[:150]] = 1

    card = hub_card(edited(run, change), REPO)
    front, body = re.split(r"^---$", str(card), maxsplit=2, flags=re.MULTILINE)[1:]
    assert yaml.safe_load(front)["license"] == "unknown"
    assert yaml.safe_load(front)["model-index"][0]["results"][0]["dataset"]["split"] == "test"
    assert not re.search(r"(?<!\\)<script", body)
    assert "](http://evil" not in body.replace("\\]", "")
    assert "49" not in body.splitlines()[0]
    assert not any(line in ("# owned", "---", "import os") for line in body.splitlines())
    assert body.count("```python") == 3
    assert "\x1b" not in str(card)
    assert "\u202e" not in str(card)


@pytest.mark.parametrize("repo", ["", "../films", "a/b/c", "films inc/x", "a--b/c", "owner/x\n", "x" * 200])
def test_a_name_that_the_hub_would_not_take_is_refused(run: Path, repo: str) -> None:
    with pytest.raises(InputError, match="is no name of a repository"):
        hub_card(run, repo)


def test_what_is_no_run_is_refused_in_one_line(run: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no run folder"):
        hub_card(tmp_path / "nothing", REPO)
    (run / "metrics.json").write_text("{}", encoding="utf-8")
    with pytest.raises(InputError, match=r"metrics\.json is not what the run wrote"):
        hub_card(run, REPO)
    with pytest.raises(InputError, match=r"metrics\.json is not what a run writes"):
        hub_card(resealed(run), REPO)


def test_figures_that_a_run_lacks_are_one_line(run: Path) -> None:
    with pytest.raises(InputError, match=r"metrics\.json is not what a run writes"):
        hub_card(edited(run, lambda metrics: metrics["parameters"].pop("trainable")), REPO)


def test_a_merged_run_without_figures_says_so(run: Path) -> None:
    def change(metrics: dict[str, Any]) -> None:
        metrics["merge"] = {"runs": ["0" * 64, "1" * 64], "how": "linear", "weights": [0.5, 0.5]}
        metrics["test"] = {"after": {}, "baselines": {}}
        metrics["valid"] = {"baselines": {}}
        metrics |= {"best_baseline": None, "no_better_than_best_baseline": [], "before": "unmerged"}

    card = hub_card(edited(run, change), REPO)
    assert "No figures: the data were not there when the adapters were merged." in card.text
    assert "The adapter was merged from those of 2 runs" in card.text
    assert "repeats it" not in card.text
    assert "model-index" not in card.data.to_dict()


def test_a_head_that_is_not_published_is_refused(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llmrec_peft.hub.hub_card.TASKS", {})
    with pytest.raises(InputError, match="is a writer of explanations"):
        hub_card(run, REPO)
