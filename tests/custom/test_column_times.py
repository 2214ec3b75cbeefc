"""Times in the forms that files use: found by their values, and read as seconds since 1970."""

from __future__ import annotations

import datetime as dt

import pyarrow as pa
import pytest

from llmrec_peft.custom.times import TimeForm, guessed_form, seconds
from llmrec_peft.errors import InputError

MOMENT = 1_700_000_000  # 2023-11-14 22:13:20 UTC
CASES = {
    "seconds": ["1700000000", "1650000000"],
    "milliseconds": ["1700000000000", "1650000000000"],
    "microseconds": ["1700000000000000", "1650000000000000"],
    "nanoseconds": ["1700000000000000000", "1650000000000000000"],
    "iso": ["2023-11-14T22:13:20Z", "2022-04-15 05:20:00"],
    "day-first": ["14.11.2023 22:13:20", "15.04.2022"],
    "month-first": ["11/14/2023 22:13:20", "04/15/2022"],
    "day-month-name": ["14-Nov-2023 22:13:20", "15-Apr-2022"],
    "month-name-day": ["November 14, 2023 22:13:20", "Apr 15, 2022"],
    "chinese": ["2023年11月14日 22:13:20", "2022年4月15日"],
}
CHINESE_CLOCKS = ["2023年11月14日22时13分20秒", "2023年11月14号 22：13：20", "2023 年 11 月 14 日，22点13分20"]
HALF_DAYS = {
    "month-first": ["11/14/2023 10:13:20 PM", "04/15/2022"],
    "day-first": ["14/11/2023 10:13:20pm", "15/04/2022 12:00 AM"],
    "iso": ["2023-11-14 10:13:20 p.m.", "2022-04-15"],
    "day-month-name": ["14 NOV 2023, 10:13:20 PM", "15 APRIL 2022"],
    "month-name-day": ["Nov. 14, 2023, 10:13:20\u202fPM", "April 15, 2022"],
}


@pytest.mark.parametrize("form", CASES)
def test_form_is_found_and_read(form: str) -> None:
    values = pa.array(CASES[form])
    found = guessed_form(values, named=True)
    assert found is not None
    assert found[0] == form
    assert found[2] is False
    [first, _] = seconds(pa.chunked_array([values]), found[0], "file").to_pylist()
    assert first == MOMENT


@pytest.mark.parametrize("form", HALF_DAYS)
def test_clocks_of_half_days_are_read(form: str) -> None:
    values = pa.array(HALF_DAYS[form])
    found = guessed_form(values, named=False)
    assert found is not None
    assert (found[0], found[2]) == (form, False)
    midnight = 1_649_980_800  # 15 April 2022
    assert seconds(pa.chunked_array([values]), found[0], "file").to_pylist() == [MOMENT, midnight]


def test_noon_and_midnight_of_half_days() -> None:
    values = pa.chunked_array([["12/31/2024 12:30 AM", "12/31/2024 12:30 PM", "12/31/2024 11:30 am"]])
    assert [one % 86_400 for one in seconds(values, "month-first", "file").to_pylist()] == [1800, 45_000, 41_400]
    with pytest.raises(InputError, match="'12/31/2024 17:30 PM' is no time"):
        seconds(pa.chunked_array([["12/31/2024 17:30 PM"]]), "month-first", "file")


def test_zones_are_taken_off() -> None:
    values = pa.chunked_array([["2023-11-14T23:13:20+01:00", "2023-11-14T22:13:20", "2023-11-14 17:43:20-0430"]])
    assert seconds(values, "iso", "file").to_pylist() == [MOMENT] * 3


def test_times_before_1970_are_negative() -> None:
    values = pa.chunked_array([["1969-12-31T23:59:59", "1969-12-30"]])
    assert seconds(values, "iso", "file").to_pylist() == [-1, -2 * 86_400]
    assert seconds(pa.chunked_array([["-1500"]]), "milliseconds", "file").to_pylist() == [-2]


