"""Names of repositories: what the Hub takes is taken, and nothing that could be a path or look like another name."""

from __future__ import annotations

import pytest

from llmrec_peft.artifact.hub_name import HubName, is_hub_name
from llmrec_peft.errors import InputError

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.mark.parametrize(
    ("text", "owner", "name", "revision"),
    [
        ("ann/films", "ann", "films", None),
        ("Ann_1/films.v2-small", "Ann_1", "films.v2-small", None),
        ("ann/films@main", "ann", "films", "main"),
        ("ann/films@feature/x", "ann", "films", "feature/x"),
        (f"ann/films@{COMMIT}", "ann", "films", COMMIT),
    ],
)
def test_names_of_the_hub_are_taken(text: str, owner: str, name: str, revision: str | None) -> None:
    found = HubName.parse(text)
    assert (found.owner, found.name, found.revision) == (owner, name, revision)
    assert str(found) == text
    assert found.is_pinned == (revision == COMMIT)


@pytest.mark.parametrize(
    "text",
    [
        *("", "films", "/films", "ann/", "ann/films/more", "ann//films", "ann\\films"),
        *("../films", "ann/..", "./films", "ann/.films", "ann/films.", "-ann/films", "ann/films-", "~/films"),
        *("ann/fi--lms", "ann/fi..lms", "ann/films.git", "ann/fi lms", "ann/films\n", "ann/films\x00", "ann/films?x"),
        *("аnn/films", "ann/ﬁlms", "ann/filmsé", "ann/film\u202es", "ann/１", f"{'a' * 50}/{'b' * 50}"),
    ],
)
def test_other_texts_are_refused_in_one_line(text: str) -> None:
    assert not is_hub_name(text)
    with pytest.raises(InputError, match=r"is no OWNER/NAME of the Hub") as caught:
        HubName.parse(text)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    "revision", ["", "..", "a/../b", "a//b", "/a", "a/", "-a", "a.lock", "a/.b", "a b", "a@b", "a\nb", "é", "x" * 201]
)
def test_revisions_that_are_paths_are_refused(revision: str) -> None:
    with pytest.raises(InputError, match=r"is no revision"):
        HubName.parse("ann/films", revision)
    assert not is_hub_name(f"ann/films@{revision}")


def test_two_revisions_are_refused_and_the_same_one_twice_is_taken() -> None:
    assert HubName.parse("ann/films@v1", "v1").revision == "v1"
    with pytest.raises(InputError, match=r"two revisions are given, 'v1' and 'v2'"):
        HubName.parse("ann/films@v1", "v2")


def test_answer_that_is_no_commit_is_refused() -> None:
    with pytest.raises(InputError, match=r"no commit"):
        HubName.parse("ann/films").at("../../etc")
