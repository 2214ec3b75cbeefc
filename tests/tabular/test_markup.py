"""HTML in texts is found by looking, and removed from the cells that hold some."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from llmrec_peft.tabular.markup import holds_markup, plain_text, without_markup
from llmrec_peft.tabular.read import read_table
from llmrec_peft.tabular.sniff import sniffed


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("Tom &amp; Jerry", "Tom & Jerry"),
        ("it&#39;s &#x27;ok&#x27;", "it's 'ok'"),
        ("one<br>two<br />three", "one two three"),
        ("<b>bold</b>face", "boldface"),
        ("6&amp;quot; file", '6" file'),
        ('<span class="a-size-medium a-color-secondary"', ""),
        ("3 < 4 > 2, I <3 you", "3 < 4 > 2, I <3 you"),
        ("<script>var x = '&amp;'</script>Name", "Name"),
    ],
)
def test_markup_is_removed(text: str, plain: str) -> None:
    assert plain_text(text) == plain


def test_texts_without_markup_stay_as_they_are() -> None:
    column = pa.chunked_array([["a  b", None, "R&D; 3 < 4"], [], ["x &amp;  y"]])
    assert without_markup(column).to_pylist() == ["a  b", None, "R&D; 3 < 4", "x & y"]
    lists = pa.chunked_array([pa.array([["a &gt; b", None], None, []], pa.list_(pa.string()))])
    assert without_markup(lists).to_pylist() == [["a > b", None], None, []]
    assert holds_markup(lists).value and not holds_markup(without_markup(lists)).value


def test_columns_are_told_apart_by_what_they_hold(shared_data: Path) -> None:
    path = shared_data / "iisan-scientific" / "Industrial_and_Scientific_items.tsv"
    table = read_table(path, sniffed(path).form).table
    items, titles = table.columns
    assert not holds_markup(items).value
    found = holds_markup(titles)
    assert found.value and "7,312 of 20,825 cells hold HTML such as '&amp;'" in found.evidence
    clean = without_markup(titles)
    assert not holds_markup(clean).value and len(clean) == len(titles)


def test_hostile_markup_takes_no_quadratic_time() -> None:
    for piece in ("<a ", "<script", "</script ", "&amp;", "<a b", "<", "&#"):
        plain_text(piece * 100_000)
