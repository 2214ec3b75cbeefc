"""Times: in which form a column writes moments, and the same moments as whole seconds since 1970."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from llmrec_peft.custom.texts import as_texts
from llmrec_peft.errors import InputError
from llmrec_peft.printable import quoted

if TYPE_CHECKING:
    import pyarrow as pa

TimeForm = Literal[
    "seconds",
    "milliseconds",
    "microseconds",
    "nanoseconds",
    "iso",
    "day-first",
    "month-first",
    "day-month-name",
    "month-name-day",
    "chinese",
    "compact",
    "excel-days",
    "order",
]
"""How times are written: units since 1970; ISO 8601, with or without a zone; 31.12.2024 or 31/12/2024; 12/31/2024 or
12 31, 2024; 31-Dec-2024 or 31 December 2024; December 31, 2024; 2024年12月31日, its clock also 17时30分; 20241231; days
as spreadsheets count them (45657.5); numbers that only order. A clock may stand behind a date, with 24 hours or with AM
and PM."""
UNITS: dict[str, int] = {"seconds": 1, "milliseconds": 10**3, "microseconds": 10**6, "nanoseconds": 10**9}
_SPOKEN: dict[TimeForm, float] = {"seconds": 1e8, "milliseconds": 1e11, "microseconds": 1e14, "nanoseconds": 1e17}
"""Least size of a moment after 1973 in each unit; the largest is 42 times as much, the year 2106."""
_SPAN = 42
_EXCEL = (20_000, 80_000)
"""Days as spreadsheets count them, 1954 to 2119."""
DATES: tuple[TimeForm, ...] = ("iso", "day-first", "month-first", "day-month-name", "month-name-day", "chinese")
_EXCEL_EPOCH = 25_569
"""The first of January 1970 as spreadsheets count days."""
_HALF = "(?:[ \u00a0\u202f]?(?P<half>[AaPp])[.]?[Mm][.]?)?"
_CLOCK = r"(?:[T ,]+(?P<h>\d{1,2})[:：](?P<min>\d{2})(?:[:：](?P<s>\d{2})(?:[.,]\d+)?)?" + _HALF + ")?"
_NAME = "(?P<name>[A-Za-z]{3})[A-Za-z]{0,6}[.]?"
PATTERNS: dict[str, str] = {
    "iso": r"^(?P<y>\d{4})[-/.](?P<m>\d{1,2})[-/.](?P<d>\d{1,2})" + _CLOCK + r" ?(?P<zone>Z|UTC|[+-]\d{2}:?\d{2})?$",
    "day-first": r"^(?P<d>\d{1,2})[./-] ?(?P<m>\d{1,2})[./-] ?(?P<y>\d{4})" + _CLOCK + "$",
    "month-first": r"^(?P<m>\d{1,2})[./ -](?P<d>\d{1,2})(?:[./-]|, ?)(?P<y>\d{4})" + _CLOCK + "$",
    "day-month-name": r"^(?P<d>\d{1,2})[- ]" + _NAME + r"[- ,]+(?P<y>\d{4})" + _CLOCK + "$",
    "month-name-day": "^" + _NAME + r"[- ](?P<d>\d{1,2})[- ,]+(?P<y>\d{4})" + _CLOCK + "$",
    "chinese": r"^(?P<y>\d{4}) ?年 ?(?P<m>\d{1,2}) ?月 ?(?P<d>\d{1,2}) ?[日号號]"
    r"(?:[ ,，]*(?P<h>\d{1,2})[:：时時点點](?P<min>\d{1,2})(?:分|[:：分](?P<s>\d{1,2})秒?)?)?$",
    "compact": r"^(?P<y>(?:19|20)\d{2})(?P<m>\d{2})(?P<d>\d{2})$",
}
"""How texts write moments, by form; forms that are not here are numbers."""
LARGEST_TIME = 2.0**62
"""Two times below it differ by what 64 bits hold."""
_MONTHS = {name: at for at, name in enumerate("jan feb mar apr may jun jul aug sep oct nov dec".split(), start=1)}
_MOST_MONTHS, _MOST_HOURS, _MOST_MINUTES = 12, 24, 59
_HALF_DAY = 12
"""Hours of a clock with AM and PM."""


def guessed_form(values: pa.Array, named: bool) -> tuple[TimeForm, str, bool] | None:
    """Guess how a sample of texts writes moments.

    Args:
        values: Texts without missing ones, [n].
        named: Whether the column's name says that it is a time.

    Returns:
        The form, the evidence in one sentence, and whether it is unsure; None if the texts are no times.
    """
    import pyarrow.compute as pc

    if len(values) == 0:
        return None
    if pc.all(pc.match_substring_regex(values, r"^-?\d{1,19}(?:\.\d+)?$")).as_py():
        return _form_of_numbers(values, named)
    fitting = [form for form in DATES if _matches(values, form)]
    if not fitting:
        return None
    unsure = len(fitting) > 1
    said = f"values such as {_first(values)} are {_CALLED[fitting[0]]}"
    return fitting[0], said + (" or month first: no day is above 12" if unsure else ""), unsure


def _form_of_numbers(values: pa.Array, named: bool) -> tuple[TimeForm, str, bool] | None:
    """Guess which moments numbers are; None if they are none."""
    found = np.abs(np.asarray(values.cast("float64")))
    middle = float(np.median(found))
    if named and _matches(values, "compact"):
        return "compact", f"all values are dates such as {_first(values)}", False
    for unit, least in _SPOKEN.items():
        if least <= middle < _SPAN * least and (named or float(found.min()) >= least):
            return unit, f"numbers around {_first(values)} are {unit} since 1970", False
    if not named:
        return None
    if _EXCEL[0] <= middle <= _EXCEL[1]:
        return "excel-days", f"numbers around {_first(values)} are days as spreadsheets count them", True
    return "order", f"numbers such as {_first(values)} are no moments, but they order", True


def _matches(values: pa.Array, form: TimeForm) -> bool:
    """Return whether all texts are moments of a form."""
    import pyarrow.compute as pc

    return (
        bool(pc.all(pc.match_substring_regex(values, plain_pattern(form))).as_py())
        and moments(values, form) is not None
    )


_CALLED = {
    "iso": "ISO dates",
    "day-first": "dates, the day first",
    "month-first": "dates, the month first",
    "day-month-name": "dates with the month's name",
    "month-name-day": "dates, the month's name first",
    "chinese": "dates with 年, 月 and 日",
}


def seconds(values: pa.ChunkedArray, form: TimeForm, where: str) -> pa.ChunkedArray:
    """Return moments as whole seconds since 1970, int64 [n]; missing ones stay missing.

    Args:
        values: Texts, numbers, or Arrow's own times and dates.
        form: How texts and numbers write them.
        where: File and column, for messages.

    Raises:
        InputError: Naming the first value that is written in another way.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    if form not in get_args(TimeForm):
        raise InputError(f"{where}: {quoted(form)} is no form of times; known: {', '.join(get_args(TimeForm))}")
    if pa.types.is_timestamp(values.type) or pa.types.is_date(values.type):
        return (
            pc.floor_temporal(values, unit="second")
            .cast(pa.timestamp("s", values.type.tz if pa.types.is_timestamp(values.type) else None))
            .cast(pa.int64())
        )
    if not (pa.types.is_integer(values.type) or pa.types.is_floating(values.type)):
        values = as_texts(values)
    if form not in PATTERNS:
        return _of_numbers(values, form, where)
    texts = values.cast(pa.string())
    distinct = pc.unique(texts).drop_null()
    found = moments(distinct, form)
    if found is None:
        wrong = next(value for value in distinct.to_pylist() if moments(pa.array([value]), form) is None)
        raise InputError(
            f"{where}: {quoted(wrong, 60)} is no time written as {form}; set time_form, or leave the time out"
        )
    places = pc.index_in(texts, value_set=distinct)
    return pa.chunked_array([pa.array(found).take(chunk) for chunk in places.chunks], pa.int64())


