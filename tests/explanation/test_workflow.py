"""Explain: one report of a run, with evidence, its test and a text, and refusals in one line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from llmrec_peft.artifact.manifest import make_manifest, read_manifest
from llmrec_peft.errors import InputError
from llmrec_peft.run.recommender import Recommender
from llmrec_peft.workflows.explain import Asked, Writing, explain
from llmrec_peft.writing.entities import Names
from llmrec_peft.writing.load_writer import opened

QUICK = Asked(top=3, pairs=12, draws=4)


def pair_of(run: Path) -> tuple[str, str]:
    recommender = Recommender.from_pretrained(run)
    user = recommender.vocabulary.users[2]
    return user, recommender.recommend([user], k=1)[0].items[0].item_id


def test_report_of_films_is_plain_and_whole(film_run: Path) -> None:
    user, item = pair_of(film_run)
    report = explain(film_run, user, item, QUICK, show=False)
    assert json.loads(json.dumps(report, allow_nan=False)) == report
    assert list(report) == [
        *("user", "item", "title", "score", "raw", "unit", "base", "evidence", "notes", "faithfulness")
    ]
    assert (report["user"], report["item"]) == (user, item)
    kinds = [one["kind"] for one in report["evidence"]]
    assert set(kinds) == {"signal", "history", "word", "path"}
    assert kinds.count("history") == kinds.count("word") == 3
    for one in report["evidence"]:
        assert {"kind", "what", "contribution", "method"} <= set(one)
        assert one["method"] in ("exact", "leave-one-out")
    assert set(report["faithfulness"]["pair"]) <= {"signal", "history", "word", "path"}
    assert {"k", "draws", "top_drop", "random_drop", "spread", "difference", "draws_below_top"} == set(
        report["faithfulness"]["pair"]["history"]
    )
    run = report["faithfulness"]["run"]
    assert run["sample"].startswith("the item that is recommended first")
    assert run["history"]["pairs"] == 12
    assert isinstance(run["passes"], bool)


def test_report_of_purchases_tells_their_history(purchase_run: Path) -> None:
    user, item = pair_of(purchase_run)
    report = explain(purchase_run, user, item, QUICK, show=False)
    assert [one for one in report["evidence"] if one["kind"] == "history"]
    assert report["faithfulness"]["run"]["history"]["passes"]


def test_report_of_prompts_tests_few_pairs_by_itself(prompt_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from llmrec_peft.workflows import explain as module

    monkeypatch.setattr(module, "FEW_PAIRS", 3)
    recommender = Recommender.from_pretrained(prompt_run)
    user, item = recommender.vocabulary.users[0], recommender.catalogue.ids[0]
    report = explain(prompt_run, user, item, Asked(draws=3), show=False)
    run = report["faithfulness"]["run"]
    assert run["sample"].startswith("an item drawn")
    assert run["history"]["pairs"] + run["history"]["left_out"] == 3


def test_no_pairs_no_test_of_the_run(film_run: Path) -> None:
    report = explain(film_run, *pair_of(film_run), Asked(pairs=0, words="none"), show=False)
    assert report["faithfulness"]["run"] is None
    assert report["faithfulness"]["pair"]


def test_decoder_writes_from_the_evidence(film_run: Path, tiny_decoder: Path) -> None:
    quick = Asked(pairs=0)
    report = explain(film_run, *pair_of(film_run), quick, Writing(decoder=str(tiny_decoder)), show=False)
    assert report["text"].strip()
    told = report["generation"]
    assert set(told) == {
        *("decoder", "weights_sha256", "writer", "written", "entities", "unsupported", "hallucination_rate"),
        *("cut", "template"),
    }
    assert told["decoder"] == str(tiny_decoder)
    assert len(told["weights_sha256"]) == 64
    assert set(told["unsupported"]) <= set(told["entities"])
    # a random decoder writes no sentence: the fixed one stands in, and says so
    assert told["template"]
    assert report["text"].startswith(f"“{report['title']}” was picked")


class Scripted:
    """A writer that answers with given texts."""

    def __init__(self, answer: str) -> None:
        self.answer, self.asked = answer, ""

    def write(self, text: str, lead: str = "", max_tokens: int = 0) -> str:
        self.asked = text
        return f"{lead} {self.answer}" if lead else self.answer


@pytest.mark.parametrize("keep", [False, True])
def test_invented_names_are_counted_and_cut_unless_kept(keep: bool, film_run: Path, films: Any) -> None:
    from llmrec_peft.workflows.explain import names_of, write
    from llmrec_peft.writing.load_writer import Opened

    user, item = pair_of(film_run)
    pair, found = films.pair(user, item), films.explain(user, item)
    other = next(title for title in films.what_if.recommender.catalogue.titles if title != found.title)
    writer = Scripted(f"ties to Orson Welles, as “{other}” has.")
    said = write(films.what_if.recommender, found, pair, Opened(writer, "Say why.", True, {}), names_of(films), keep)  # type: ignore[arg-type]
    assert writer.asked.startswith(f"Say why.\nPicked: {found.title}")
    assert "Orson Welles" in said.check.unsupported
    assert said.check.rate is not None
    assert said.check.rate > 0
    assert other in said.check.unsupported
    assert found.title not in said.check.entities  # it stands in the lead, which is made of facts
    assert said.cut == 1
    assert ("Orson Welles" in said.text) == keep
    assert said.template != keep


@pytest.mark.trains
def test_runs_own_decoder_writes_without_a_second_copy(
    tiny_data: Path, tiny_decoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from llmrec_peft.recipe import load_recipe
    from llmrec_peft.workflows.train import train
    from llmrec_peft.writing import load_writer as writers

    changes = {
        "data.path": str(tiny_data),
        "backbone": {"name": str(tiny_decoder), "pooling": "last-token", "precision": "fp32"},
        "training.epochs": 1,
        "training.refit": False,
        "evaluation.bootstrap": 0,
    }
    run = tmp_path / "run"
    train(load_recipe("movies", changes=changes), run, show=False)
    monkeypatch.setattr(writers, "load_backbone", None)
    recommender = Recommender.from_pretrained(run)
    texts = list(recommender.items.texts[:3])
    before = recommender.encode(texts)
    with opened(recommender) as found:
        assert found.leads
        plain = found.writer.write("Why?", max_tokens=6)
        assert not [name for name, _ in found.writer.model.named_parameters() if "lora" in name]
    assert float((recommender.encode(texts) - before).abs().max()) == 0.0
    report = explain(run, "1", recommender.catalogue.ids[0], Asked(pairs=0), Writing(), show=False)
    assert report["generation"]["decoder"] == str(tiny_decoder)
    assert plain


def test_what_cannot_write_is_refused(film_run: Path, tiny_backbone: Path, tiny_decoder: Path, tmp_path: Path) -> None:
    recommender = Recommender.from_pretrained(film_run)
    for decoder, folder, said in (
        (str(tiny_backbone), None, "is an encoder and cannot write"),
        ("smolm2", None, "did you mean 'smollm2'"),
        (None, film_run, "is a run with head rating, not a writer"),
        (None, tmp_path / "nothing", "no run folder"),
        (str(tiny_decoder), film_run, "leave --decoder out"),
    ):
        with pytest.raises(InputError, match=said), opened(recommender, decoder, folder):
            pass


@pytest.mark.parametrize("asked", [Asked(delete=0), Asked(draws=0)])
def test_empty_deletion_is_refused(asked: Asked, film_run: Path) -> None:
    with pytest.raises(InputError, match="at least one piece"):
        explain(film_run, "1", "1", asked, show=False)


def test_names_are_those_of_catalogue_and_graph(films: Any) -> None:
    from llmrec_peft.workflows.explain import names_of

    title = next(title for title in films.what_if.recommender.catalogue.titles if len(title.split()) > 1)
    assert isinstance(names_of(films), Names)
    assert names_of(films).inside(f"this is {title.lower()} again")


def test_changed_writer_is_refused(writer_folder: Path, film_run: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(writer_folder, tmp_path / "writer"))
    recommender = Recommender.from_pretrained(film_run)
    with opened(recommender, folder=folder) as found:
        assert found.told["writer"] == read_manifest(folder).digest
        assert not found.leads
    other = {**read_manifest(folder).base, "weights_sha256": "2" * 64}
    (folder / "manifest.json").write_text(make_manifest(folder, other, "0").model_dump_json(), encoding="utf-8")
    with pytest.raises(InputError, match="weights_sha256"), opened(recommender, folder=folder):
        pass
    shutil.copy(writer_folder / "manifest.json", folder / "manifest.json")
    (folder / "recipe.yaml").write_text("name: x\n", encoding="utf-8")
    with pytest.raises(InputError, match="not what the run wrote"), opened(recommender, folder=folder):
        pass


def test_writer_is_no_recommender(writer_folder: Path) -> None:
    with pytest.raises(InputError, match="holds a writer, not a recommender"):
        Recommender.from_pretrained(writer_folder)


def test_trained_writer_writes_for_a_run(writer_folder: Path, film_run: Path) -> None:
    writing = Writing(writer=writer_folder, keep_unsupported=True)
    report = explain(film_run, *pair_of(film_run), Asked(pairs=0), writing, show=False)
    assert report["generation"]["adapter"] == "prompt"
    assert report["generation"]["writer"] == read_manifest(writer_folder).digest
    assert report["text"]
