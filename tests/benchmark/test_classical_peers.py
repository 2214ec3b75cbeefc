"""Peers from other packages: the same split, seen-item rule and metric code as the package's own models."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from llmrec_peft.data.interactions import Interactions
from llmrec_peft.errors import InputError
from llmrec_peft.evaluation.baselines.ranking import ranking_baselines
from llmrec_peft.evaluation.baselines.ranking_data import RankingData
from llmrec_peft.evaluation.outcomes import Ranks
from llmrec_peft.experiment.prepare import prepare
from llmrec_peft.recipe import DEMO, load_recipe

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks"


class Rooms:
    """The scripts' modules, by name."""

    def __getattr__(self, name: str) -> Any:
        return importlib.import_module("classical_peers" if name == "script" else f"peers.{name}")


@pytest.fixture(scope="module")
def rooms() -> Iterator[Rooms]:
    with pytest.MonkeyPatch.context() as patched:
        patched.syspath_prepend(FOLDER)
        yield Rooms()


def arena_of(rooms: Rooms, recipe: str) -> Any:
    task = rooms.tasks.Task("made up", recipe, DEMO)
    return rooms.tasks.Arena(task, prepare(load_recipe(recipe, changes={"data.path": DEMO})))


@pytest.fixture(scope="module")
def given(rooms: Rooms) -> Any:
    """Histories are the owner's, and what was met is ranked again."""
    return arena_of(rooms, "minionerec")


@pytest.fixture(scope="module")
def left_out(rooms: Rooms) -> Any:
    """One item of each user is left out, and what was met is not ranked."""
    return arena_of(rooms, "music")


def test_a_profile_is_the_history_where_the_owner_gives_one(given: Any) -> None:
    part = given.prepared.test
    profiles = given.final.profiles(part).toarray()
    for row, profile in enumerate(profiles):
        history = part.history.item[part.history.begin[row] : part.history.end[row]]
        assert set(np.flatnonzero(profile)) == set(history[history > 0].tolist())
    assert set(np.unique(profiles)) <= {0.0, 1.0}


@pytest.mark.parametrize("recipe", ["music", "games"])
@pytest.mark.parametrize("weights", ["ones", "told"])
def test_a_profile_is_what_was_learned_of_the_user_elsewhere(rooms: Rooms, recipe: str, weights: str) -> None:
    left_out = arena_of(rooms, recipe)
    part, known = left_out.prepared.test, left_out.final.interactions
    profiles = left_out.final.profiles(part, weights).toarray()
    assert not profiles[np.arange(len(part)), part.item].any(), "the item that is asked for is in no profile"
    for row in range(len(part)):
        own = known.user == part.user[row]
        expected = np.zeros(profiles.shape[1])
        np.add.at(expected, known.item[own], 1.0 + known.confidence[own] if weights == "told" else 1.0)
        assert np.allclose(profiles[row], expected if weights == "told" else expected > 0)
    if recipe == "games":
        assert (known.confidence == 0).any(), "a game that was bought and never played is in profiles, too"


@pytest.mark.parametrize("name", ["given", "left_out"])
def test_a_peer_that_counts_has_the_figures_of_the_own_baseline_that_counts(
    name: str, request: pytest.FixtureRequest
) -> None:
    import torch

    arena = request.getfixturevalue(name)
    prepared = arena.prepared
    protocol, size = prepared.protocol, prepared.vocabulary.num_items
    train, fit = (prepared.records(part) for part in (protocol.train, protocol.learned))
    data = RankingData(train, prepared.valid, fit, prepared.test, size, None, protocol.own_items, arena.metric)
    baseline = next(iter(ranking_baselines(data)))
    assert baseline.name == "popularity"
    counts = torch.from_numpy(arena.final.interactions.counts_by_item(size)[1:].astype(np.float32))
    outcome = arena.outcome(lambda part: counts.expand(len(part), -1), prepared.test)
    assert arena.figures(outcome, prepared.test) == arena.figures(baseline.test, prepared.test)


