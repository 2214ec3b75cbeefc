"""Generation: what names more than the facts is counted and cut, and something honest always stands there."""

from __future__ import annotations

import pytest

from llmrec_peft.explanation.evidence import Evidence, Explanation
from llmrec_peft.writing.entities import Names
from llmrec_peft.writing.facts import Facts, facts_of, shortened
from llmrec_peft.writing.generation import honest

FACTS = Facts("Heat (1995)", "Heat (1995). Genres: Action, Crime.", ("Casino", "Fargo"), ("Crime",))
NAMES = Names(["Toy Story", "Casino"])
LEAD = FACTS.lead()


def test_supported_text_stays_as_it_is() -> None:
    found = honest("You liked Casino and Fargo. Heat has the same Crime plot.", FACTS, NAMES)
    assert found.text == found.written == "You liked Casino and Fargo. Heat has the same Crime plot."
    assert (found.cut, found.template) == (0, False)
    assert found.check.rate == 0.0


def test_unsupported_sentence_is_cut_and_counted() -> None:
    found = honest("You liked Casino. Robert De Niro plays in it.", FACTS, NAMES)
    assert found.text == "You liked Casino."
    assert found.written == "You liked Casino. Robert De Niro plays in it."
    assert (found.cut, found.template) == (1, False)
    assert found.check.unsupported == ("Robert De Niro",)
    assert found.check.rate == 0.5
    plain = found.plain()
    assert plain["hallucination_rate"] == 0.5
    assert "text" not in plain


def test_unsupported_sentence_can_be_kept_and_is_counted_all_the_same() -> None:
    found = honest("You liked Casino. Robert De Niro plays in it.", FACTS, NAMES, keep_unsupported=True)
    assert found.text == found.written
    assert found.check.rate == 0.5
    assert found.cut == 1
    assert not found.template


def test_fixed_sentence_stands_in_where_nothing_is_left() -> None:
    found = honest("It stars Robert De Niro.", FACTS, NAMES)
    assert found.text == "“Heat (1995)” was picked because you liked “Casino” and “Fargo”."
    assert found.template
    assert honest("", FACTS, NAMES).text == found.text


def test_lead_alone_is_no_text_of_the_decoder() -> None:
    written = f"{LEAD} resemblance to Toy Story."
    found = honest(written, FACTS, NAMES, LEAD)
    assert found.check.entities == ("Toy Story",)
    assert found.template
    kept = honest(f"{LEAD} tense action and crime.", FACTS, NAMES, LEAD)
    assert kept.text == (
        "You liked Casino and Fargo. We picked Heat (1995) for you because of its tense action and crime."
    )
    assert kept.check.entities == ()
    assert kept.check.rate is None


def test_two_sentences_at_most_whole_and_each_once() -> None:
    found = honest("It is tense. It is tense. It is dark. It is long. It is", FACTS, NAMES)
    assert found.text == "It is tense. It is dark."
    broken = honest("It is tense and it goes on and", FACTS, NAMES)
    assert broken.template
    assert broken.written == "It is tense and it goes on and"


def explanation(*evidence: Evidence) -> Explanation:
    return Explanation("1", "2", "Heat (1995)", 4.0, 4.0, "stars", {}, evidence)


def piece(kind: str, what: str, contribution: float, **details: object) -> Evidence:
    return Evidence(kind, what, contribution, "leave-one-out", details)  # type: ignore[arg-type]


def test_facts_are_what_spoke_for_the_item() -> None:
    found = facts_of(
        explanation(
            piece("history", "Casino", 0.4, liked=True),
            piece("history", "Gigli", 0.3, liked=False),
            piece("history", "Fargo", -0.2, liked=True),
            piece("word", "1995", 0.3),
            piece("word", "Crime", 0.2),
            piece("word", "Romance", -0.2),
            piece("path", "Casino – genre – Crime – genre – this", 0.1, from_titles=["Casino"]),
            piece("path", "genre – Crime", 0.2),
            piece("path", "Casino – genre – m.06n90 – genre – this", 0.3, from_titles=["Casino"], entity="m.06n90"),
        ),
        "Heat (1995). Genres: Action, Crime.",
    )
    assert found == Facts(
        "Heat (1995)",
        "Heat (1995). Genres: Action, Crime.",
        ("Casino",),
        ("Crime",),
        ("Casino – genre – Crime – genre – this",),
    )


def test_prompt_tells_the_facts_and_nothing_else() -> None:
    told = FACTS.prompt("Say why.")
    assert told.splitlines() == [
        "Say why.",
        "Picked: Heat (1995)",
        "About it: Heat (1995). Genres: Action, Crime.",
        "The reader liked: Casino; Fargo",
        "What speaks for it: Crime",
    ]
    assert Facts("Heat", "Heat").prompt("Say why.") == "Say why.\nPicked: Heat"


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        (Facts("Heat", liked=("A",)), "“Heat” was picked because you liked “A”."),
        (Facts("Heat", words=("x", "y", "z")), "“Heat” was picked; in its text, x, y and z spoke for it."),
        (Facts("Heat", paths=("p",)), "“Heat” was picked; what speaks for it: p."),
        (Facts("Heat"), "“Heat” was picked; no single item, word or connection stands out."),
    ],
)
def test_fixed_sentence_names_facts_alone(facts: Facts, said: str) -> None:
    assert facts.sentence() == said


def test_long_text_is_shortened() -> None:
    assert shortened("a b c d", 3) == "a b c …"
    assert shortened("a b c", 3) == "a b c"
