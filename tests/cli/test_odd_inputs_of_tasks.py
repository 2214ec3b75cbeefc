"""Odd inputs of heads and signals: what is put up with is counted and said, and the run goes on."""

from __future__ import annotations

import json
from typing import Any

import pytest
from task_places import TITLES, Place, Run, likes, records, target_in_its_history

pytestmark = pytest.mark.trains

ALL = "{% for x in history %}{{ x.item_id }}; {% endfor %}{{ item.item_id }}?"


def metrics_of(place: Place) -> dict[str, Any]:
    metrics: dict[str, Any] = json.loads((place.folder / "new" / "metrics.json").read_text(encoding="utf-8"))
    return metrics


def test_users_of_one_class_are_left_out_of_their_auc_and_counted(task_place: Place, llmrec_here: Run) -> None:
    def alike(rows: list[dict[str, Any]]) -> None:
        for row in rows:
            if row["uid"] in (2, 5, 7):
                row["label"] = int(row["uid"] == 5)

    task_place.edit("likes/test.jsonl", alike)
    done = llmrec_here(*likes("signals={taste: {text: false}}"))
    assert done.code == 0, done.err
    assert "uauc leaves out 3 users whose test examples are all of one class" in done.out
    for row in (metrics_of(task_place)["test"][name] for name in ("before", "after", "blend")):
        assert row["uauc_users_left_out"] == 3
        assert 0.0 <= row["uauc"] <= 1.0


def test_records_without_history_are_trained_on_and_scored(task_place: Place, llmrec_here: Run) -> None:
    def emptied(rows: list[dict[str, Any]]) -> None:
        for row in rows[::2]:
            row["input"] = f"User Preference: \nUser Unpreference: \n{row['input'].splitlines()[2]}"

    for part in ("train", "valid", "test"):
        task_place.edit(f"records/{part}.json", emptied)
    done = llmrec_here(*records("signals={history: {}, taste: {text: false}}", "data.expand_histories=false"))
    assert done.code == 0, done.err
    assert metrics_of(task_place)["data"]["train"] == 40
    assert llmrec_here("evaluate", "new").code == 0


def test_items_without_text_are_counted_and_do_not_stop_anything(task_place: Place, llmrec_here: Run) -> None:
    path = task_place.folder / "likes" / "item_titles.csv"
    text = path.read_text(encoding="utf-8")
    for item in (3, 8):
        text = text.replace(f'{item},"{TITLES[item - 1]}"\n', f"{item},\n")
    path.write_text(text, encoding="utf-8")
    done = llmrec_here(*likes("signals={text: {}}", "adapter={method: lora}"))
    assert done.code == 0, done.err
    assert "2 items have no text: nothing can be read of them" in metrics_of(task_place)["data"]["notes"]
    assert llmrec_here("evaluate", "new").code == 0


def plain(text: str) -> str:
    """A text as it comes out of the tokenizer, whatever that does to its blanks and capitals."""
    return text.lower().replace(" ", "")


def test_prompt_longer_than_the_window_loses_its_oldest_entries_never_the_candidate(
    task_place: Place, llmrec_here: Run
) -> None:
    import torch

    from llmrec_peft.backbone.load import load_backbone
    from llmrec_peft.experiment.prepare import prepare
    from llmrec_peft.experiment.texts import Texts
    from llmrec_peft.recipe import load_recipe

    asked = records("head.feed=prompt", f"views.prompt={{template: '{ALL}', max_length: 400}}", "signals={history: {}}")
    asked.remove("--quiet")
    done = llmrec_here(*asked)
    assert done.code == 0, done.err
    (note,) = [line for line in metrics_of(task_place)["data"]["notes"] if "prompts were too long" in line]
    assert note in done.err
    prepared = prepare(load_recipe("new/recipe.yaml"))
    recipe = prepared.recipe
    backbone = load_backbone(recipe.backbone, torch.device("cpu"))
    texts = Texts(backbone, prepared, recipe)
    assert texts.notes == [note]
    shortened = dropped = 0
    told = prepared.interactions.history
    assert told is not None
    tokens, start = texts.tokens, texts.plan.prompt
    assert start is not None
    titles = ["", *(plain(title) for title in prepared.vocabulary.items)]
    for example, item in enumerate(prepared.interactions.item.tolist()):
        row = int(tokens.row_of[start + example])
        ids = tokens.ids[tokens.start[row] : tokens.start[row + 1]].tolist()
        assert len(ids) <= backbone.window == 64
        *kept, candidate = plain(backbone.tokenizer.decode(ids, skip_special_tokens=True)).split(";")
        assert candidate == f"{titles[item]}?"
        entries = [titles[index] for index in told.of(example)[0]]
        assert kept == entries[len(entries) - len(kept) :], "the newest"
        shortened += len(kept) < len(entries)
        dropped += len(entries) - len(kept)
    assert shortened > 10
    assert note == f"{shortened} prompts were too long: {dropped} of the oldest history entries were left out"


def test_leaks_that_are_allowed_are_told_and_kept_in_the_report(task_place: Place, llmrec_here: Run) -> None:
    target_in_its_history(task_place)
    asked = records("data.allow_leakage=true", "signals={taste: {text: false}}")
    asked.remove("--quiet")
    done = llmrec_here(*asked)
    assert done.code == 0, done.err
    (leak,) = metrics_of(task_place)["data"]["leaks"]
    assert "stands in its own history" in leak
    assert f"leak that data.allow_leakage lets pass: {leak}" in done.err
