"""Pages of real runs of every kind: all rules kept, recommendations only where they may be shown."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from html_rules import Page, checked

from llmrec_peft.cli.main import main
from llmrec_peft.errors import InputError
from llmrec_peft.page.write import write_page
from llmrec_peft.run.recommender import Recommender
from llmrec_peft.strict_json import read_object


def page_of(run: Path, folder: Path, **options: object) -> Page:
    """Write a run's page and read it."""
    found = write_page(run, folder / "page.html", overwrite=True, **options)  # type: ignore[arg-type]
    return checked(found.file.read_text(encoding="utf-8"))


@pytest.mark.parametrize("kind", ["click", "prompt", "ranking", "joint"])
def test_page_of_each_kind_of_run(task_runs: Callable[[str], Path], tmp_path: Path, kind: str) -> None:
    run = task_runs(kind)
    metrics = read_object(run / "metrics.json", 1 << 24)
    text = page_of(run, tmp_path).text
    for report in (metrics, *metrics.get("heads", {}).values()):
        value = report["test"]["after"][report["primary_metric"]]
        assert f"{value:.4f}" in text
        for name in report["test"]["baselines"]:
            assert name.replace("_", " ") in text
    assert "The data are made up, so these users are, too." in text
    assert "User " in text


def test_page_of_a_writer_shows_perplexities_and_no_users(writer_folder: Path, tmp_path: Path) -> None:
    text = page_of(writer_folder, tmp_path).text
    assert "perplexity" in text
    assert "User " not in text
    with pytest.raises(InputError, match="a writer of explanations recommends nothing"):
        write_page(writer_folder, tmp_path / "b.html", users=["1"])


def test_real_users_are_shown_only_when_they_are_asked_for(tiny_run: Path, tmp_path: Path) -> None:
    recommender = Recommender.from_pretrained(tiny_run)
    first = recommender.recommend(["1"], k=4)[0]
    plain = page_of(tiny_run, tmp_path).text
    assert "User 1" not in plain
    assert first.items[0].title not in plain
    assert "this page shows none" in plain
    asked = page_of(tiny_run, tmp_path, users=["1", "stranger"], k=4).text
    assert "think before you pass this page on" in asked
    assert "User 1 " in asked
    assert "User stranger (unknown in training)" in asked
    for item in first.items:
        assert item.title in asked
        assert f"{item.score:.4f}" in asked


def test_items_that_nobody_rated_are_ranked_by_their_texts(quick_run: Callable[..., Path], tmp_path: Path) -> None:
    run = quick_run("movies", {})
    recommender = Recommender.from_pretrained(run)
    catalogue = recommender.tenant.catalogue
    fresh = [item for item, count in zip(catalogue.ids, catalogue.popularity, strict=True) if count == 0]
    assert fresh, "the made-up films have some"
    user = recommender.vocabulary.users[0]
    scores = recommender.score([user] * len(fresh), fresh)
    best = catalogue.titles[catalogue.row_of[fresh[int(scores.argmax())]]]
    text = page_of(run, tmp_path).text
    assert f"{len(fresh)} of {len(catalogue.ids)} items have no training interaction" in text
    assert "its text alone: never rated" in text
    assert best in text
    none = page_of(run, tmp_path, examples=False).text
    assert "its text alone" not in none
    assert "User " not in none


def test_page_needs_no_private_file(tiny_run: Path, tmp_path: Path) -> None:
    run = shutil.copytree(tiny_run, tmp_path / "published")
    for name in ("seen.safetensors", "predictions.parquet", "users.parquet"):
        (run / name).unlink(missing_ok=True)
    assert page_of(run, tmp_path).text == page_of(tiny_run, tmp_path).text


def test_made_up_run_whose_base_is_gone_still_has_its_page(quick_run: Callable[..., Path], tmp_path: Path) -> None:
    run = shutil.copytree(quick_run("movies", {}), tmp_path / "run")
    (run / "signals.safetensors").write_bytes(b"")
    text = page_of(run, tmp_path).text
    assert "There are no recommendations here:" in text
    with pytest.raises(InputError, match=r"signals\.safetensors"):
        write_page(run, tmp_path / "page.html", users=["1"], overwrite=True)
    with pytest.raises(InputError, match="50 users at most"):
        write_page(run, tmp_path / "page.html", users=[str(n) for n in range(60)], overwrite=True)


def test_command_shows_users_of_a_file(tiny_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "users.txt").write_text("1\n2\n", encoding="utf-8")
    target, users = tmp_path / "p.html", tmp_path / "users.txt"
    with pytest.raises(SystemExit) as ended:
        main(["report", str(tiny_run), "--users", str(users), "--out", str(target), "--json"])
    assert ended.value.code == 0
    assert json.loads(capsys.readouterr().out)["users"] == 2
    assert "User 2" in checked(target.read_text(encoding="utf-8")).text
