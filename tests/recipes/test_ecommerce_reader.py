"""Reader of Amazon Reviews, the edition of 2018: a real category with all its dirt, and every broken line named."""

from __future__ import annotations

import gzip
import json
import re
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from llmrec_recipes.ecommerce import products
from llmrec_recipes.ecommerce.reader import Ecommerce, EcommerceOptions
from llmrec_recipes.ecommerce.texts import whole_title

from llmrec_peft.data.dataset import RecDataset, column, without_duplicates
from llmrec_peft.errors import InputError


@pytest.fixture(scope="module")
def real(shared_data: Path) -> RecDataset:
    folder = shared_data / "amazon-magazines"
    if not (folder / "Magazine_Subscriptions_5.json.gz").is_file():
        pytest.skip(f"Amazon's magazines are absent: {folder}")
    return Ecommerce().read(folder, None)


def test_real_reviews_are_read_whole(real: RecDataset) -> None:
    assert (len(real.interactions), len(real.users), len(real.items)) == (2375, 348, 157)
    stars = Counter(column(real.interactions, "rating"))
    assert stars == {5.0: 1541, 4.0: 375, 3.0: 239, 2.0: 118, 1.0: 102}
    assert set(column(real.interactions, "part")) == {""}
    times = column(real.interactions, "timestamp")
    assert (min(times), max(times)) == (1005523200, 1526774400)
    assert (real.name, real.feedback, real.rating_range) == ("Amazon Magazine Subscriptions", "rating", (1, 5))
    assert set(column(real.interactions, "item_id")) == set(column(real.items, "item_id"))


def test_real_oddities_are_noted(real: RecDataset) -> None:
    assert real.notes == (
        "products of the metadata without a review here, left out, of 2320: 2169",
        "lines of the metadata that repeat a product, of which the first was kept: 1065",
        "reviewed products without metadata: 6",
        "reviewed products without a usable title, called by their description or by brand and category: 148",
        "reviewed products without any text, called by their id: 6",
        "products without a review here that several name in also_buy, entities: 381",
    )
    kept = without_duplicates(real)
    assert len(kept.interactions) == 2302
    assert kept.notes[-1] == "73 duplicate user-item pairs: the newest rating of each was kept"


def test_real_texts_are_plain_and_none_is_missing(real: RecDataset) -> None:
    reviews = column(real.interactions, "review")
    assert all(reviews), "the one review without a text has a summary"
    items = list(real.items)
    for text in [*reviews, *(item["title"] for item in items), *(item["description"] for item in items)]:
        assert not re.search(r"</?(a|br|i|span|div|font|td)\b|&(amp|quot|nbsp|eacute);|\s\s|\n", text), text
    assert max(len(item["description"]) for item in items) == 6656, "the tokenizer cuts a text, not the reader"
    assert sum(not item["description"] for item in items) == 12
    titles = {item["item_id"]: item["title"] for item in items}
    assert titles["B00005N7TM"] == "Woman's Day", "a title of its own"
    assert titles["B00005N7OV"] == "Better Homes & Gardens offers beautiful photography and …"
    assert titles["B00077B7M6"] == "Economist, Finance", "no description"
    assert titles["B000IMVNQU"] == "B000IMVNQU", "no metadata"
    assert not [title for title in titles.values() if title.startswith("<")]
    assert items[0]["categories"] == ["Magazine Subscriptions", "Technology", "Computers & Internet"]


REVIEW: dict[str, Any] = {
    "overall": 4.0,
    "reviewerID": "A1",
    "asin": "B1",
    "reviewText": "Good &amp; <a data-hook='x' href='y'>linked</a>.\n\nTwice.",
    "summary": "Fine",
    "unixReviewTime": 1393372800,
}
PRODUCT: dict[str, Any] = {
    "asin": "B1",
    "title": "Tea &amp; Garden",
    "brand": "Old\n  Mill",
    "category": ["Magazine Subscriptions", "Home &amp; Garden", "</span></span>"],
    "description": ["All about <i>tea</i>,<br />", "", "and <b>gardens</b>."],
    "feature": ["For <b>gardeners</b>"],
    "rank": "1,234 in Magazines (",
}


def folder_of(path: Path, reviews: list[Any], products: list[Any], category: str = "Tea_Time") -> Path:
    for name, records in ((f"{category}_5.json.gz", reviews), (f"meta_{category}.json.gz", products)):
        lines = [record if isinstance(record, str) else json.dumps(record) for record in records]
        (path / name).write_bytes(gzip.compress("\n".join(lines).encode()))
    return path