def _of_numbers(values: pa.ChunkedArray, form: TimeForm, where: str) -> pa.ChunkedArray:
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_floating(values.type):
        values = pc.if_else(pc.is_nan(values), pa.scalar(None, values.type), values)
    try:
        whole = values.cast(pa.int64())
    except pa.ArrowInvalid:
        try:
            number = values.cast(pa.float64())
        except pa.ArrowInvalid:
            fits = pc.fill_null(pc.match_substring_regex(values, r"^[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?$"), True)
            row = pc.index(fits, False).as_py()
            wrong = f"row {row + 1}, {quoted(values[row].as_py(), 60)}," if row >= 0 else "a time"
            raise InputError(f"{where}: {wrong} is no number, as time_form {form} says") from None
        number = pc.if_else(pc.is_nan(number), pa.scalar(None, pa.float64()), number)
        if pc.any(pc.greater_equal(pc.abs(number), LARGEST_TIME)).as_py():
            raise InputError(f"{where}: a time is too large") from None
        if form == "excel-days":
            return pc.round(pc.multiply(pc.subtract(number, _EXCEL_EPOCH), 86_400.0)).cast(pa.int64())
        return pc.floor(pc.divide(number, float(UNITS.get(form, 1)))).cast(pa.int64())
    if form == "excel-days":
        return pc.multiply(pc.subtract(whole, _EXCEL_EPOCH), 86_400)
    if UNITS.get(form, 1) == 1:
        return whole
    return pc.floor(pc.divide(whole.cast(pa.float64(), safe=False), float(UNITS[form]))).cast(pa.int64())


