"""Facts: what the values of one column show: how many, of which kind, in which range, how often repeated."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import numpy as np

from llmrec_peft.custom.texts import as_texts
from llmrec_peft.custom.times import TimeForm, guessed_form
from llmrec_peft.custom.words import strength
from llmrec_peft.custom.wrong_values import without_few
from llmrec_peft.unspaced import LETTERS, MARKS, WORDS_OF_A_LETTER

if TYPE_CHECKING:
    import pyarrow as pa

SAMPLE = 20_000
"""Values at most whose pattern is looked at, spread evenly over the column; counts are of all values."""
LEVELS = 128
"""Distinct numbers at most that are listed."""
NUMBER = r"^\s*[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d{1,3})?\s*$"
_FLAGS = frozenset(
    ("true", "false", "t", "f", "yes", "no", "y", "n", "ja", "nein", "oui", "non", "si", "like", "dislike", "是", "否")
)
_URL = r"^\s*(?:https?://|www\.|/|[\w./-]+\.(?:jpe?g|png|gif|webp|mp4|svg)\s*$)"
LIST_MARKS: tuple[str, ...] = ("|", ";", ",", *MARKS)
"""What can stand between the entries of a list that is written as text."""
_WORDS_OF_ENTRY = 4.0

Kind = Literal["empty", "number", "flag", "time", "list", "url", "text"]


@dataclass(frozen=True)
class Facts:
    """What one column shows.

    Attributes:
        name: Its name.
        rows: Rows of the table.
        filled: Rows with a value.
        distinct: Distinct values.
        kind: What the values are.
        examples: The first few distinct values, as texts.
        whole: Whether all numbers are whole.
        low, high, middle: Least, largest and median number; 0 where there are none.
        levels: Distinct numbers in order, if they are at most 128.
        words: Mean number of words of a text, or of an entry of a list.
        mark: What stands between the entries of lists that are written as text; empty for real lists and for JSON.
        lettered: Whether most values have a letter.
        time_form: How times are written.
        time_said: The evidence for that.
        time_unsure: Whether the form is unsure.
    """

    name: str
    rows: int
    filled: int
    distinct: int
    kind: Kind
    examples: tuple[str, ...] = ()
    whole: bool = False
    low: float = 0.0
    high: float = 0.0
    middle: float = 0.0
    levels: tuple[float, ...] = ()
    words: float = 0.0
    mark: str | None = None
    lettered: bool = False
    time_form: TimeForm | None = None
    time_said: str = ""
    time_unsure: bool = False
    sure_time: bool = field(default=False)

    @property
    def unique(self) -> bool:
        """Whether each row has a value of its own."""
        return self.filled == self.rows == self.distinct

    @property
    def single(self) -> bool:
        """Whether each row has one number or text, which could be an id; a text may look like a list."""
        return (
            (self.kind == "number" and self.whole) or self.kind == "text" or (self.kind == "list" and self.mark != "")
        )

    @property
    def repeated(self) -> float:
        """Mean number of rows that share a value."""
        return self.filled / max(1, self.distinct)

    def is_named(self, kind: str) -> int:
        """How clearly the name says that the column is of a kind (`words.strength`)."""
        return strength(self.name, kind)


def facts_of(table: pa.Table, few: int = 0) -> dict[str, Facts]:
    """Look at every column of a table; `few` values of numbers or dates may be neither."""
    return {name: column_facts(name, table.column(at), few) for at, name in enumerate(table.column_names)}


def column_facts(name: str, values: pa.ChunkedArray, few: int = 0) -> Facts:
    """Look at one column; `few` values of numbers or dates may be neither."""
    import pyarrow as pa

    if pa.types.is_dictionary(values.type):
        values = values.cast(values.type.value_type)
    stored = values.type
    if pa.types.is_list(stored) or pa.types.is_large_list(stored):
        return _of_lists(name, values)
    if pa.types.is_timestamp(stored) or pa.types.is_date(stored) or pa.types.is_boolean(stored):
        return _of_types(name, values)
    if pa.types.is_nested(stored) or pa.types.is_binary(stored) or pa.types.is_large_binary(stored):
        return Facts(name, len(values), 0, 0, "empty")
    return _of_cells(name, values, few)


def _of_types(name: str, values: pa.ChunkedArray) -> Facts:
    """Look at a column whose type says what it is: moments, or true and false."""
    import pyarrow as pa
    import pyarrow.compute as pc

    distinct, filled = pc.count_distinct(values).as_py(), len(values) - values.null_count
    if pa.types.is_boolean(values.type):
        return Facts(name, len(values), filled, distinct, "flag", _examples(values))
    said = f"the column's type is {values.type}"
    return Facts(
        name,
        len(values),
        filled,
        distinct,
        "time",
        _examples(values),
        time_form="iso",
        time_said=said,
        sure_time=True,
    )


def _of_cells(name: str, values: pa.ChunkedArray, few: int) -> Facts:
    """Look at a column of texts and numbers."""
    import pyarrow.compute as pc

    texts, rows = as_texts(values), len(values)
    texts = without_few(texts, few) if few else texts
    filled = rows - texts.null_count
    if filled == 0:
        return Facts(name, rows, 0, 0, "empty")
    distinct = pc.count_distinct(texts).as_py()
    examples, sample = _examples(texts), _sampled(texts)
    if pc.all(pc.match_substring_regex(sample, NUMBER)).as_py():
        return _of_numbers(name, rows, filled, distinct, texts, sample, examples)
    timed = guessed_form(sample, strength(name, "time") > 0)
    if timed is not None:
        form, said, unsure = timed
        return Facts(
            name,
            rows,
            filled,
            distinct,
            "time",
            examples,
            time_form=form,
            time_said=said,
            time_unsure=unsure,
            sure_time=True,
        )
    return _of_texts(name, rows, filled, distinct, sample, examples)


def _of_numbers(
    name: str,
    rows: int,
    filled: int,
    distinct: int,
    texts: pa.ChunkedArray,
    sample: pa.Array,
    examples: tuple[str, ...],
) -> Facts:
    import pyarrow as pa

    try:
        number = np.asarray(texts.drop_null().cast(pa.float64()))
    except pa.ArrowInvalid:  # further down it holds something else
        return _of_texts(name, rows, filled, distinct, sample, examples)
    number = number[np.isfinite(number)]
    if len(number) == 0:
        return Facts(name, rows, 0, 0, "empty")
    levels = np.unique(number) if distinct <= 4 * LEVELS else np.zeros(0)
    timed = guessed_form(sample, strength(name, "time") > 0)
    form, said, unsure = timed if timed is not None else (None, "", False)
    return Facts(
        name,
        rows,
        filled,
        distinct,
        "number",
        examples,
        whole=bool((number == np.floor(number)).all()),
        low=float(number.min()),
        high=float(number.max()),
        middle=float(np.median(number)),
        levels=tuple(map(float, levels)) if len(levels) <= LEVELS else (),
        time_form=form,
        time_said=said,
        time_unsure=unsure,
        sure_time=form is not None and form != "order",
    )


def _of_texts(name: str, rows: int, filled: int, distinct: int, sample: pa.Array, examples: tuple[str, ...]) -> Facts:
    import pyarrow.compute as pc

    said = set(pc.utf8_lower(pc.unique(sample)).to_pylist()) if distinct <= 4 else set()  # noqa: PLR2004
    if said and said <= _FLAGS:
        return Facts(name, rows, filled, distinct, "flag", examples)
    if pc.mean(pc.match_substring_regex(sample, _URL).cast("float64")).as_py() > 0.9:  # noqa: PLR2004
        return Facts(name, rows, filled, distinct, "url", examples)
    lettered = pc.mean(pc.match_substring_regex(sample, r"\p{L}").cast("float64")).as_py() > 0.5  # noqa: PLR2004
    words = _mean_words(sample)
    mark = _mark(sample, distinct)
    kind: Kind = "text" if mark is None else "list"
    return Facts(name, rows, filled, distinct, kind, examples, words=words, mark=mark, lettered=lettered)


def _of_lists(name: str, values: pa.ChunkedArray) -> Facts:
    import pyarrow as pa
    import pyarrow.compute as pc

    entries = pc.list_flatten(values)
    if pa.types.is_nested(entries.type) or len(entries) == 0:
        return Facts(name, len(values), 0, 0, "empty")
    texts = as_texts(entries).drop_null()
    filled = int(pc.sum(pc.greater(pc.fill_null(pc.list_value_length(values), 0), 0)).as_py() or 0)
    sample = _sampled(texts)
    if len(sample) and pc.mean(pc.match_substring_regex(sample, _URL).cast("float64")).as_py() > 0.9:  # noqa: PLR2004
        return Facts(name, len(values), filled, pc.count_distinct(texts).as_py(), "url", _examples(texts))
    return Facts(
        name,
        len(values),
        filled,
        pc.count_distinct(texts).as_py(),
        "list",
        _examples(texts),
        words=_mean_words(sample),
        mark="",
        lettered=True,
    )


def _mark(sample: pa.Array, distinct: int) -> str | None:
    """Return what divides the entries of lists written as text: ``json``, a mark, or None if the texts are no lists.

    A comma divides entries only where these are short and few kinds of them are repeated, as in ``Crime, Drama``.
    """
    import pyarrow.compute as pc

    if pc.all(pc.match_substring_regex(sample, r"^\[.*\]$")).as_py():
        return "json"
    for mark in LIST_MARKS:
        parts = pc.split_pattern(sample, mark)
        lengths = np.asarray(pc.list_value_length(parts))
        if (lengths > 1).mean() < (0.1 if mark == "|" else 0.3):
            continue
        entries = pc.utf8_trim_whitespace(pc.list_flatten(parts))
        several = pc.count_distinct(entries).as_py()
        if several * 3 <= len(entries) and _mean_words(entries) <= _WORDS_OF_ENTRY:
            return mark
    return None


def _mean_words(texts: pa.Array) -> float:
    """Return the mean number of words; characters that stand without spaces count as `WORDS_OF_A_LETTER` each."""
    import pyarrow.compute as pc

    if not len(texts):
        return 0.0
    spaced = pc.mean(pc.add(pc.count_substring_regex(texts, r"\S\s+\S"), 1)).as_py() or 0.0
    unspaced = pc.mean(pc.count_substring_regex(texts, f"[{LETTERS}]")).as_py() or 0.0
    return float(max(spaced, WORDS_OF_A_LETTER * unspaced))


def _sampled(values: pa.ChunkedArray) -> pa.Array:
    """Return values spread evenly over a column, without missing ones, the first among them."""
    there = values.drop_null()
    if len(there) > SAMPLE:
        there = there.take(np.unique(np.linspace(0, len(there) - 1, SAMPLE).astype(np.int64)))
    return there.combine_chunks()


def _examples(values: pa.ChunkedArray, count: int = 3) -> tuple[str, ...]:
    import pyarrow.compute as pc

    return tuple(str(value) for value in pc.unique(values[:200].drop_null())[:count].to_pylist())
