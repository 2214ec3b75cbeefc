"""Reader of MIND: train and dev or one folder, impressions as lists, and every broken line named."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from llmrec_recipes.news.reader import News, NewsOptions

from llmrec_peft.data.dataset import RecDataset, column
from llmrec_peft.data.soundness import sound
from llmrec_peft.errors import InputError
from llmrec_peft.experiment.prepare import prepare
from llmrec_peft.recipe import load_recipe

COLUMNS = ("user_id", "item_id", "rating", "part", "kind", "impression")


@pytest.fixture(scope="module")
def real(shared_data: Path) -> RecDataset:
    folder = shared_data / "mind-sample"
    if not (folder / "behaviors.tsv").is_file():
        pytest.skip(f"MIND's sample is absent: {folder}")
    return News.opened(NewsOptions(negatives=None)).read(folder, None)


def test_the_real_sample_holds_what_its_lines_hold(real: RecDataset, shared_data: Path) -> None:
    folder = shared_data / "mind-sample"
    news = {line.split("\t")[0] for line in (folder / "news.tsv").read_text(encoding="utf-8").splitlines()}
    shown: Counter[tuple[str, str, str, str]] = Counter()
    usable = 0
    for line in (folder / "behaviors.tsv").read_text(encoding="utf-8").splitlines():
        number, user, _, _, listed = line.split("\t")
        known = [entry.rpartition("-") for entry in listed.split() if entry.rpartition("-")[0] in news]
        shown.update((number, user, item, label) for item, _, label in known)
        usable += len({label for _, _, label in known}) == 2
    rows = zip(*(column(real.interactions, name) for name in COLUMNS), strict=True)
    assert Counter((number, user, item, f"{label:.0f}") for user, item, label, _, _, number in rows) == shown
    assert usable == 119
    assert (len(real.items), len(real.interactions)) == (2000, 5310)
    assert sound(real) is real
    assert {note.split(",")[0] for note in real.notes} == {
        "articles shown that news.tsv lacks",
        "articles clicked before that news.tsv lacks",
    }


def test_parts_of_the_real_sample_follow_each_other_and_cut_no_impression(real: RecDataset) -> None:
    part, time = (np.asarray(column(real.interactions, name)) for name in ("part", "timestamp"))
    spans = [(time[part == name].min(), time[part == name].max()) for name in ("train", "valid", "test")]
    assert spans[0][1] < spans[1][0] <= spans[1][1] < spans[2][0]
    pairs = set(zip(part.tolist(), column(real.interactions, "impression"), strict=True))
    assert len(pairs) == len({impression for _, impression in pairs})


def test_first_appearances_lie_before_whatever_shows_the_article(real: RecDataset) -> None:
    first = dict(zip(column(real.items, "item_id"), column(real.items, "first_seen"), strict=True))
    names = ("item_id", "history", "timestamp")
    for item, history, time in zip(*(column(real.interactions, name) for name in names), strict=True):
        assert all(first[one] <= time for one in (item, *history))


def entities(*named: tuple[str, str]) -> str:
    return json.dumps([{"Label": label, "Type": "P", "WikidataId": number} for number, label in named])


ADA = ("Q1", "Ada  Lovelace")
ARTICLES = [
    [
        "N1",
        "sports",
        "tennis",
        "Ace &amp; set",
        "<b>Long</b> rally",
        "http://x",
        entities(ADA),
        entities(("Q2", "Net")),
    ],
    ["N2", "news", "courts", 'The "verdict', "", "http://x", "[]", ""],
    ["N3", "news", "world", "Ünlü", "Ada", "http://x", "[]", entities(("Q1", "Countess of Lovelace"), ADA)],
    ["N4", "news", "world", "", "", "http://x", "[]", "[]"],
]
BEHAVIORS = [
    ["1", "U1", "11/9/2019 8:00:00 AM", "N2 N1", "N1-1 N2-0 N3-0"],
    ["2", "U2", "11/9/2019 12:30:00 PM", "", "N2-0 N1-0 N3-1 N4-0"],
    ["3", "U1", "11/10/2019 1:00:05 AM", "N2 N1 N1", "N1-0 N3-1 N2-1"],
    ["4", "U3", "11/11/2019 9:00:00 AM", "N3", "N4-1 N1-0"],
]


def write(folder: Path, articles: list[list[str]] = ARTICLES, behaviors: list[list[str]] = BEHAVIORS) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, rows in (("news.tsv", articles), ("behaviors.tsv", behaviors)):
        text = "".join("\t".join(row) + "\n" for row in rows)
        (folder / name).write_bytes(text.encode())
    return folder


@pytest.fixture
def official(tmp_path: Path) -> Path:
    write(
        tmp_path / "MINDsmall_train", ARTICLES[:3], [[*row[:4], row[4].replace(" N4-0", "")] for row in BEHAVIORS[:3]]
    )
    write(tmp_path / "MINDsmall_dev", ARTICLES, [["1", *BEHAVIORS[3][1:]]])
    return tmp_path


def read(folder: Path, **options: Any) -> RecDataset:
    return News.opened(NewsOptions(**options)).read(folder, None)


def rows_of(data: RecDataset, *names: str) -> list[tuple[Any, ...]]:
    return list(zip(*(column(data.interactions, name) for name in names), strict=True))


def test_train_and_dev_are_found_by_their_folders(official: Path) -> None:
    data = read(official, valid_share=0.4)
    assert data.name == "MIND MINDsmall_train and MINDsmall_dev"
    assert Counter(column(data.interactions, "part")) == {"train": 6, "valid": 3, "test": 2}
    assert rows_of(data, "user_id", "item_id", "rating", "impression", "kind")[-3:] == [
        ("U1", "N2", 1.0, "train-3", "with_history"),
        ("U3", "N4", 1.0, "test-1", "with_history"),
        ("U3", "N1", 0.0, "test-1", "with_history"),
    ]
    assert column(data.items, "item_id") == ["N1", "N2", "N3", "N4"]
    assert sound(data) is data
    (official / "MINDlarge_test").mkdir()
    assert read(official, valid_share=0.4).name == data.name
    write(official / "MINDlarge_train")
    with pytest.raises(InputError, match="'MINDlarge_train' and 'MINDsmall_train' could both be train"):
        read(official)


def test_a_folder_alone_is_divided_by_time(tmp_path: Path) -> None:
    data = read(write(tmp_path), valid_share=0.3, test_share=0.25)
    assert data.name == "MIND"
    parts = {(number, part) for number, part in rows_of(data, "impression", "part")}
    assert parts == {("1", "train"), ("2", "train"), ("3", "valid"), ("4", "test")}


def test_histories_are_the_owners_and_may_be_empty(tmp_path: Path) -> None:
    data = read(write(tmp_path), history=2)
    told = {number: (history, kind) for number, history, kind in rows_of(data, "impression", "history", "kind")}
    assert told["2"] == ([], "without_history")
    assert told["3"] == (["N1", "N1"], "with_history"), "the newest"
    assert {label for labels in column(data.interactions, "history_rating") for label in labels} == {1.0}


def test_times_are_seconds_and_articles_appear_where_they_are_shown_or_told_first(tmp_path: Path) -> None:
    data = read(write(tmp_path))
    times = dict(rows_of(data, "impression", "timestamp"))
    noon = 1573302600  # 2019-11-09 12:30:00
    assert times == {"1": noon - 16_200, "2": noon, "3": noon + 45_005, "4": noon + 160_200}
    assert column(data.items, "first_seen") == [noon - 16_200, noon - 16_200, noon - 16_200, noon]


def test_texts_are_without_markup_and_entities_are_a_graph(tmp_path: Path) -> None:
    data = read(write(tmp_path))
    assert column(data.items, "title") == ["Ace & set", 'The "verdict', "Ünlü", ""]
    assert column(data.items, "abstract") == ["Long rally", "", "Ada", ""]
    assert data.graph is not None
    assert list(zip(*(column(data.graph.triples, name) for name in ("head", "relation", "tail")), strict=True)) == [
        ("article N1", "named in the title", "Ada Lovelace (Q1)"),
        ("article N1", "named in the abstract", "Net (Q2)"),
        ("article N3", "named in the abstract", "Ada Lovelace (Q1)"),
    ]
    assert data.graph.links[:] == {"item_id": ["N1", "N3"], "entity_id": ["article N1", "article N3"]}


def test_training_keeps_each_click_with_some_of_the_others(tmp_path: Path) -> None:
    shown = [f"N{at % 4 + 1}-{int(at in (3, 7))}" for at in range(40)]
    behaviors = [
        ["9", "U1", "11/8/2019 8:00:00 AM", "", " ".join(shown)],
        ["8", "U1", "11/8/2019 8:00:00 AM", "", "N1-0 N2-0"],
        *BEHAVIORS,
    ]
    found = Counter(rows_of(read(write(tmp_path, behaviors=behaviors), negatives=3), "impression", "rating"))
    assert (found["9", 1.0], found["9", 0.0], found["8", 0.0]) == (2, 6, 0), "without a click nothing is drawn"
    whole = Counter(rows_of(read(tmp_path, negatives=None), "impression", "rating"))
    assert (whole["9", 1.0], whole["9", 0.0], whole["8", 0.0]) == (2, 38, 2)
    assert {key: n for key, n in whole.items() if key[0] in "34"} == {k: n for k, n in found.items() if k[0] in "34"}
    again = read(tmp_path, negatives=3)
    assert again.interactions[:] == read(tmp_path, negatives=3).interactions[:]


def test_packed_files_with_other_line_ends_and_a_mark_are_read(tmp_path: Path) -> None:
    plain = read(write(tmp_path / "plain"))
    packed = write(tmp_path / "packed")
    for file in list(packed.iterdir()):
        content = b"\xef\xbb\xbf" + file.read_bytes().replace(b"\n", b"\r\n")
        file.with_name(f"{file.name}.gz").write_bytes(gzip.compress(content))
        file.unlink()
    again = read(packed)
    assert again.interactions[:] == plain.interactions[:]
    assert again.items[:] == plain.items[:]


def test_articles_that_no_line_describes_are_left_out_and_counted(tmp_path: Path) -> None:
    data = read(write(tmp_path, ARTICLES[:3]))
    assert data.notes == ("articles shown that news.tsv lacks, left out (of 12): 2",)
    with pytest.raises(InputError, match=r"news\.tsv holds none of the articles that behaviors\.tsv shows"):
        read(write(tmp_path, [["N9", *ARTICLES[0][1:]]]))


def test_dev_describing_an_article_anew_is_noted(official: Path) -> None:
    write(official / "MINDsmall_dev", [[*ARTICLES[0][:3], "Other", *ARTICLES[0][4:]], *ARTICLES[1:]], BEHAVIORS[3:])
    data = read(official, valid_share=0.4)
    assert data.notes == ("articles that dev describes in another way than train, kept as in train: 1",)
    assert column(data.items, "title")[0] == "Ace & set"


LINE = r"behaviors\.tsv, line 3, column '{}': "


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        (0, "", LINE.format("impression_id") + "an id without blanks"),
        (0, "2", LINE.format("impression_id") + "this id is there twice"),
        (1, "U 1", LINE.format("user_id") + "an id without blanks"),
        (2, "1573302600000", LINE.format("time") + "'1573302600000' is no moment such as 11/15/2019"),
        (2, "-5", LINE.format("time") + "'-5' is no moment"),
        (2, "2019-11-09 12:30:00", LINE.format("time") + "'2019-11-09 12:30:00' is no moment"),
        (2, "13/40/2019 1:00:00 AM", LINE.format("time") + "'13/40/2019 1:00:00 AM' is no moment"),
        (4, "N1-0 N3", LINE.format("impressions") + "'N3' does not say whether it was clicked.*test set"),
        (4, "N1-2", LINE.format("impressions") + "'N1-2' does not say"),
        (4, "-1", LINE.format("impressions") + "'-1' does not say"),
        (4, " ", LINE.format("impressions") + "nothing was shown"),
    ],
)
def test_a_wrong_cell_of_behaviors_is_named(tmp_path: Path, field: int, value: str, message: str) -> None:
    changed = [list(row) for row in BEHAVIORS]
    changed[2][field] = value
    with pytest.raises(InputError, match=message) as error:
        read(write(tmp_path, behaviors=changed))
    assert "\n" not in str(error.value)


NEWS = r"news\.tsv, line 2, column '{}': "


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        (0, "", NEWS.format("news_id") + "an id without blanks"),
        (0, "N1", NEWS.format("news_id") + "this id is there twice"),
        (6, "Q1", NEWS.format("title_entities") + "a JSON list of entities"),
        (6, "{}", NEWS.format("title_entities") + "a JSON list of entities"),
        (6, "[" * 5000, NEWS.format("title_entities") + "a JSON list of entities"),
        (7, "[1]", NEWS.format("abstract_entities") + "an entity lacks its WikidataId or its Label"),
        (7, '[{"WikidataId": 5, "Label": "x"}]', NEWS.format("abstract_entities") + "an entity lacks"),
        (7, '[{"WikidataId": "Q5", "Label": "\\ud800"}]', NEWS.format("abstract_entities") + "an entity lacks"),
    ],
)
def test_a_wrong_cell_of_news_is_named(tmp_path: Path, field: int, value: str, message: str) -> None:
    changed = [list(row) for row in ARTICLES]
    changed[1][field] = value
    with pytest.raises(InputError, match=message) as error:
        read(write(tmp_path, changed))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("behaviors.tsv", b"1\tU1\t11/9/2019 8:00:00 AM\tN1\n", r"behaviors\.tsv, line 1: 4 columns where 5"),
        ("behaviors.tsv", b"1\tU1\t11/9/2019 8:00:00 AM\tN1\tN1-1\tx\n", r"behaviors\.tsv, line 1: 6 columns where 5"),
        ("news.tsv", "N1\tä\tb\tc\td\te\t[]\t[]\n".encode("latin-1"), r"news\.tsv, line 1"),
        ("behaviors.tsv", b"", "the file is empty"),
        ("news.tsv", b"\n\n", r"news\.tsv"),
    ],
)
def test_a_broken_file_is_named_with_its_line(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (write(tmp_path) / name).write_bytes(content)
    with pytest.raises(InputError, match=message):
        read(tmp_path)


def test_a_file_cut_off_while_packed_is_named(tmp_path: Path) -> None:
    file = write(tmp_path) / "behaviors.tsv"
    content = gzip.compress(b"".join(b"%d\t" % at + file.read_bytes()[2:60] for at in range(2000)))
    file.with_name("behaviors.tsv.gz").write_bytes(content[: len(content) // 2])
    file.unlink()
    with pytest.raises(InputError, match=r"behaviors\.tsv\.gz"):
        read(tmp_path)


def test_missing_folders_and_a_graph_are_refused(tmp_path: Path, official: Path) -> None:
    with pytest.raises(InputError, match=r"no file news\.tsv"):
        (write(tmp_path / "one") / "news.tsv").unlink()
        read(tmp_path / "one")
    with pytest.raises(InputError, match="no data folder"):
        read(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"data\.graph: MIND's graph are the entities"):
        News.opened(NewsOptions()).read(official, tmp_path)
    (official / "MINDsmall_dev" / "behaviors.tsv").unlink()
    with pytest.raises(InputError, match=r"no folder dev with behaviors\.tsv beside 'MINDsmall_train'"):
        read(official)


def test_no_click_of_dev_reaches_what_is_learnt(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    train = [
        [str(at), f"U{at % 7}", f"11/{9 + at // 40}/2019 {1 + at % 11}:00:00 AM", "N1 N3", "N1-1 N2-0 N3-0 N4-1"]
        for at in range(120)
    ]
    dev = [[str(at), f"U{at % 9}", "11/15/2019 1:00:00 PM", "N2", "N1-1 N2-0 N4-0"] for at in range(20)]
    turned = [[*row[:4], " ".join(f"N{n}-{int(rng.integers(2))}" for n in (1, 2, 4))] for row in dev]
    assert turned != dev
    found = []
    for name, clicks in (("one", dev), ("other", turned)):
        write(tmp_path / name / "train", behaviors=train)
        write(tmp_path / name / "dev", behaviors=clicks)
        changes = {"data.path": str(tmp_path / name), "head.metric": "auc"}
        found.append(prepare(load_recipe("news", changes=changes)))
    assert not np.array_equal(found[0].test.label, found[1].test.label)
    for part in ("train", "valid"):
        one, other = (getattr(prepared, part) for prepared in found)
        for name in ("user", "item", "label", "timestamp", "impression"):
            assert np.array_equal(getattr(one, name), getattr(other, name)), f"{part}: {name}"
        assert np.array_equal(one.history.padded()[0], other.history.padded()[0])
    assert found[0].texts == found[1].texts
    assert list(found[0].item_rows) == list(found[1].item_rows)


def test_a_metric_by_impression_needs_lists_with_and_without_clicks(tmp_path: Path) -> None:
    behaviors = [
        [str(at), "U1", f"11/{9 + at}/2019 1:00:00 AM", "N1", "N1-1 N2-1" if at % 2 else "N3-0 N4-0"]
        for at in range(20)
    ]
    recipe = load_recipe(
        "news", changes={"data.path": str(write(tmp_path, behaviors=behaviors)), "data.options.negatives": None}
    )
    with pytest.raises(InputError, match="one user"):
        prepare(recipe)
    for at, row in enumerate(behaviors):
        row[1] = f"U{at % 3}"
    write(tmp_path, behaviors=behaviors)
    with pytest.raises(
        InputError, match="no impression of the validation part of MIND has both a clicked and an unclicked"
    ):
        prepare(recipe)