def test_small_folder_is_read_as_it_stands(tmp_path: Path) -> None:
    folder_of(tmp_path, [REVIEW, {**REVIEW, "reviewerID": "A2", "overall": 1}], [PRODUCT, {"asin": "B2"}])
    data = Ecommerce().read(tmp_path, None)
    assert data.interactions[0] == {
        "user_id": "A1",
        "item_id": "B1",
        "rating": 4.0,
        "timestamp": 1393372800,
        "part": "",
        "review": "Good & linked. Twice.",
    }
    assert data.items[:] == {
        "item_id": ["B1"],
        "title": ["Tea & Garden"],
        "description": ["All about tea, and gardens."],
        "features": [["For gardeners"]],
        "categories": [["Magazine Subscriptions", "Home & Garden"]],
        "brand": ["Old Mill"],
    }
    assert column(data.users, "user_id") == ["A1", "A2"]
    assert data.name == "Amazon Tea Time"
    assert data.notes == ("products of the metadata without a review here, left out, of 2: 1",)


@pytest.mark.parametrize(
    ("changes", "review"),
    [
        ({"reviewText": ""}, "Fine"),
        ({"reviewText": None}, "Fine"),
        ({"reviewText": " <br /> "}, "Fine"),
        ({"reviewText": None, "summary": None}, ""),
        ({"reviewText": "3 < 4, I <3 it"}, "3 < 4, I <3 it"),
    ],
)
def test_summary_stands_in_for_an_empty_review(tmp_path: Path, changes: dict[str, Any], review: str) -> None:
    folder_of(tmp_path, [{**REVIEW, **changes}], [PRODUCT])
    assert column(Ecommerce().read(tmp_path, None).interactions, "review") == [review]


BROKEN_TITLE = '<span class="a-size-medium a-color-secondary"'


@pytest.mark.parametrize(
    ("product", "title"),
    [
        ({"title": BROKEN_TITLE}, "All about tea, and gardens."),
        (
            {"title": None, "description": "one two three four five six seven eight nine"},
            "one two three four five six seven eight …",
        ),
        ({"title": "var x = (new Date()).getTime();", "description": []}, "Old Mill, Home & Garden"),
        ({"title": ' Magazines" />', "description": None, "category": []}, "Old Mill"),
        ({"title": "", "description": [""], "brand": ""}, "Home & Garden"),
        ({"title": "", "description": [""], "brand": None, "category": None}, "B1"),
    ],
)
def test_product_without_a_title_is_called_by_what_else_is_known(
    tmp_path: Path, product: dict[str, Any], title: str
) -> None:
    data = Ecommerce().read(folder_of(tmp_path, [REVIEW], [{**PRODUCT, **product}]), None)
    assert column(data.items, "title") == [title]
    said = "called by their id: 1" if title == "B1" else "called by their description or by brand and category: 1"
    assert any(note.endswith(said) for note in data.notes)


def test_first_line_of_a_product_counts_and_products_without_metadata_are_kept(tmp_path: Path) -> None:
    again = {**PRODUCT, "title": "Another"}
    data = Ecommerce().read(folder_of(tmp_path, [REVIEW, {**REVIEW, "asin": "B9"}], [PRODUCT, again]), None)
    assert column(data.items, "title") == ["Tea & Garden", "B9"]
    assert column(data.items, "categories")[1] == []
    assert data.notes == (
        "lines of the metadata that repeat a product, of which the first was kept: 1",
        "reviewed products without metadata: 1",
        "reviewed products without any text, called by their id: 1",
    )


def test_long_texts_are_kept_whole_for_the_tokenizer_to_cut(tmp_path: Path) -> None:
    told = "gardens " * 5000 + "end"
    folder = folder_of(tmp_path, [{**REVIEW, "reviewText": told}], [{**PRODUCT, "description": told}])
    data = Ecommerce().read(folder, None)
    assert column(data.items, "description") == [told]
    assert column(data.interactions, "review") == [told]


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("<p>One</p><p>Two</p>", "One Two"),
        ("cr&ecirc;pe &#39;n&#x27; more&nbsp;", "crêpe 'n' more"),
        ("<SCRIPT>steal()</script >seen<style>a{}", "seen"),
        ("<!-- hidden -->seen", "seen"),
        ("a &lt;b&gt; c", "a <b> c"),
        ("<---- is that word?) LOL", "<---- is that word?) LOL"),
        ("<em>em</em>phasis", "emphasis"),
        ("x" * 30_000, "x" * 30_000),
    ],
)
def test_markup_is_taken_out(text: str, plain: str) -> None:
    assert whole_title(text) == plain


@pytest.mark.parametrize("piece", ["<a ", "<a b=", "<script>", "<!--", "&", "< ", '="', "<a href='" * 2])
def test_hostile_markup_takes_no_time(piece: str) -> None:
    start = time.thread_time()  # of the processor: others use the machine, too
    whole_title(piece * 200_000)
    assert time.thread_time() - start < 1.0


