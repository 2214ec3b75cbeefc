"""Explainer: evidence adds up, says how it was found and what it cannot say, and refuses what a run does not know."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from llmrec_peft.artifact.seen import read_learned
from llmrec_peft.errors import InputError
from llmrec_peft.explanation.explainer import Explainer
from llmrec_peft.explanation.pieces import Pair, Variant
from llmrec_peft.run.recommender import Recommender

Make = Callable[..., Explainer]


def ids_of(explainer: Explainer, pair: Pair) -> tuple[str, str]:
    recommender = explainer.what_if.recommender
    return recommender.vocabulary.users[pair.user - 1], recommender.catalogue.ids[pair.row]


def test_terms_of_the_signals_and_the_base_add_up_to_the_score(films: Explainer) -> None:
    for pair in films.sample(5):
        found = films.explain(*ids_of(films, pair))
        signals = found.of("signal")
        assert {one.method for one in signals} == {"exact"}
        total = sum(found.base.values()) + sum(one.contribution for one in signals)
        assert total == pytest.approx(found.raw, abs=1e-4)
        assert found.score == pytest.approx(min(5.0, max(1.0, found.raw)), abs=1e-4)
        assert found.unit == "stars"


def test_each_piece_is_what_the_score_loses_without_it(films: Explainer) -> None:
    (pair,) = films.sample(1, seed=3)
    for kind in films.kinds:
        (weighed,) = films.weighed([pair], kind)
        assert weighed, kind
        for one in weighed[:4]:
            whole, without = films.what_if.scores([Variant(pair), Variant(pair, (one.piece,))], anew=kind == "word")
            assert one.contribution == pytest.approx(whole - without, abs=1e-5)


def test_neighbours_in_the_graph_are_terms_of_the_graphs_share(films: Explainer) -> None:
    (pair,) = films.sample(1)
    found = films.explain(*ids_of(films, pair))
    paths = found.of("path")
    assert paths
    assert {one.method for one in paths} == {"exact"}
    graph = [one for one in found.of("signal") if "graph" in one.details.values()]
    assert sum(one.contribution for one in paths) == pytest.approx(sum(one.contribution for one in graph), abs=1e-4)


def test_graph_is_told_by_the_names_that_its_owner_gave(films: Explainer, film_run: Path) -> None:
    from llmrec_peft.experiment.prepare import prepare

    prepared = prepare(Recommender.from_pretrained(film_run).recipe)
    assert prepared.neighbours is not None
    for pair in films.sample(3):
        for one in films.explain(*ids_of(films, pair)).of("path"):
            assert one.details["relation"] in prepared.neighbours.relations
            assert one.details["entity"] in prepared.neighbours.entities


def test_path_leads_from_an_item_that_the_user_liked(films: Explainer) -> None:
    tenant = films.what_if.recommender.tenant
    for pair in films.sample(5, seed=1):
        for one in films.explain(*ids_of(films, pair)).of("path"):
            if "from_items" not in one.details:
                continue
            met, label = tenant.seen.of(pair.user)
            liked = {tenant.vocabulary.items[i - 1] for i in met[label >= label.mean()].tolist()}
            assert set(one.details["from_items"]) <= liked
            assert one.details["from_titles"][0] in one.what
            assert one.what.endswith("– this")
            return
    raise AssertionError("no path led from anywhere")


def test_evidence_of_a_kind_is_told_by_weight_and_cut_to_the_top(films: Explainer) -> None:
    (pair,) = films.sample(1)
    found = films.explain(*ids_of(films, pair))
    sizes = [abs(one.contribution) for one in found.of("history")]
    assert sizes == sorted(sizes, reverse=True)
    assert len(sizes) > 2
    short = found.top(2)
    assert len(short.of("history")) == len(short.of("word")) == 2
    assert short.of("signal") == found.of("signal")
    plain = short.plain()
    history = next(one for one in plain["evidence"] if one["kind"] == "history")
    assert set(history) == {"kind", "what", "contribution", "method", "item_id", "label", "liked"}


def test_history_of_a_ranking_run_is_told_in_its_unit(purchases: Explainer) -> None:
    (pair,) = purchases.sample(1)
    found = purchases.explain(*ids_of(purchases, pair))
    assert found.unit == "score"
    assert found.of("history")
    assert {one.method for one in found.of("history")} == {"leave-one-out"}
    assert found.raw == pytest.approx(found.score, abs=1e-4)


def test_prompt_is_part_of_the_base(prompts: Explainer) -> None:
    (pair,) = prompts.sample(1)
    found = prompts.explain(*ids_of(prompts, pair))
    assert set(found.base) == {"log-odds of all", "prompt"}
    assert found.unit == "log-odds"
    assert prompts.what_if.encodes_examples


def test_signals_mixed_by_a_network_are_left_out_one_by_one(trained: Callable[..., Path], explainer_of: Make) -> None:
    explainer = explainer_of(trained("movies", training__epochs=1, evaluation__ablations=[], fusion__kind="mlp"))
    (pair,) = explainer.sample(1)
    found = explainer.explain(*ids_of(explainer, pair))
    assert {one.method for one in found.of("signal")} == {"leave-one-out"}
    assert any("mixed by this fusion" in line for line in found.notes)
    assert {one.what for one in found.of("signal")} <= {"text", "collaborative", "graph"}


def test_without_the_private_file_signals_and_words_are_told_and_said_so(
    film_run: Path, tmp_path: Path, films: Explainer
) -> None:
    run = Path(shutil.copytree(film_run, tmp_path / "run"))
    (run / "seen.safetensors").unlink()
    explainer = Explainer(Recommender.from_pretrained(run), read_learned(run / "seen.safetensors"))
    assert "history" not in explainer.kinds
    (pair,) = films.sample(1)
    found = explainer.explain(*ids_of(films, pair))
    assert found.of("signal")
    assert found.of("word")
    assert found.of("history") == []
    assert any("seen.safetensors" in line and "never published" in line for line in found.notes)
    assert found.raw == pytest.approx(films.explain(*ids_of(films, pair)).raw, abs=2e-4)


@pytest.mark.parametrize(
    ("user", "item", "said"),
    [("x", None, "unknown user 'x': known are 1, "), (None, "1111", "unknown item '1111': did you mean '11")],
)
def test_ids_that_the_run_does_not_know_are_refused(
    user: str | None, item: str | None, said: str, films: Explainer
) -> None:
    first = ids_of(films, Pair(1, 0))
    with pytest.raises(InputError, match=said):
        films.explain(user or first[0], item or first[1])


def test_item_added_since_has_no_words_but_evidence(film_run: Path, explainer_of: Make) -> None:
    explainer = explainer_of(film_run)
    recommender = explainer.what_if.recommender
    column = {
        "item_id": "new",
        "title": "New",
        "description": "A quiet drama at sea",
        "year": 1999,
        "genres": ["Drama"],
    }
    recommender.add_items([column])
    found = explainer.explain(recommender.vocabulary.users[0], "new")
    assert found.title == "New"
    assert found.of("word") == []
    assert found.of("signal")
    assert found.of("history")


def test_sample_is_the_first_recommendation_of_users_each_once(films: Explainer) -> None:
    pairs = films.sample(12, seed=4)
    assert len({pair.user for pair in pairs}) == 12
    assert pairs == films.sample(12, seed=4)
    assert pairs != films.sample(12, seed=5)
    recommender = films.what_if.recommender
    for pair in pairs[:3]:
        user, item = ids_of(films, pair)
        assert recommender.recommend([user], k=1)[0].items[0].item_id == item


def test_sample_of_a_run_that_reads_prompts_ranks_no_catalogue(
    prompts: Explainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    recommender = prompts.what_if.recommender
    monkeypatch.setattr(recommender, "recommend", None)
    pairs = prompts.sample(4)
    assert len(pairs) == 4
    index = recommender.catalogue.table_index
    for pair in pairs:
        assert not np.isin(index[pair.row], recommender.tenant.seen.of(pair.user)[0])


def test_items_without_a_title_are_called_by_their_ids(tiny_run: Path, explainer_of: Callable[..., Explainer]) -> None:
    explainer = explainer_of(tiny_run, words="none")
    tenant = explainer.what_if.tenant
    object.__setattr__(tenant.items, "titles", ("",) * len(tenant.items.titles))  # it is frozen
    history = explainer.explain(tenant.vocabulary.users[0], tenant.vocabulary.items[0]).of("history")
    assert history
    assert all(piece.what == piece.details["item_id"] for piece in history)
