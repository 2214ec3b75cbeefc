"""`llmrec watch`: what comes into a folder is learned once, in order, whatever happens to the process."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from llmrec_peft.artifact.manifest import read_manifest
from llmrec_peft.artifact.seen import read_learned
from llmrec_peft.artifact.workspace import Workspace
from llmrec_peft.data.dataset import arrow, numbers
from llmrec_peft.errors import InputError, NotFiniteError
from llmrec_peft.experiment.prepare import read_source
from llmrec_peft.recipe import Recipe, load_recipe
from llmrec_peft.training.checkpoint import Checkpoint
from llmrec_peft.workflows import update as updating
from llmrec_peft.workflows import watch as watching
from llmrec_peft.workflows.train import train
from llmrec_peft.workflows.watch import Watch, Watched
from llmrec_peft.workflows.watch_state import Decision, State, read_state

pytestmark = pytest.mark.trains
ORDER = ("january", "february", "march")
Deliver = Callable[..., Path]


class KilledError(Exception):
    """The process ends here."""


@pytest.fixture(scope="module")
def recipe(tiny_backbone: Path, tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    """Stars of films from a user's own files; `data.path` is the first delivery."""
    folder = tmp_path_factory.mktemp("deliveries")
    data = read_source(load_recipe("movies", [], {"data.path": "demo"}).data)
    rows = arrow(data.interactions).to_pandas()[["user_id", "item_id", "rating", "timestamp"]]
    films = arrow(data.items).to_pandas()[["item_id", "title"]]
    edges = np.quantile(numbers(data.interactions, "timestamp"), [0.0, 0.2, 0.3, 0.4])
    for name, first, last in zip(ORDER, edges, edges[1:], strict=False):
        (folder / name).mkdir()
        part = rows[(rows.timestamp >= first) & (rows.timestamp < last)]
        part.to_csv(folder / name / "interactions.csv", index=False)
        films[films.item_id.isin(part.item_id)].to_csv(folder / name / "items.csv", index=False)
    quick = {"training.epochs": 2, "training.refit": False, "evaluation.bootstrap": 0, "evaluation.ablations": ()}
    backbone = {"backbone.name": str(tiny_backbone), "backbone.precision": "fp32", "training.choice": "validation"}
    values = load_recipe("movies", [], {"data.split": "temporal", **quick, **backbone}).plain()
    columns = {"user": "user_id", "item": "item_id", "label": "rating", "time": "timestamp"}
    values["name"] = "films"
    values["data"] |= {"reader": "files", "path": str(folder / ORDER[0])}
    values["data"]["options"] = {
        "feedback": "rating",
        "interactions": {"file": "interactions.csv", **columns},
        "items": {"file": "items.csv", "id": "item_id", "title": "title"},
    }
    values["views"]["item"]["template"] = "{{ title }}"
    values["evaluation"] |= {"collaborative_only": False, "blend": False}
    return Recipe.from_plain(values)


