"""Reviews: what people wrote, each with the facts that could be told before, as examples for a writer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from llmrec_peft.data.dataset import column
from llmrec_peft.data.histories import earlier
from llmrec_peft.errors import InputError
from llmrec_peft.writing.entities import sentences
from llmrec_peft.writing.facts import Facts, shortened
from llmrec_peft.writing.writer import Example

if TYPE_CHECKING:
    from llmrec_peft.data.interactions import Interactions
    from llmrec_peft.experiment.prepare import Prepared
    from llmrec_peft.heads.explanation import ExplanationOptions
    from llmrec_peft.writing.writer import Writer


@dataclass(frozen=True)
class Reviews:
    """Examples of all parts.

    Attributes:
        example: Example of each interaction that has a usable review, by its row.
        train: Interactions that are learnt from.
        valid: Interactions that choose the epoch.
        test: Interactions that are reported.
        notes: What was cut, one line each.
    """

    example: dict[int, Example]
    train: Interactions
    valid: Interactions
    test: Interactions
    notes: tuple[str, ...] = ()

    def of(self, part: Interactions) -> list[Example]:
        """Examples of a part, in its order."""
        return [self.example[row] for row in part.rows.tolist()]


def read_reviews(prepared: Prepared, options: ExplanationOptions, writer: Writer, middle: float, seed: int) -> Reviews:
    """Make examples of a dataset's reviews.

    What a user had liked before a review is told from training interactions alone. Validation and test keep at most
    `options.evaluated` reviews.

    Args:
        prepared: Data.
        options: What is told, and how much of a review is learnt.
        writer: Whose tokens they become.
        middle: Labels above it count as liked.
        seed: Seed of the draw of validation and test reviews.

    Raises:
        InputError: When there are no reviews, or too few are usable.
    """
    if "review" not in prepared.dataset.interactions.column_names:
        lacking = f"head explanation: {prepared.dataset.name} has no reviews to learn to write from"
        raise InputError(prepared.dataset.with_files(lacking, "review"))
    texts = column(prepared.dataset.interactions, "review")
    review = [_first(texts[row], options.sentences) for row in prepared.used_rows.tolist()]
    usable = np.array([bool(text) for text in review])
    if options.liked_only:
        usable &= prepared.interactions.label > middle
    rng = np.random.default_rng([seed, 3])
    train, valid, test = prepared.split.train, prepared.split.valid, prepared.split.test
    parts = [train[usable[train]], *(_drawn(rows[usable[rows]], options.evaluated, rng) for rows in (valid, test))]
    for name, rows in zip(("training", "validation", "test"), parts, strict=True):
        if len(rows) == 0:
            kind = "reviews of liked items (head.liked_only)" if options.liked_only else "reviews"
            raise InputError(f"head explanation: the {name} part of {prepared.dataset.name} has no {kind}")
    rows = np.concatenate(parts)
    facts = _facts(prepared, rows, options, middle)
    prompts = [writer.prompt(one.prompt(options.instruction)) for one in facts]
    answers = [writer.answer(review[row], options.review_tokens) for row in rows.tolist()]
    window = writer.backbone.window
    longest = max(len(prompt) + len(answer) for prompt, answer in zip(prompts, answers, strict=True))
    if longest > window:
        raise InputError(
            f"head explanation: a prompt with its review takes {longest} tokens, over the window of {window}: lower"
            " head.about_words, head.history or head.review_tokens"
        )
    example = {
        row: Example(prompt, answer) for row, prompt, answer in zip(rows.tolist(), prompts, answers, strict=True)
    }
    train_part, valid_part, test_part = (replace(prepared.interactions.take(own), history=None) for own in parts)
    cut = sum(len(answer) == options.review_tokens and answer[-1] != writer.end for answer in answers)
    note = f"{cut} of {len(answers)} reviews are longer than {options.review_tokens} tokens (head.review_tokens): cut"
    return Reviews(example, train_part, valid_part, test_part, (note,) if cut else ())


def _facts(prepared: Prepared, rows: NDArray[np.int64], options: ExplanationOptions, middle: float) -> list[Facts]:
    """What could be told before each of some interactions."""
    numbers, titles = prepared.interactions, prepared.titles
    told = earlier(numbers.user, numbers.item, numbers.label, numbers.timestamp, rows, prepared.split.train)
    found = []
    for at, row in enumerate(rows.tolist()):
        index = int(numbers.item[row])
        item, label = told.of(at)
        liked = [one for one in item[label > middle].tolist() if one not in (0, index)]
        newest = list(dict.fromkeys(reversed(liked)))[: options.history]
        about = shortened(prepared.texts[index], options.about_words) if options.about_words else ""
        found.append(Facts(titles[index - 1], about, tuple(titles[one - 1] for one in newest)))
    return found


def _drawn(rows: NDArray[np.int64], count: int | None, rng: np.random.Generator) -> NDArray[np.int64]:
    if count is None or len(rows) <= count:
        return rows
    return np.sort(rng.choice(rows, count, replace=False))


def _first(text: str | None, count: int) -> str:
    """The first sentences of a review, in one line."""
    whole = " ".join((text or "").split())
    spans: Sequence[tuple[int, int]] = sentences(whole)[:count]
    return whole[: spans[-1][1]] if spans else ""
