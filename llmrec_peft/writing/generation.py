"""Generation: one or two sentences from facts alone; what they name beyond the facts is counted and cut."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from llmrec_peft.explanation.evidence import DIGITS
from llmrec_peft.writing.entities import Check, Names, check, ends, sentences

if TYPE_CHECKING:
    from llmrec_peft.writing.facts import Facts
    from llmrec_peft.writing.writer import Writer

SENTENCES = 2
"""Sentences of a text at most."""


@dataclass(frozen=True)
class Generated:
    """A text and what it took to make it honest.

    Attributes:
        text: What is shown.
        written: What the decoder wrote, its first sentences, with the lead that it was given.
        check: What the decoder's own words name.
        cut: How many of its sentences were left out for naming what no fact holds.
        template: Whether nothing was left, so that a fixed sentence stands in.
    """

    text: str
    written: str
    check: Check
    cut: int
    template: bool

    def plain(self) -> dict[str, Any]:
        """As plain values, but for the text."""
        rate = self.check.rate
        return {
            "written": self.written,
            "entities": list(self.check.entities),
            "unsupported": list(self.check.unsupported),
            "hallucination_rate": None if rate is None else round(rate, DIGITS),
            "cut": self.cut,
            "template": self.template,
        }


def generate(
    writer: Writer, facts: Facts, names: Names, instruction: str, lead: str = "", keep_unsupported: bool = False
) -> Generated:
    """Let a decoder write from facts and hold what it wrote against them.

    Args:
        writer: The decoder.
        facts: All that it is told, and all that it may name.
        names: Names of the catalogue and the graph, which count as named however they are written.
        instruction: What it is asked to do.
        lead: How its answer begins.
        keep_unsupported: Leave sentences in that name what no fact holds; they are counted all the same.
    """
    written = writer.write(facts.prompt(instruction), lead)
    return honest(written, facts, names, lead, keep_unsupported)


def honest(written: str, facts: Facts, names: Names, lead: str = "", keep_unsupported: bool = False) -> Generated:
    """The first sentences of a text, without those that name what no fact holds.

    A last sentence that was broken off is dropped, and one that the decoder wrote twice stands once. If nothing of
    its own words is left, a fixed sentence from the facts stands in. Names in the lead, which is made of facts, are
    not counted.
    """
    written = " ".join(written.split())
    given = len(lead) if written.startswith(lead) else 0
    spans = _distinct(written, sentences(written, facts.strings))
    whole = [(begin, end) for begin, end in spans if ends(written[begin:end])]
    spans = (whole or spans[:1])[:SENTENCES]
    kept = [
        (begin, end)
        for begin, end in spans
        if end <= given or not _named(written[begin:end], facts, names, max(0, given - begin)).unsupported
    ]
    first = written[: spans[-1][1]] if spans else ""
    found = _named(first, facts, names, given)
    shown = spans if keep_unsupported else [span for span in kept if span in whole]
    own = any(end > given for _, end in shown)
    text = " ".join(written[begin:end] for begin, end in shown)
    return Generated(text if own else facts.sentence(), first, found, len(spans) - len(kept), not own)


def _named(text: str, facts: Facts, names: Names, start: int) -> Check:
    return check(text, facts.strings, names, start)


def _distinct(text: str, spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Each sentence at its first place."""
    first: dict[str, tuple[int, int]] = {}
    for begin, end in spans:
        first.setdefault(text[begin:end], (begin, end))
    return list(first.values())
