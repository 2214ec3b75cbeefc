"""Contents that were checked once are known by their key, as long as the check ended well."""

from __future__ import annotations

import threading

import pytest

from llmrec_peft import known_contents
from llmrec_peft.known_contents import checking, forget, is_known


def test_contents_are_known_after_a_check_that_ended_well() -> None:
    forget()
    assert not is_known()
    for key, expected in (("a", False), ("b", False), ("a", True), ("b", True)):
        with checking(key):
            assert is_known() is expected
        assert not is_known()
    forget()
    with checking("a"):
        assert not is_known()


def test_failed_check_is_made_again() -> None:
    forget()
    with pytest.raises(ValueError, match="wrong"), checking("a"):
        raise ValueError("wrong")
    with checking("a"):
        assert not is_known()


def test_known_contents_of_one_thread_are_not_those_of_another() -> None:
    forget()
    found: list[bool] = []
    with checking("a"):
        pass
    with checking("a"):
        thread = threading.Thread(target=lambda: found.append(is_known()))
        thread.start()
        thread.join()
        assert is_known()
    assert found == [False]


def test_oldest_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    forget()
    monkeypatch.setattr(known_contents, "MOST", 2)
    for key in "abca":
        with checking(key):
            assert not is_known(), "a was forgotten when c came"
