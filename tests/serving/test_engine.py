"""Engine: answers as `Recommender` gives them, trials, going back, and what is refused."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from resealed import resealed
from spoiled import change_tensors

from llmrec_peft.artifact.manifest import read_manifest
from llmrec_peft.errors import InputError
from llmrec_peft.run.recommender import Recommender
from llmrec_peft.serving.engine import Engine
from llmrec_peft.serving.loading import KnownScores
from llmrec_peft.serving.refusals import RefusedVersionError, ServingError, UnknownTenantError
from llmrec_peft.serving.routes import place_of

FILM = {"item_id": "new", "title": "Brass Lanterns", "year": 1995, "genres": ["Crime"], "description": "A film."}
USERS = [str(number) for number in range(1, 41)]


def digest_of(run: Path) -> str:
    return read_manifest(run).digest


def test_answers_are_those_of_a_recommender(engine: Engine, rivals: list[Path]) -> None:
    users, items = [*USERS[:5], "nobody"], ["1", "2", "3", "4", "5", "new"]
    for at, run in enumerate(rivals):
        engine.register(f"shop {at}", run)
        engine.add_items(f"shop {at}", [FILM])
    for at, run in enumerate(rivals):
        alone = Recommender.from_pretrained(run, device="cpu")
        alone.add_items([FILM])
        answers, known = engine.ask(f"shop {at}", users, 7), alone.recommend(users, 7)
        assert [(answer.user_id, answer.basis, answer.items) for answer in answers] == [
            (one.user_id, one.basis, one.items) for one in known
        ]
        assert [answer.basis for answer in answers] == ["personal"] * 5 + ["popularity"]
        assert {(answer.tenant, answer.version, answer.state) for answer in answers} == {
            (f"shop {at}", digest_of(run), 1)
        }
        scores = engine.score(f"shop {at}", users, items)
        np.testing.assert_array_equal(scores.values, alone.score(users, items))
        assert scores.basis == ("personal",) * 5 + ("popularity",)
    assert len(engine.in_memory) == 3
    bases = {id(one.version.tenant.base) for one in engine._tier.residents() if one.version is not None}
    assert len(bases) == 1, "one base for all"


@pytest.mark.parametrize("task", ["click", "prompt", "ranking", "joint"])
def test_other_tasks_answer_as_alone(engine: Engine, task: str, task_runs: Callable[[str], Path]) -> None:
    run = task_runs(task)
    alone = Recommender.from_pretrained(run, device="cpu")
    users, items = alone.vocabulary.users[:3], alone.vocabulary.items[:3]
    engine.register("shop", run)
    found = engine.ask("shop", users, 3)
    assert [answer.items for answer in found] == [one.items for one in alone.recommend(users, 3)]
    scores = engine.score("shop", users, items)
    np.testing.assert_array_equal(scores.values, alone.score(users, items))
    assert all(engine.audit(one).same for one in (*found, scores))


def test_two_engines_with_the_same_events_have_the_same_state(
    engine: Engine, rivals: list[Path], tmp_path: Path
) -> None:
    other = Engine(tmp_path / "other", device="cpu")
    for one in (engine, other):
        one.register("shop", rivals[0])
    first = engine.standing("shop").main
    assert (first.version, first.state) == (digest_of(rivals[0]), 0)
    states = [first]
    for number in range(2):
        added = [one.add_items("shop", [FILM | {"item_id": f"new {number}"}]).main for one in (engine, other)]
        assert added[0] == added[1]
        assert added[0].state == number + 1
        states.append(added[0])
    assert len({state.state_digest for state in states}) == 3
    engine.add_items("shop", [FILM | {"item_id": "a"}])
    other.add_items("shop", [FILM | {"item_id": "b"}])
    assert engine.standing("shop").main.state_digest != other.standing("shop").main.state_digest


def test_run_without_its_histories_has_another_state(engine: Engine, rivals: list[Path], tmp_path: Path) -> None:
    published = Path(shutil.copytree(rivals[0], tmp_path / "published"))
    (published / "seen.safetensors").unlink()
    whole, without = engine.register("whole", rivals[0]), engine.register("published", published)
    assert whole.main.version == without.main.version
    assert whole.main.state_digest != without.main.state_digest
    assert "no seen.safetensors" in without.notes[0]
    assert engine.ask("whole", ["1"], 50)[0].items != engine.ask("published", ["1"], 50)[0].items


def test_trial_answers_its_share_of_the_users_and_the_same_ones(engine: Engine, rivals: list[Path]) -> None:
    users = [f"user {number}" for number in range(4000)]
    engine.register("shop", rivals[0])
    trial = engine.swap("shop", rivals[1], share=0.05).trial
    assert trial is not None

    def answered_by_it() -> set[str]:
        answers = engine.ask("shop", users, 1)
        assert {answer.version for answer in answers} == {digest_of(run) for run in rivals[:2]}
        return {answer.user_id for answer in answers if answer.version == trial.version}

    few = answered_by_it()
    assert 0.03 < len(few) / len(users) < 0.07
    assert answered_by_it() == few
    engine.weight("shop", trial.version, 0.3)
    more = answered_by_it()
    assert few < more
    assert 0.26 < len(more) / len(users) < 0.34
    assert few != {user for user in users if place_of("another", user) < 0.05}
    assert place_of("a", "ü") == 0.060184581458020525
    standing = engine.weight("shop", trial.version, 1.0)
    assert (standing.main.version, standing.trial) == (trial.version, None)
    assert standing.former is not None
    assert standing.former.version == digest_of(rivals[0])


def test_one_ask_of_users_of_two_versions_keeps_the_order(engine: Engine, rivals: list[Path]) -> None:
    engine.register("shop", rivals[0])
    engine.swap("shop", rivals[1], share=0.5)
    alone = {digest_of(run): Recommender.from_pretrained(run, device="cpu") for run in rivals[:2]}
    answers = engine.ask("shop", USERS, 3)
    assert [answer.user_id for answer in answers] == USERS
    assert {answer.version for answer in answers} == set(alone)
    for version, one in alone.items():
        own = [answer for answer in answers if answer.version == version]
        known = one.recommend([answer.user_id for answer in own], 3)
        assert [answer.items for answer in own] == [each.items for each in known]
    items = [str(number) for number in range(1, 41)]
    scores = engine.score("shop", USERS, items)
    for at, (user, item) in enumerate(zip(USERS, items, strict=True)):
        expected = alone[scores.identities[at].version].score([user], [item])
        np.testing.assert_allclose(scores.values[at], expected[0], atol=1e-5)
    assert engine.audit(scores).same


def test_rollback_ends_a_trial_first_and_then_goes_back(engine: Engine, rivals: list[Path]) -> None:
    first, second = digest_of(rivals[0]), digest_of(rivals[1])
    engine.register("shop", rivals[0])
    with pytest.raises(ServingError, match="no former version"):
        engine.rollback("shop")
    engine.swap("shop", rivals[1], share=0.5)
    standing = engine.rollback("shop")
    assert (standing.main.version, standing.trial, standing.share) == (first, None, 0.0)
    assert second not in engine.in_memory
    engine.swap("shop", rivals[1])
    assert engine.standing("shop").main.version == second
    assert engine.rollback("shop").main.version == first
    assert engine.rollback("shop").main.version == second


def test_added_items_stay_when_the_run_is_swapped(engine: Engine, rivals: list[Path]) -> None:
    engine.register("shop", rivals[0])
    engine.add_items("shop", [FILM])
    assert engine.swap("shop", rivals[1]).main.state == 1
    alone = Recommender.from_pretrained(rivals[1], device="cpu")
    alone.add_items([FILM])
    np.testing.assert_array_equal(engine.score("shop", ["1"], ["new"]).values, alone.score(["1"], ["new"]))
    engine.add_items("shop", [FILM | {"item_id": "newer"}])
    back = engine.rollback("shop")
    assert (back.main.version, back.main.state) == (digest_of(rivals[0]), 2)
    engine.score("shop", ["1", "1"], ["new", "newer"])
    engine.swap("shop", rivals[2], keep_items=False)
    with pytest.raises(ServingError, match="tenant 'shop': unknown item 'new'"):
        engine.score("shop", ["1"], ["new"])


def test_items_go_to_the_trial_as_well_or_to_none(engine: Engine, rivals: list[Path]) -> None:
    engine.register("shop", rivals[0])
    engine.swap("shop", rivals[1], share=0.5)
    standing = engine.add_items("shop", [FILM])
    assert standing.trial is not None
    assert (standing.main.state, standing.trial.state) == (1, 1)
    assert len({one.version for one in engine.score("shop", USERS, ["new"] * len(USERS)).identities}) == 2
    with pytest.raises(ServingError, match="'new' is known already"):
        engine.add_items("shop", [FILM | {"item_id": "x"}, FILM])
    assert engine.standing("shop") == standing


def without_finite_numbers(run: Path) -> None:
    """Let a tensor of the adapter hold NaN."""
    change_tensors(run / "adapter_model.safetensors", lambda t: {n: v.fill_(float("nan")) for n, v in t.items()})


def of_another_width(run: Path) -> None:
    """Let the vectors of items have another width."""
    change_tensors(run / "item_vectors.safetensors", lambda t: {n: v[:, :-1] for n, v in t.items()})


@pytest.mark.parametrize(("spoil", "message"), [(without_finite_numbers, "holds NaN"), (of_another_width, "fit")])
def test_run_that_does_not_fit_never_answers(
    engine: Engine, rivals: list[Path], tmp_path: Path, spoil: Callable[[Path], None], message: str
) -> None:
    bad = Path(shutil.copytree(rivals[1], tmp_path / "bad"))
    spoil(bad)
    resealed(bad)
    with pytest.raises(RefusedVersionError, match=f"tenant 'shop': .*{message}"):
        engine.register("shop", bad)
    with pytest.raises(UnknownTenantError):
        engine.ask("shop", ["1"])
    engine.register("shop", rivals[0])
    before = engine.ask("shop", USERS[:4])
    with pytest.raises(RefusedVersionError, match=message):
        engine.swap("shop", bad)
    assert engine.ask("shop", USERS[:4]) == before
    assert list(engine.in_memory) == [digest_of(rivals[0])]


def test_run_of_another_base_is_refused(engine: Engine, rivals: list[Path], tmp_path: Path) -> None:
    other = resealed(Path(shutil.copytree(rivals[1], tmp_path / "other")), weights_sha256="1" * 64)
    engine.register("shop", rivals[0])
    with pytest.raises(RefusedVersionError, match="weights_sha256 is "):
        engine.register("guest", other)
    assert engine.tenants == ("shop",)


def test_known_scores_have_to_come_out(engine: Engine, rivals: list[Path]) -> None:
    alone = Recommender.from_pretrained(rivals[1], device="cpu")
    users, items = ["1", "2"], ["3", "4"]
    known = KnownScores(users, items, alone.score(users, items).tolist())
    engine.register("shop", rivals[0])
    with pytest.raises(RefusedVersionError, match=r"its score of user '.' and item '.' is .* as it is known to be"):
        engine.swap("shop", rivals[2], known=known)
    assert engine.standing("shop").main.version == digest_of(rivals[0])
    assert engine.swap("shop", rivals[1], known=known).main.version == digest_of(rivals[1])
    broken = KnownScores(users, items, [float("nan")] * 2)
    with pytest.raises(RefusedVersionError, match="is known to be"):
        engine.swap("shop", rivals[2], known=broken)


def test_wrong_questions_are_refused_with_the_tenants_name_and_no_others(engine: Engine, rivals: list[Path]) -> None:
    engine.register("shop", rivals[0])
    with pytest.raises(UnknownTenantError, match=r"^tenant 'shopp': is not registered$"):
        engine.ask("shopp", ["1"])
    for ask in (engine.standing, engine.unregister, engine.rollback, lambda name: engine.add_items(name, [FILM])):
        with pytest.raises(UnknownTenantError, match="'other'"):
            ask("other")
    with pytest.raises(InputError, match="k must be at least 1"):
        engine.ask("shop", ["1"], 0)
    with pytest.raises(InputError, match="user ids are texts"):
        engine.ask("shop", [1])  # type: ignore[list-item]
    with pytest.raises(ServingError, match="is registered already"):
        engine.register("shop", rivals[1])
    with pytest.raises(RefusedVersionError, match="no run folder"):
        engine.swap("shop", "nowhere")
    for share in (0, 1.5, float("nan"), True):
        with pytest.raises(ServingError, match="a share of users"):
            engine.swap("shop", rivals[1], share=share)
    with pytest.raises(ServingError, match="is not on trial"):
        engine.weight("shop", digest_of(rivals[0]), 0.5)


def test_unregistered_tenants_leave_memory(engine: Engine, rivals: list[Path]) -> None:
    engine.register("one", rivals[0])
    engine.register("two", rivals[0])
    assert engine.in_memory == {digest_of(rivals[0]): 2}, "one run in memory for both"
    engine.add_items("one", [FILM])
    with pytest.raises(ServingError, match="unknown item 'new'"):
        engine.score("two", ["1"], ["new"])
    engine.unregister("one")
    assert engine.in_memory == {digest_of(rivals[0]): 1}
    engine.unregister("two")
    assert engine.in_memory == {}
    assert engine.tenants == ()