def review(**changes: Any) -> Callable[[Path], Path]:
    """A second review with fields changed, or left out where the change is `...`."""
    kept = {name: value for name, value in {**REVIEW, **changes}.items() if value is not ...}
    return lambda folder: folder_of(folder, [REVIEW, kept], [PRODUCT])


def product(**changes: Any) -> Callable[[Path], Path]:
    """A second product with fields changed."""
    kept = {name: value for name, value in {**PRODUCT, "asin": "B2", **changes}.items() if value is not ...}
    return lambda folder: folder_of(folder, [REVIEW, {**REVIEW, "asin": "B2"}], [PRODUCT, kept])


@pytest.mark.parametrize(
    ("break_it", "words"),
    [
        (review(overall=0), "_5.json.gz, line 2, field 'overall': 0.0 where a number from 1 to 5 belongs"),
        (review(overall=5.5), "_5.json.gz, line 2, field 'overall': 5.5 where a number from 1 to 5 belongs"),
        (review(overall="good"), "_5.json.gz, line 2, column 'overall': 'good' is no number"),
        (review(overall=...), "_5.json.gz, line 2, field 'overall': nothing where a number from 1 to 5 belongs"),
        (review(reviewerID=""), "_5.json.gz, line 2, field 'reviewerID': an id without blanks belongs here"),
        (review(reviewerID=None), "_5.json.gz, line 2, field 'reviewerID': an id without blanks belongs here"),
        (review(reviewerID=...), "_5.json.gz, line 2, field 'reviewerID': an id without blanks belongs here"),
        (review(asin=" "), "_5.json.gz, line 2, field 'asin': an id without blanks belongs here"),
        (review(asin="B1 B2"), "_5.json.gz, line 2, field 'asin': an id without blanks belongs here"),
        (review(asin=["B1"]), "field 'asin': an id without blanks belongs here, and some line has another value"),
        (review(unixReviewTime="02 26, 2014"), "line 2, column 'unixReviewTime': '02 26, 2014' is no whole number"),
        (review(unixReviewTime=1393372800000), "'unixReviewTime': 1393372800000 where a time in seconds since 1970"),
        (review(unixReviewTime=-1), "'unixReviewTime': -1 where a time in seconds since 1970 belongs"),
        (review(unixReviewTime=None), "'unixReviewTime': nothing where a time in seconds since 1970 belongs"),
        (product(asin=...), "meta_Tea_Time.json.gz, line 2, field 'asin': an id without blanks belongs here"),
        (
            lambda folder: folder_of(folder, [REVIEW], [PRODUCT, "{'asin': 'B2', 'title': __import__('os')}"]),
            "meta_Tea_Time.json.gz, line 2: names in single quotation marks, as Python writes them",
        ),
        (
            lambda folder: folder_of(folder, [REVIEW, '{"asin": "B1"'], [PRODUCT]),
            "_5.json.gz, line 2: no JSON (column 14: Expecting ',' delimiter) (the line is cut off)",
        ),
        (lambda folder: folder_of(folder, [REVIEW, "[]"], [PRODUCT]), "_5.json.gz, line 2: no JSON object"),
    ],
)
def test_broken_line_is_named_with_its_file(tmp_path: Path, break_it: Callable[[Path], Path], words: str) -> None:
    break_it(tmp_path)
    with pytest.raises(InputError) as caught:
        Ecommerce().read(tmp_path, None)
    assert str(tmp_path) in str(caught.value)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("break_it", "words"),
    [
        (
            lambda folder: (folder / "Tea_Time_5.json.gz").unlink(),
            r"no reviews such as Magazine_Subscriptions_5\.json\.gz .*; the folder holds meta_Tea_Time",
        ),
        (
            lambda folder: (folder / "B_5.json.gz").touch(),
            r"'B_5\.json\.gz' and 'Tea_Time_5\.json\.gz' could both be the reviews: leave the files of one category",
        ),
        (
            lambda folder: (folder / "Tea_Time.json").touch(),
            r"'Tea_Time\.json' and 'Tea_Time_5\.json\.gz' could both be the reviews: .* each once",
        ),
        (
            lambda folder: (folder / "Tea_Time.jsonl.gz").touch(),
            r"'Tea_Time\.jsonl\.gz' and 'Tea_Time_5\.json\.gz' could both be the reviews: .* of one year",
        ),
        (
            lambda folder: (folder / "meta_Tea_Time.json.gz").rename(folder / "meta_Tea_Time.jsonl"),
            r"'Tea_Time_5\.json\.gz' is of 2018 and 'meta_Tea_Time\.jsonl' of 2023",
        ),
        (
            lambda folder: (folder / "meta_Tea_Time.json").touch(),
            r"'meta_Tea_Time\.json' and 'meta_Tea_Time\.json\.gz' are both there",
        ),
        (lambda folder: (folder / "meta_Tea_Time.json.gz").rename(folder / "meta_B.json.gz"), r"no file meta_Tea_Time"),
        (lambda folder: (folder / "meta_Tea_Time.json.gz").write_bytes(b""), r"meta_Tea_Time\.json\.gz: the file is e"),
        (
            lambda folder: (folder / "meta_Tea_Time.json.gz").write_bytes(gzip.compress(b"\n")),
            r"meta_Tea_Time\.json\.gz: the file has no line",
        ),
        (
            lambda folder: (folder / "meta_Tea_Time.json.gz").write_bytes(b"plain"),
            r"meta_Tea_Time\.json\.gz: the packed file is damaged or cut off .*, after line 0",
        ),
    ],
)
def test_missing_and_wrong_files_are_named(tmp_path: Path, break_it: Callable[[Path], Any], words: str) -> None:
    break_it(folder_of(tmp_path, [REVIEW], [PRODUCT]))
    with pytest.raises(InputError, match=words):
        Ecommerce().read(tmp_path, None)