@pytest.fixture(scope="module")
def first(recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the first delivery."""
    run = tmp_path_factory.mktemp("runs") / "films"
    train(recipe, run, show=False)
    return run


@pytest.fixture
def deliver(recipe: Recipe, tmp_path: Path) -> Deliver:
    """Put a delivery into the watched folder."""

    def put(name: str, called: str | None = None) -> Path:
        target = tmp_path / "in" / (called or name)
        shutil.copytree(Path(str(recipe.data.path)).with_name(name), target)
        return target

    (tmp_path / "in").mkdir()
    return put


@pytest.fixture
def watched(first: Path, tmp_path: Path) -> Watched:
    """A watch of the folder that begins with the run."""
    return Watched(tmp_path / "in", tmp_path / "runs", "films", run=first, settle=0.0, show=False)


@pytest.fixture
def promoted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every update is better."""
    monkeypatch.setattr(updating, "promotes", lambda *_: True)


def looked(watched: Watched) -> list[Decision]:
    """Return the decisions of a process that looks once."""
    with Watch.held(watched) as watch:
        return list(watch.look())


def said(decisions: list[Decision]) -> list[tuple[str, tuple[str, ...]]]:
    return [(one.what, one.deliveries) for one in decisions]


def learned(run: Path) -> int:
    found = read_learned(run / "seen.safetensors", (run / "seen.safetensors").read_bytes())
    assert found is not None
    return len(found)


@pytest.mark.usefixtures("promoted")
def test_recipe_trains_the_first_run_and_every_later_delivery_updates_it(
    recipe: Recipe, deliver: Deliver, watched: Watched
) -> None:
    trains = replace(watched, run=None, recipe=recipe.changed({"data.path": None}))
    assert not looked(trains)
    deliver("january")
    assert said(looked(trains)) == [("trained", ("january",))]
    assert not looked(trains)
    deliver("february")
    decision = looked(trains)[0]
    assert (decision.what, decision.deliveries) == ("promoted", ("february",))
    assert decision.current == str(watched.out / "films-u1")
    told = json.loads((watched.out / "films-u1" / "metrics.json").read_text(encoding="utf-8"))["update"]
    assert told["parent"] == read_manifest(watched.out / "films").digest
    assert learned(watched.out / "films-u1") > learned(watched.out / "films")
    assert not looked(trains), "what was learned is not learned twice"


@pytest.mark.usefixtures("promoted")
def test_enough_deliveries_are_learned_together(first: Path, deliver: Deliver, watched: Watched) -> None:
    two = replace(watched, enough=2)
    deliver("february")
    assert not looked(two)
    deliver("march")
    assert said(looked(two)) == [("promoted", ("february", "march"))]
    alone = json.loads((two.out / "films-u1" / "metrics.json").read_text(encoding="utf-8"))["update"]["new"]
    rows = sum(len((two.folder / name / "interactions.csv").read_text().splitlines()) - 1 for name in ORDER[1:])
    assert alone > rows // 2


def test_delivery_that_does_not_make_it_better_waits_for_the_next(
    deliver: Deliver, watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(updating, "promotes", lambda *_: False)
    deliver("february")
    decision = looked(watched)[0]
    assert decision.what == "not promoted"
    assert decision.current == str(watched.run)
    assert not looked(watched), "it is not tried again alone"
    monkeypatch.setattr(updating, "promotes", lambda *_: True)
    deliver("march")
    assert said(looked(watched)) == [("promoted", ("february", "march"))]
    assert {one.fate for one in read_state(watched.state_file).deliveries.values()} == {"learned"}


def test_delivery_that_never_helps_is_set_aside_after_some_attempts_and_later_ones_are_learned(
    deliver: Deliver, watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(updating, "promotes", lambda *_: False)
    twice = replace(watched, attempts=2)
    deliver("february")
    assert said(looked(twice)) == [("not promoted", ("february",))]
    deliver("march")
    decisions = looked(twice)
    assert said(decisions) == [("not promoted", ("february", "march")), ("set aside", ("february",))]
    last = decisions[0].reason
    assert decisions[1].reason == f"in 2 attempts no update with it was promoted; the last one: {last}"
    found = read_state(watched.state_file).deliveries
    assert [(one.fate, one.attempts) for one in found.values()] == [("aside", 2), ("waiting", 1)]
    assert not looked(twice)
    monkeypatch.setattr(updating, "promotes", lambda *_: True)
    changed = deliver("february", "april") / "interactions.csv"
    assert said(looked(twice)) == [("promoted", ("march", "april"))]
    shutil.copy(changed, watched.folder / "february" / "interactions.csv")  # a new time: a new delivery
    assert said(looked(twice)) == [("too few", ("february",))]
    assert read_state(watched.state_file).deliveries["february"].attempts == 1


def test_killed_before_it_was_set_aside_the_next_start_does_so(
    deliver: Deliver, watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    once = replace(watched, attempts=1)
    rows = deliver("february", "little") / "interactions.csv"
    rows.write_text("".join(rows.read_text(encoding="utf-8").splitlines(keepends=True)[:2]), encoding="utf-8")
    with Watch.held(once) as watch:
        assert next(watch.look()).what == "too few"  # and here it is killed
    assert read_state(watched.state_file).deliveries["little"].fate == "waiting"
    assert said(looked(once)) == [("set aside", ("little",))]
    assert not looked(once)


@pytest.mark.usefixtures("promoted")
def test_wrong_delivery_is_said_once_and_blocks_nothing_until_it_is_repaired(
    deliver: Deliver, watched: Watched
) -> None:
    wrong = deliver("february") / "interactions.csv"
    whole = wrong.read_text(encoding="utf-8")
    wrong.write_text(whole.replace("rating", "stars", 1), encoding="utf-8")
    decisions = looked(watched)
    assert said(decisions) == [("set aside", ("february",))]
    assert "interactions.csv" in decisions[0].reason
    assert not looked(watched)
    deliver("march")
    assert said(looked(watched)) == [("promoted", ("march",))]
    wrong.write_text(whole, encoding="utf-8")
    assert said(looked(watched)) == [("promoted", ("february",))]


@pytest.mark.usefixtures("promoted")
def test_what_is_too_little_waits_for_the_next(deliver: Deliver, watched: Watched) -> None:
    rows = deliver("february", "little") / "interactions.csv"
    rows.write_text("".join(rows.read_text(encoding="utf-8").splitlines(keepends=True)[:2]), encoding="utf-8")
    decision = looked(watched)[0]
    assert decision.what == "too few", decision.reason
    assert "1 interactions are new" in decision.reason
    assert not looked(watched)
    deliver("march")
    assert said(looked(watched)) == [("promoted", ("little", "march"))]


@pytest.mark.usefixtures("promoted")
def test_delivery_that_is_still_being_written_is_left_alone(deliver: Deliver, watched: Watched) -> None:
    slow = replace(watched, settle=60.0)
    folder = deliver("february")
    assert not looked(slow)
    (folder / "more.csv.part").touch()
    assert not looked(watched)
    (folder / "more.csv.part").unlink()
    assert said(looked(watched)) == [("promoted", ("february",))]


@pytest.mark.parametrize("moment", ["begun", "checkpoint", "finished", "published"])
def test_killed_at_any_moment_the_next_start_ends_where_it_would_have(
    moment: str, deliver: Deliver, watched: Watched, promoted: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    often = replace(watched, overrides=("update.epochs=2",))
    deliver("february")
    whole = replace(often, out=often.out.with_name("whole"))
    looked(whole)
    real_save, real_work, real_update = Checkpoint.save, Watch._begun, watching.update_run

    def killed_after(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            real(*arguments, **named)
            raise KilledError

        return call

    if moment == "begun":
        monkeypatch.setattr(Watch, "_begun", killed_after(real_work))
    elif moment == "checkpoint":
        monkeypatch.setattr(Checkpoint, "save", killed_after(real_save))
    elif moment == "finished":
        monkeypatch.setattr(updating, "publish", killed_after(lambda *_: None))
    else:
        monkeypatch.setattr(watching, "update_run", killed_after(real_update))
    with pytest.raises(KilledError):
        looked(often)
    assert read_state(often.state_file).working is not None
    monkeypatch.undo()
    monkeypatch.setattr(updating, "promotes", lambda *_: True)
    assert said(looked(often)) == [("promoted", ("february",))]
    assert read_manifest(often.out / "films-u1").digest == read_manifest(whole.out / "films-u1").digest
    assert not looked(often)
    assert sorted(path.name for path in often.out.iterdir()) == ["films-u1", "films.watch.json"]


@pytest.mark.usefixtures("promoted")
@pytest.mark.parametrize("change", ["delivery", "settings"])
def test_killed_and_then_changed_it_begins_anew(
    change: str, deliver: Deliver, watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = deliver("february")
    real = Checkpoint.save

    def save(self: Checkpoint, *arguments: Any) -> None:
        real(self, *arguments)
        raise KilledError

    with monkeypatch.context() as patched, pytest.raises(KilledError):
        patched.setattr(Checkpoint, "save", save)
        looked(watched)
    assert Workspace(watched.out / "films-u1", "training").resumable
    if change == "delivery":
        with (folder / "interactions.csv").open("a", encoding="utf-8") as rows:
            rows.write("1,1,5.0,2000000000\n")
    now = watched if change == "delivery" else replace(watched, overrides=("update.learning_rate=0.01",))
    assert said(looked(now)) == [("promoted", ("february",))]
    assert sorted(path.name for path in watched.out.iterdir()) == ["films-u1", "films.watch.json"]


def test_training_that_diverges_sets_the_delivery_aside(
    deliver: Deliver, watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    def diverges(*_: Any) -> None:
        raise NotFiniteError("loss is nan")

    monkeypatch.setattr(watching, "update_run", diverges)
    deliver("february")
    assert said(looked(watched)) == [("set aside", ("february",))]
    assert not looked(watched)


def test_what_is_wrong_elsewhere_ends_the_watch_and_forgets_nothing(
    deliver: Deliver, watched: Watched, promoted: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise InputError("no room on the disk")

    deliver("february")
    with monkeypatch.context() as patched, pytest.raises(InputError, match="no room"):
        patched.setattr(watching, "update_run", full)
        looked(watched)
    assert said(looked(watched)) == [("promoted", ("february",))]


def test_two_watches_of_one_folder_are_refused(deliver: Deliver, watched: Watched) -> None:
    with Watch.held(watched), pytest.raises(InputError, match=r"is held by process \d+ .*: one watch at a time"):
        looked(watched)
    assert not looked(watched)


def test_wrong_beginnings_are_named(first: Path, recipe: Recipe, deliver: Deliver, watched: Watched) -> None:
    looked(watched)
    with pytest.raises(InputError, match=r"films\.watch\.json goes on from .*films, not from .*other"):
        looked(replace(watched, run=first.with_name("other")))
    with pytest.raises(InputError, match="lies in"):
        looked(replace(watched, out=watched.folder / "runs"))
    with pytest.raises(InputError, match=r"films exists already: --run"):
        looked(replace(watched, out=first.parent, run=None, recipe=recipe))
    with pytest.raises(InputError, match=r"--set training\.epochs"):
        looked(replace(watched, overrides=("training.epochs=3",)))


@pytest.mark.parametrize(
    "wrong",
    [
        {"format": 2},
        {"current": "../other"},
        {"working": {"run": ".hidden", "deliveries": []}},
        {"deliveries": {"a": {"name": "a"}}},
        {"more": 1},
    ],
)
def test_state_that_is_none_is_refused_in_one_line(wrong: dict[str, Any], deliver: Deliver, watched: Watched) -> None:
    watched.out.mkdir()
    watched.state_file.write_text(json.dumps({**State().model_dump(mode="json"), **wrong}), encoding="utf-8")
    with pytest.raises(InputError, match=r"films\.watch\.json: "):
        looked(watched)