def knowing_peer(rooms: Rooms, asked: list[tuple[Any, Interactions]]) -> Any:
    """A peer that ranks the item asked for first with one of its settings, and last with the other."""

    class Knowing(rooms.contract.Peer):  # type: ignore[misc]
        name, package, task, seeded = "knowing", "numpy", "ranking", True

        def grid(self, learned: Any) -> Any:
            return [{"sign": -1.0}, {"sign": 1.0}]

        def fitted(self, learned: Any, settings: Any, seed: int) -> Any:
            import torch

            def scores(part: Interactions) -> Any:
                asked.append((learned, part))
                table = torch.zeros(len(part), learned.num_items - 1)
                table[torch.arange(len(part)), torch.from_numpy(part.item - 1)] = settings["sign"]
                return table

            return scores

    return Knowing()


def test_settings_are_chosen_on_validation_and_test_is_asked_once_a_seed(rooms: Rooms, left_out: Any) -> None:
    asked: list[tuple[Any, Interactions]] = []
    row, outcomes = rooms.measuring.measured(knowing_peer(rooms, asked), left_out, (1, 2, 3))
    assert row["settings"]["sign"] == 1.0
    assert (row["status"], row["seeds"], len(outcomes)) == ("ok", [1, 2, 3], 3)
    assert row["test"]["hr@10"] == [1.0, 1.0, 1.0]
    of_test = set(left_out.prepared.test.rows.tolist())
    learned_then = [learned for learned, part in asked if of_test & set(part.rows.tolist())]
    assert len(learned_then) == 3 * -(-len(of_test) // 256)
    assert all(learned is left_out.final for learned in learned_then)
    assert all(learned is left_out.before for learned, part in asked if not of_test & set(part.rows.tolist()))


def test_whether_what_was_met_is_listed_is_a_setting_where_the_recipe_ranks_it(rooms: Rooms, given: Any) -> None:
    row, _ = rooms.measuring.measured(knowing_peer(rooms, []), given, (1,))
    assert row["settings_tried"] == 4
    assert row["settings"]["lists what was met"] is True, "some purchases are repeats"


def test_a_peer_that_cannot_be_used_is_a_row_with_its_reason(rooms: Rooms, given: Any, left_out: Any) -> None:
    row, outcomes = rooms.measuring.measured(rooms.implicit_models.PersonalizedRanking(), given, (1,))
    assert (row["status"], outcomes) == ("left out", [])
    assert "training does not know" in row["reason"]
    large = rooms.learned.Learned(left_out.final.interactions, 10, 20_001, False, True)
    assert "20,000" in rooms.cornac_models.Ease().refusal(large)


def test_what_a_peer_answered_is_kept_for_the_very_same_data(rooms: Rooms, tmp_path: Path) -> None:
    kept = rooms.kept.Kept(tmp_path / "kept")
    ranks = [Ranks(np.array([1.0, 2.5]), np.zeros((2, 10), np.int64)), Ranks(np.array([3.0, 1.0]), np.zeros((2, 10)))]
    kept.write("films", "digest", "ALS", ranks)
    read = kept.read("films", "digest", "ALS", True)
    assert [one.rank.tolist() for one in read] == [[1.0, 2.5], [3.0, 1.0]]
    assert kept.read("films", "other data", "ALS", True) is None


def test_our_runs_are_paired_with_a_peer_by_example(rooms: Rooms, left_out: Any) -> None:
    count = len(left_out.prepared.test)
    first, last = (Ranks(np.full(count, rank), np.zeros((count, 0), np.int64)) for rank in (1.0, 50.0))
    ours = rooms.ours.Ours("after", (1, 2), (first, first))
    assert ours.plain(left_out)["test"] == {"hr@10": [1.0, 1.0], "ndcg@10": [1.0, 1.0]}
    found = ours.minus([last], left_out)["ndcg@10"]
    assert (found["difference"], found["differs"]) == (1.0, True)
    assert ours.minus([first], left_out)["ndcg@10"]["differs"] is False


def reported(rooms: Rooms, peer: float, ours: float) -> str:
    row = {"model": "ALS", "package": "implicit", "status": "ok", "settings": {"factors": 64}, "settings_tried": 3}
    row |= {"validation": 0.2, "test": {"hr@10": [0.5], "ndcg@10": [peer]}}
    left = {"model": "EASE", "package": "cornac", "status": "left out", "reason": "too large"}
    task = {
        "task": "films",
        "recipe": "movies",
        "data": "ml",
        "metric": "ndcg@10",
        "published": "",
        "peers": [row, left],
    }
    task |= {"sizes": {"users": 1, "items": 2, "learned": 3, "test": 4}}
    task |= {"ours": {"model": "after", "seeds": [1, 2], "test": {"ndcg@10": [ours, ours]}}}
    other = {**task, "task": "games", "peers": [row, {**row, "model": "SASRec", "package": "cornac"}]}
    machine = {"hardware": {"processor": "P", "threads": 1}, "versions": {}, "date": "2026-11-30", "how": ["How."]}
    return str(rooms.report.as_markdown({**machine, "tasks": [task, other]}))


def test_peers_that_other_tasks_were_measured_with_are_named_where_they_were_not(rooms: Rooms) -> None:
    films, games = reported(rooms, 0.1, 0.2).split("## games")
    assert "- Not measured on this task: SASRec (cornac)." in films
    assert "- Not measured on this task: EASE (cornac)." in games


def test_a_peer_that_is_ahead_is_shown_as_such(rooms: Rooms) -> None:
    assert "| 0.3000 ▲ |" in reported(rooms, 0.3, 0.2)
    assert "| 0.3000 |" in reported(rooms, 0.3, 0.4)
    assert "| EASE (cornac) | left out: too large |" in reported(rooms, 0.3, 0.4)


def circle(rooms: Rooms) -> tuple[Any, Interactions]:
    """Users who go round 12 items, each from a start of his own; and what comes after item 5, and after item 12."""
    walk = (np.arange(40)[:, None] + np.arange(9)) % 12 + 1
    users, times = np.repeat(np.arange(1, 41), 9), np.tile(np.arange(9), 40)
    known = Interactions(users, walk.ravel(), np.ones(360, np.float32), times)
    from llmrec_peft.data.histories import Histories

    told = Histories(np.array([3, 4, 5, 11, 12]), np.ones(5, np.float32), np.array([0, 3]), np.array([3, 5]))
    asked = Interactions(np.array([1, 2]), np.array([6, 1]), np.ones(2, np.float32), np.zeros(2, np.int64), told)
    return rooms.learned.Learned(known, 41, 13, True, True), asked


@pytest.mark.trains
def test_sasrec_learns_what_comes_next_and_items_have_our_numbers(rooms: Rooms) -> None:
    pytest.importorskip("cornac")
    learned, asked = circle(rooms)
    settings = {"embedding_dim": 32, "batch_size": 32, "n_epochs": 12, "dropout": 0.0, "max_len": 50, "n_sample": 0}
    scores = rooms.cornac_models.SelfAttention().fitted(learned, settings, 1)(asked)
    assert tuple(scores.shape) == (2, 12)
    assert (scores.argmax(1) + 1).tolist() == [6, 1]


@pytest.mark.trains
@pytest.mark.parametrize("name", ["LeastSquares", "PersonalizedRanking", "ItemNeighbours", "Ease"])
def test_a_library_s_model_beats_counting_on_made_up_tastes(name: str, rooms: Rooms, left_out: Any) -> None:
    import torch

    module = rooms.cornac_models if name == "Ease" else rooms.implicit_models
    peer = getattr(module, name)()
    pytest.importorskip(peer.package)
    test = left_out.prepared.test
    counts = torch.from_numpy(left_out.final.matrix().sum(0).A1[1:].astype(np.float32))
    popular = left_out.figures(left_out.outcome(lambda part: counts.expand(len(part), -1), test), test)
    scores = peer.fitted(left_out.final, peer.grid(left_out.final)[0], 1)
    assert left_out.figures(left_out.outcome(scores, test), test)["ndcg@10"] > popular["ndcg@10"]


@pytest.mark.trains
@pytest.mark.parametrize(
    ("module", "name"), [("cornac_models", "BiasedFactors"), ("myfm_models", "FactorizationMachine")]
)
def test_factors_of_ratings_beat_the_mean(module: str, name: str, rooms: Rooms) -> None:
    peer = getattr(getattr(rooms, module), name)()
    pytest.importorskip(peer.package)
    arena = arena_of(rooms, "social")
    test = arena.prepared.test
    scores = peer.fitted(arena.final, peer.grid(arena.final)[0], 1)
    mean = float(arena.final.interactions.label.mean())
    even = arena.figures(arena.outcome(lambda part: np.full(len(part), mean), test), test)
    assert arena.figures(arena.outcome(scores, test), test)["rmse"] < even["rmse"]
    assert scores(test).min() >= arena.final.interactions.label.min() - 1
    assert scores(test).max() <= arena.final.interactions.label.max() + 1


@pytest.mark.trains
def test_a_run_speaks_for_us_with_its_own_figures_on_the_same_examples(
    rooms: Rooms, task_runs: Callable[[str], Path]
) -> None:
    arena = arena_of(rooms, "amazon-scientific")
    ours = rooms.ours.Ours.among([task_runs("click"), task_runs("ranking")], arena)
    assert ours is not None
    report = json.loads((task_runs("ranking") / "metrics.json").read_text(encoding="utf-8"))
    told = ours.plain(arena)
    assert told["model"] == ("recommended" if "recommended" in report["test"] else "after")
    assert told["test"]["ndcg@10"] == [pytest.approx(report["test"][told["model"]]["ndcg@10"])]
    assert rooms.ours.Ours.among([task_runs("click")], arena) is None
    with pytest.raises(InputError, match="several runs of one seed"):
        rooms.ours.Ours.among([task_runs("ranking"), task_runs("ranking")], arena)
    split = arena.prepared.split
    backwards = replace(split, test=split.test[::-1].copy())
    turned = rooms.tasks.Arena(arena.task, replace(arena.prepared, split=backwards))
    again = rooms.ours.Ours.among([task_runs("ranking")], turned)
    assert again is not None, "predictions are kept in an order of their own"
    assert np.array_equal(again.outcomes[0].rank, ours.outcomes[0].rank[::-1])


def test_our_committed_figures_are_found_in_a_recipe_s_file_or_in_a_report(rooms: Rooms) -> None:
    tasks = rooms.tasks.TASKS
    found = [rooms.ours.committed(task, "rmse" if task.name.startswith("stars") else "ndcg@10") for task in tasks]
    assert all(one is not None and len(one["seeds"]) == 3 for one in found)


def test_the_committed_table_is_the_committed_result_s(rooms: Rooms) -> None:
    report = json.loads((FOLDER / "results" / "classical_peers.json").read_text(encoding="utf-8"))
    known = {task.name: task for task in rooms.tasks.TASKS}
    assert [entry["task"] for entry in report["tasks"]] == list(known)
    for entry in report["tasks"]:
        assert (entry["recipe"], entry["data"]) == (known[entry["task"]].recipe, known[entry["task"]].data)
        assert any(row["status"] == "ok" for row in entry["peers"])
        assert entry["ours"]["test"][entry["metric"]]
    assert (FOLDER / "results" / "classical_peers.md").read_text(encoding="utf-8") == rooms.report.as_markdown(report)