def test_a_day_that_could_be_a_month_is_unsure() -> None:
    found = guessed_form(pa.array(["01/02/2020", "03/04/2021"]), named=True)
    assert found is not None
    assert (found[0], found[2]) == ("day-first", True)
    found = guessed_form(pa.array(["01/02/2020", "03/14/2021"]), named=True)
    assert found is not None
    assert (found[0], found[2]) == ("month-first", False)


def test_days_of_spreadsheets() -> None:
    values = pa.chunked_array([["45244.9259259", "45245"]])
    found = guessed_form(values.combine_chunks(), named=True)
    assert found is not None
    assert (found[0], found[2]) == ("excel-days", True)
    first, second = seconds(values, "excel-days", "file").to_pylist()
    assert abs(first - MOMENT) < 2
    assert second == 1_700_006_400


def test_numbers_of_other_sizes_are_no_times() -> None:
    assert guessed_form(pa.array(["1", "2", "3"]), named=False) is None
    found = guessed_form(pa.array(["1", "2", "3"]), named=True)
    assert found is not None
    assert found[0] == "order"


def test_what_is_no_time_is_named() -> None:
    values = pa.chunked_array([["2020-01-01", "soon"]])
    with pytest.raises(InputError, match=r"a\.csv, column 'when': 'soon' is no time written as iso"):
        seconds(values, "iso", "a.csv, column 'when'")
    with pytest.raises(InputError, match="no number"):
        seconds(values, "seconds", "a.csv")


def test_impossible_days_are_no_dates() -> None:
    assert guessed_form(pa.array(["2020-13-01"]), named=True) is None
    assert guessed_form(pa.array(["45.45.2020"]), named=True) is None


def test_types_of_arrow_are_read() -> None:
    moments = [dt.datetime(2023, 11, 14, 22, 13, 20, 500_000), None]
    assert seconds(pa.chunked_array([moments]), "iso", "file").to_pylist() == [MOMENT, None]
    zoned = pa.chunked_array([pa.array([MOMENT * 1000], pa.timestamp("ms", "Europe/Berlin"))])
    assert seconds(zoned, "iso", "file").to_pylist() == [MOMENT]
    days = pa.chunked_array([pa.array([dt.date(1970, 1, 2)])])
    assert seconds(days, "iso", "file").to_pylist() == [86_400]


def test_days_that_a_month_lacks_are_no_dates() -> None:
    assert guessed_form(pa.array(["2023-02-29"]), named=True) is None
    assert guessed_form(pa.array(["2024-02-29"]), named=True) is not None


@pytest.mark.parametrize("form", ["seconds", "milliseconds", "excel-days", "iso", "day-first"])
def test_an_empty_cell_of_a_file_is_a_missing_time(form: TimeForm) -> None:
    written = {"iso": "2020-09-13", "day-first": "13.09.2020", "excel-days": "44087"}.get(form, "1600000000")
    found = seconds(pa.chunked_array([[f" {written} ", "", "NA", written]]), form, "it")
    assert [value is None for value in found.to_pylist()] == [False, True, True, False]
    assert found[0] == found[3]


def test_the_cell_that_is_no_number_is_named() -> None:
    with pytest.raises(InputError, match=r"it: row 3, 'soon', is no number, as time_form seconds says"):
        seconds(pa.chunked_array([["1600000000", "", "soon"]]), "seconds", "it")


@pytest.mark.parametrize("text", CHINESE_CLOCKS)
def test_chinese_dates_have_clocks_of_their_own(text: str) -> None:
    values = pa.array([text, "2022年4月15日"])
    assert guessed_form(values, False) == ("chinese", f"values such as {text!r} are dates with 年, 月 and 日", False)
    assert seconds(pa.chunked_array([values]), "chinese", "time").to_pylist()[0] == MOMENT


@pytest.mark.parametrize("text", ["2023年13月1日", "2023年2月30日", "2023年11月", "２０２３年11月14日"])
def test_what_is_no_chinese_date_is_named(text: str) -> None:
    with pytest.raises(InputError, match="is no time written as chinese"):
        seconds(pa.chunked_array([[text]]), "chinese", "time")
