"""Own files in Chinese: headers, dates, lists and encodings are understood, and a Chinese vocabulary learns."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import chinese
import pyarrow as pa
import pytest

from llmrec_peft import Recommender
from llmrec_peft.custom.facts import column_facts
from llmrec_peft.custom.propose import Proposal, propose
from llmrec_peft.custom.settings import READS_ENGLISH
from llmrec_peft.custom.words import is_id, strength
from llmrec_peft.data.dataset import column
from llmrec_peft.experiment.prepare import prepare
from llmrec_peft.overview.texts import describe_texts, describe_tokens
from llmrec_peft.recipe import Recipe, load_recipe
from llmrec_peft.workflows.train import train

ENCODINGS = ("utf-8", "utf-8-sig", "utf-16", "gb18030", "gbk")
KINDS = ("user", "item", "rating", "click", "time", "title", "review", "count")
HEADERS = {
    "user": ("用户", "用户ID", "用户编号", "用户名", "会员编号", "用戶ID", "買家"),
    "item": ("商品", "商品编号", "电影ID", "图书", "產品", "影片编号"),
    "rating": ("评分", "用户评分", "打分", "星级", "評分"),
    "click": ("点击", "是否点击", "是否喜欢"),
    "time": ("时间", "观看时间", "下单日期", "時間"),
    "title": ("标题", "电影名称", "片名", "书名", "標題"),
    "review": ("评论", "短评", "用户评价"),
    "count": ("播放次数", "购买数量", "观看时长"),
}


@pytest.fixture(params=ENCODINGS)
def proposal(request: pytest.FixtureRequest, tmp_path: Path) -> Proposal:
    chinese.write_films(tmp_path, request.param)
    return propose(tmp_path / "ratings.csv", tmp_path / "films.csv")


def test_columns_are_understood_in_every_encoding(proposal: Proposal) -> None:
    assert {(guess.table, guess.column): guess.role for guess in proposal.guesses} == {
        ("interactions", "用户ID"): "user",
        ("interactions", "影片编号"): "item",
        ("interactions", "评分"): "rating",
        ("interactions", "观看时间"): "time",
        ("items", "影片编号"): "id",
        ("items", "片名"): "title",
        ("items", "类型"): "category 类型",
        ("items", "上映日期"): "year 上映日期",
    }
    assert [line for line in proposal.unsure if READS_ENGLISH not in line] == []
    assert any(READS_ENGLISH in line for line in proposal.unsure)


def test_texts_are_written_with_chinese_marks(proposal: Proposal, tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text(proposal.text, encoding="utf-8")
    prepared = prepare(load_recipe(str(tmp_path / "own.yaml")), None)
    titles = dict(zip(column(prepared.dataset.items, "item_id"), column(prepared.dataset.items, "title"), strict=True))
    genres = dict(zip(column(prepared.dataset.items, "item_id"), column(prepared.dataset.items, "类型"), strict=True))
    at = prepared.vocabulary.items.index("m0") + 1
    assert len(genres["m0"]) == 2
    assert prepared.texts[at] == f"{titles['m0']}（1990）。类型：{'、'.join(genres['m0'])}。"
    [script] = describe_texts(prepared.texts[1:])["scripts"]
    assert script["script"] == "Han"


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind, names in HEADERS.items() for name in names])
def test_headers_say_what_a_column_is_and_nothing_else(kind: str, name: str) -> None:
    told = {one: strength(name, one) for one in KINDS}
    assert max(told, key=lambda one: told[one]) == kind
    assert [one for one in KINDS if told[one] == told[kind]] == [kind]


def test_names_of_ids() -> None:
    assert [is_id(name) for name in ("用户编号", "商品ID", "影片編號", "标题")] == [True, True, True, False]


@pytest.mark.parametrize("mark", ["、", "，", "；", "｜", ","])
def test_lists_are_divided_by_full_width_marks(mark: str) -> None:
    values = [mark.join(some) for some in (("动作", "喜剧"), ("爱情", "喜剧"), ("动作", "爱情"))] * 4
    assert column_facts("类型", pa.chunked_array([values])).mark == mark


def test_long_texts_are_no_categories_although_they_have_no_spaces() -> None:
    values = ["讲述一个关于江湖的故事，出人意料，值得一看。", "一段发生在海边小镇的爱情往事，温柔动人。"] * 6
    assert column_facts("简介", pa.chunked_array([values])).words > 10.0
    assert column_facts("类型", pa.chunked_array([["动作", "喜剧"] * 6])).words < 1.5


def test_clicks_are_yes_and_no(tmp_path: Path) -> None:
    rows = [f"u{user},i{item},{'是' if (user + item) % 2 else '否'}" for user in range(9) for item in range(6)]
    (tmp_path / "clicks.csv").write_text("\n".join(["用户,商品,是否点击", *rows]) + "\n", encoding="gb18030")
    made = propose(tmp_path / "clicks.csv")
    (tmp_path / "clicks.yaml").write_text(made.text, encoding="utf-8")
    prepared = prepare(load_recipe(str(tmp_path / "clicks.yaml")), None)
    labels = column(prepared.dataset.interactions, "rating")
    assert made.recipe.head.name == "click"
    assert (labels[:2], len(labels)) == ([0.0, 1.0], 54)


def small(folder: Path, backbone: Path) -> Recipe:
    """The proposed recipe over a tiny base, to be tested on films that nobody has rated."""
    made = propose(folder / "ratings.csv", folder / "films.csv")
    (folder / "own.yaml").write_text(made.text, encoding="utf-8")
    changes = {
        "backbone.name": str(backbone),
        "backbone.precision": "fp32",
        "data.split": "cold-item",
        "adapter.layers": "all",
        "signals.features": False,
        "training.choice": "validation",
        "training.epochs": 20,
        "training.patience": None,
        "training.adapter.learning_rate": 0.005,
        "training.adapter_epochs": None,
        "training.refit": False,
        "evaluation.bootstrap": 0,
    }
    return load_recipe(str(folder / "own.yaml"), changes=changes)


def errors(metrics: dict[str, Any]) -> tuple[float, float, float]:
    """Test RMSE of the best baseline, of the frozen and of the tuned texts."""
    test = metrics["test"]
    best = min(one["rmse"] for one in test["baselines"].values())
    return best, test["before"]["rmse"], test["after"]["rmse"]


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("chinese") / "films"
    folder.mkdir()
    chinese.write_films(folder, "gb18030")
    return folder


@pytest.fixture(scope="module")
def characters(films: Path) -> Path:
    """A tiny Chinese BERT that knows the characters of the films."""
    known = "".join((films / name).read_text(encoding="gb18030") for name in ("films.csv", "ratings.csv"))
    return chinese.write_bert(films.parent / "characters", known + "（）：。")


@pytest.mark.trains
def test_titles_of_new_films_tell_their_stars_to_a_vocabulary_of_characters(
    films: Path, characters: Path, tmp_path: Path
) -> None:
    metrics = train(small(films, characters), tmp_path / "run", show=False)
    best, frozen, tuned = errors(metrics)
    assert tuned < 0.75 * min(best, frozen), (best, frozen, tuned)
    assert metrics["data"]["notes"] == []


@pytest.mark.trains
def test_a_vocabulary_of_other_characters_learns_nothing_and_the_run_says_why(films: Path, tmp_path: Path) -> None:
    other = chinese.write_bert(tmp_path / "other", "天地玄黄宇宙洪荒")
    metrics = train(small(films, other), tmp_path / "run", show=False)
    best, frozen, tuned = errors(metrics)
    assert min(frozen, tuned) > best - 0.1
    [note] = metrics["data"]["notes"]
    assert "stand for what the vocabulary of" in note


def test_unknown_characters_are_described(films: Path, characters: Path, tmp_path: Path) -> None:
    recipe = small(films, characters)
    known = describe_tokens(recipe, ["《长安江湖：第1部》"])
    assert (known["share_unknown"], known["min"]) == (0.0, 12)  # a token each, with [CLS] and [SEP]
    assert describe_tokens(recipe, ["龘龘"])["share_unknown"] == 0.5


def test_commands_recommend_and_explain_in_chinese(
    llmrec: Callable[..., subprocess.CompletedProcess[str]], films: Path, characters: Path, tmp_path: Path
) -> None:
    own = tmp_path / "own.yaml"
    files = ("--interactions", films / "ratings.csv", "--items", films / "films.csv")
    few = ("--set", f"backbone.name={characters}", "--set", "training.epochs=2", "--set", "training.choice=validation")
    for words in (
        ("init", "custom", *files, "--out", own),
        ("train", own, *few, "--set", "evaluation.bootstrap=0", "--out", tmp_path / "run"),
    ):
        done = llmrec(*words)
        assert done.returncode == 0, done.stderr
    found = json.loads(llmrec("recommend", tmp_path / "run", "--user", "张1", "-k", "3", "--json").stdout)
    assert "《" in json.dumps(found, ensure_ascii=False)
    told = llmrec("explain", tmp_path / "run", "--user", "张1", "--item", "m0", "--json")
    assert told.returncode == 0, told.stderr
    words = Recommender.from_pretrained(tmp_path / "run").explain("张1", "m0").of("word")
    assert words
    assert all(len(one.what) == 1 or not set(one.what) & set("江湖月光长安") for one in words)
