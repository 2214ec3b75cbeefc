"""Lines: versions whose texts wait take turns by tokens."""

from __future__ import annotations

from typing import Any

from llmrec_peft.errors import InputError
from llmrec_peft.serving.text_calls import Lines, TextCall


def call(version: Any, texts: int = 1) -> TextCall:
    return TextCall(version, [f"text {number}" for number in range(texts)])


class Named:
    """A version by name."""


def served(lines: Lines, tokens: int) -> Any:
    """Take tokens of the next line; it goes on waiting."""
    line = lines.first()
    assert line is not None
    line.served += tokens
    lines.back(line)
    return line.version


def test_lines_take_turns_by_tokens_and_not_by_texts() -> None:
    lines, (one, other) = Lines(), (Named(), Named())
    lines.put(call(one, 1000))
    lines.put(call(other, 1000))
    taken = {one: 0, other: 0}
    for _ in range(300):
        line = lines.first()
        assert line is not None
        tokens = 100 if line.version is one else 7
        line.served += tokens
        taken[line.version] += tokens
        lines.back(line)
    assert abs(taken[one] - taken[other]) <= 100


def test_a_version_that_comes_later_is_next_and_catches_up_with_nothing() -> None:
    lines, (first, second, third) = Lines(), (Named(), Named(), Named())
    lines.put(call(first))
    lines.put(call(second))
    for _ in range(10):
        served(lines, 100)
    lines.put(call(third))
    assert [served(lines, 100) for _ in range(6)].count(third) == 2
    lines.put(call(third))
    assert len(lines) == 3


def test_a_line_without_calls_ends_and_one_that_was_joined_meanwhile_does_not() -> None:
    lines, version = Lines(), Named()
    lines.put(call(version))
    line = lines.first()
    assert line is not None
    assert lines.first() is None
    line.calls.clear()
    joining = call(version)
    lines.put(joining)
    lines.back(line)
    again = lines.first()
    assert again is not None
    assert list(again.calls) == [joining]
    again.calls.clear()
    lines.back(again)
    assert (len(lines), lines.first(), lines.waiting(version)) == (0, None, False)


def test_further_texts_are_waited_for_until_the_deadline_of_the_first_or_enough_of_them() -> None:
    now = [10.0]
    lines = Lines(lambda: now[0])
    lines.put(call(Named(), 3))
    now[0] = 10.5
    assert lines.seconds_left(8, 2.0) == 1.5
    lines.put(call(Named(), 4))
    assert lines.seconds_left(8, 2.0) == 1.5, "the second one does not begin anew"
    lines.put(call(Named(), 1))
    assert lines.seconds_left(8, 2.0) == 0.0


def test_calls_end_with_the_first_error() -> None:
    lines, one = Lines(), call(Named())
    lines.put(one)
    lines.end("first")
    one.fail(InputError("second"))
    assert one.done.is_set()
    assert str(one._error) == "first"
    assert len(lines) == 0