@pytest.mark.parametrize(
    "names", [("Tea_Time.json.gz", "meta_Tea_Time.json"), ("Tea_Time_5.json", "meta_Tea_Time.json.gz")]
)
def test_whole_categories_and_unpacked_files_are_read(tmp_path: Path, names: tuple[str, str]) -> None:
    folder_of(tmp_path, [REVIEW], [PRODUCT])
    whole = Ecommerce().read(tmp_path, None)
    for old, new in zip(("Tea_Time_5.json.gz", "meta_Tea_Time.json.gz"), names, strict=True):
        text = gzip.decompress((tmp_path / old).read_bytes())
        (tmp_path / old).unlink()
        (tmp_path / new).write_bytes(gzip.compress(text) if new.endswith(".gz") else text)
    (tmp_path / "README.txt").write_text("other files are of no concern", encoding="utf-8")
    read = Ecommerce().read(tmp_path, None)
    assert (read.name, read.items[:], read.interactions[:]) == (whole.name, whole.items[:], whole.interactions[:])


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("description", ["All about tea, and gardens.", ["All about", None, "tea, and gardens."], None]),
        ("category", ["Magazine Subscriptions", ["Magazine Subscriptions"], None]),
        ("rank", ["12 in Magazines", [], None]),
        ("brand", ["Old Mill", ["Old Mill"], None]),
        ("title", ["Tea & Garden", ["Tea &amp; Garden"], None]),
    ],
)
def test_texts_and_lists_of_texts_may_stand_in_one_field(tmp_path: Path, field: str, values: list[Any]) -> None:
    products = [{**PRODUCT, "asin": f"B{at}", field: value} for at, value in enumerate(values)]
    reviews = [{**REVIEW, "asin": f"B{at}"} for at in range(len(values))]
    items = Ecommerce().read(folder_of(tmp_path, reviews, products), None).items[:]
    named = {"category": "categories"}.get(field, field)
    if field == "rank":
        assert named not in items, "a rank of sales tells of test's reviews"
        return
    assert items[named][0] == items[named][1] != items[named][2]
    assert items[named][0] in ("All about tea, and gardens.", ["Magazine Subscriptions"], "Old Mill", "Tea & Garden")


def test_lists_in_a_review_become_one_text(tmp_path: Path) -> None:
    folder_of(tmp_path, [REVIEW, {**REVIEW, "reviewText": ["Good.", "Better."]}], [PRODUCT])
    assert column(Ecommerce().read(tmp_path, None).interactions, "review")[1] == "Good. Better."


def test_reviews_are_not_read_where_nobody_wants_them(tmp_path: Path) -> None:
    reader = Ecommerce.opened(EcommerceOptions(reviews=False))
    data = reader.read(folder_of(tmp_path, [REVIEW], [PRODUCT]), None)
    assert "review" not in data.interactions.column_names
    assert data.with_files("it has no reviews", "review").endswith("review would come from data.options.reviews: true")


def test_more_text_than_arrow_holds_is_refused_by_field(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products, "_MOST_TEXT", 100)
    folder = folder_of(tmp_path, [REVIEW], [{**PRODUCT, "description": "tea " * 100}])
    with pytest.raises(InputError, match=r"meta_Tea_Time\.json\.gz: description of the 1 reviewed products takes more"):
        Ecommerce().read(folder, None)


def test_graph_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"data\.graph: the graph of Amazon Reviews lies in the metadata themselves"):
        Ecommerce().read(folder_of(tmp_path, [REVIEW], [PRODUCT]), tmp_path)