def plain_pattern(form: str) -> str:
    """Return a pattern without its groups' names, as Arrow's engine takes it."""
    import re

    return re.sub(r"\?P<\w+>", "", PATTERNS[form])


def moments(values: pa.Array, form: str) -> NDArray[np.int64] | None:
    """Return seconds since 1970 of texts of one form, int64 [n]; None if one of them is no such moment."""
    import pyarrow as pa
    import pyarrow.compute as pc

    found = pc.extract_regex(values, PATTERNS[form])
    if found.null_count:
        return None

    def part(name: str, default: str = "0") -> NDArray[np.int64]:
        texts = pc.struct_field(found, name)
        return np.asarray(pc.if_else(pc.equal(texts, ""), default, texts).cast(pa.int64()))

    fields = {field.name for field in found.type}
    if "name" in fields:
        names = pc.utf8_lower(pc.struct_field(found, "name"))
        place = pc.index_in(names, value_set=pa.array(list(_MONTHS)))
        if place.null_count:
            return None
        month = np.asarray(place, np.int64) + 1
    else:
        month = part("m")
    year, day = part("y"), part("d")
    hour, minute, second = (
        part(name) if name in fields else np.zeros(len(values), np.int64) for name in ("h", "min", "s")
    )
    if ((month < 1) | (month > _MOST_MONTHS) | (hour > _MOST_HOURS) | (minute > _MOST_MINUTES)).any():
        return None
    if "half" in fields:
        half = pc.utf8_lower(pc.struct_field(found, "half"))
        halved, later = np.asarray(pc.not_equal(half, "")), np.asarray(pc.equal(half, "p"))
        if (halved & ((hour < 1) | (hour > _HALF_DAY))).any():
            return None
        hour = np.where(halved, hour % _HALF_DAY + _HALF_DAY * later, hour)
    months = (year - 1970) * 12 + (month - 1)
    begin, end = (at.astype("datetime64[M]").astype("datetime64[D]").astype(np.int64) for at in (months, months + 1))
    if ((day < 1) | (day > end - begin)).any():
        return None
    days = begin + (day - 1)
    moment: NDArray[np.int64] = ((days * 24 + hour) * 60 + minute) * 60 + second
    return moment - _zones(pc.struct_field(found, "zone")) if "zone" in fields else moment


def _zones(texts: pa.Array) -> NDArray[np.int64]:
    """Return how many seconds each zone is ahead of UTC, int64 [n]."""
    coded = texts.dictionary_encode()
    ahead = [_ahead(name) if name[:1] in ("+", "-") else 0 for name in coded.dictionary.to_pylist()]
    seconds_ahead: NDArray[np.int64] = np.asarray(ahead, np.int64)[np.asarray(coded.indices)]
    return seconds_ahead


def _ahead(zone: str) -> int:
    sign, digits = (-1 if zone[0] == "-" else 1), zone[1:].replace(":", "")
    return sign * (int(digits[:2]) * 3600 + int(digits[2:]) * 60)


def _first(values: pa.Array) -> str:
    return quoted(values[0].as_py(), 40)
