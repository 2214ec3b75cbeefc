"""Entities: what a text names is found, and what no fact holds is counted, on fixed texts."""

from __future__ import annotations

import pytest

from llmrec_peft.writing.entities import Names, check, ends, entities, sentences

TITLES = ["Heat (1995)", "The Godfather", "Dr. Strangelove or: How I Learned to Stop Worrying", "Big", "Toy Story"]
FACTS = ["Heat (1995)", "Genres: Action, Crime, Thriller.", "The Godfather", "L.A. Confidential"]


@pytest.mark.parametrize(
    ("text", "named", "unsupported"),
    [
        ("You liked Heat and The Godfather, so this fits.", ["Heat and The Godfather"], []),
        ("It was directed by Michael Mann.", ["Michael Mann"], ["Michael Mann"]),
        ("A classic of the Crime genre from 1995.", ["Crime", "1995"], []),
        ("A classic from 1972.", ["1972"], ["1972"]),
        ("It won Best Picture in the 1990s.", ["Best Picture", "1990s"], ["Best Picture", "1990s"]),
        ("Because you liked “heat” you will like *toy story*.", ["heat", "toy story"], ["toy story"]),
        ("you liked the godfather and toy story a lot", ["toy story"], ["toy story"]),
        ("You will like this, and so will your friends. It is big.", [], []),
        ("Great action! Fans of Tom Hanks and Heat will love it.", ["Tom Hanks and Heat"], ["Tom Hanks and Heat"]),
        ("L.A. Confidential is its equal.", ["L.A. Confidential"], []),
        ("The Godfather's heirs will enjoy it.", ["Godfather's"], []),
        ("", [], []),
    ],
)
def test_named_and_unsupported(text: str, named: list[str], unsupported: list[str]) -> None:
    found = check(text, FACTS, Names(TITLES))
    assert list(found.entities) == named
    assert list(found.unsupported) == unsupported
    assert found.rate == (None if not named else pytest.approx(len(unsupported) / len(named)))


def test_each_entity_counts_once() -> None:
    found = check("He met Al Pacino. Then Al Pacino met Heat.", FACTS)
    assert found.entities == ("Al Pacino", "Heat")
    assert found.rate == 0.5


def test_only_what_stands_behind_the_lead_is_counted() -> None:
    lead = "You liked Toy Story. We picked Heat for you because of its"
    text = f"{lead} ties to Al Pacino."
    assert check(text, FACTS, Names(TITLES)).entities == ("Toy Story", "Heat", "Al Pacino")
    assert check(text, FACTS, Names(TITLES), len(lead)).entities == ("Al Pacino",)


def test_names_of_one_common_word_are_left_to_capitals() -> None:
    assert Names(["Big", "The It"]).inside("a big film, the it of films") == []
    assert Names(TITLES).inside("dr strangelove or how i learned to stop worrying") == [
        "dr strangelove or how i learned to stop worrying"
    ]
    assert entities("He saw Big twice.", Names(TITLES)) == ["Big"]


def test_longest_known_name_wins() -> None:
    assert Names(["Toy Story", "Toy Story Two Begins"]).inside("toy story two begins") == ["toy story two begins"]


def test_sentences_end_where_they_end() -> None:
    text = "Dr. No met J. K. Smith in L.A. Confidential. Who? “He did.” And then"
    assert [text[begin:end] for begin, end in sentences(text)] == [
        "Dr. No met J. K. Smith in L.A. Confidential.",
        "Who?",
        "“He did.”",
        "And then",
    ]
    assert ends("He did.”")
    assert not ends("And then")


def test_marks_inside_a_known_title_end_no_sentence() -> None:
    text = "You liked Who's Afraid of Virginia Woolf? and Help! It fits."
    whole = [text[b:e] for b, e in sentences(text, ["Who's Afraid of Virginia Woolf?", "Help!"])]
    assert whole == ["You liked Who's Afraid of Virginia Woolf? and Help! It fits."]
    assert len(sentences(text)) == 3
