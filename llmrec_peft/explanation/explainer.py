"""Explainer: the evidence for pairs, by kind, and the deletion test of it."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from llmrec_peft.errors import InputError
from llmrec_peft.explanation.deletion import Faithfulness, PairDeletion, delete, summarized
from llmrec_peft.explanation.evidence import Evidence, Explanation, Method, Weighed, by_weight
from llmrec_peft.explanation.gradients import WordGradients, word_gradients
from llmrec_peft.explanation.paths import neighbour_pieces, through
from llmrec_peft.explanation.pieces import KINDS, Kind, Pair, Piece, Variant
from llmrec_peft.explanation.what_if import WhatIf
from llmrec_peft.run.ids import text_id

if TYPE_CHECKING:
    from llmrec_peft.data.interactions import Interactions
    from llmrec_peft.explanation.terms import Terms
    from llmrec_peft.run.recommender import Recommender
    from llmrec_peft.run.tenant import Tenant

WordMethod = Literal["leave-one-out", "integrated-gradients", "none"]
_SEEN = "seen.safetensors, which contains users' interactions and is never published, is not in the run folder"


class Explainer:
    """Explains pairs of one run.

    Attributes:
        what_if: Scores pairs without some pieces.
        kinds: Kinds of evidence that this run supports.
        notes: Why it does not support the others.
    """

    def __init__(
        self,
        recommender: Recommender,
        learned: Interactions | None = None,
        words: WordMethod = "leave-one-out",
        tenant: Tenant | None = None,
    ) -> None:
        """Determine which kinds of evidence a run supports.

        Args:
            recommender: The runs in memory.
            learned: Interactions that the run was trained on; None if ``seen.safetensors`` was not passed on.
            words: How contributions of words are computed; ``none`` for no words, which needs no language model.
            tenant: The run; by default the one that answers.
        """
        self.what_if = WhatIf(recommender, learned, tenant)
        self._words = words
        self._integrals: dict[Pair, WordGradients] = {}
        self.notes: list[str] = []
        supported: dict[Kind, bool] = {
            "signal": bool(self.what_if.model.signals),
            "history": self._has_histories(learned),
            "word": self._has_words(),
            "path": bool(self.what_if.connecting),
        }
        self.kinds: tuple[Kind, ...] = tuple(kind for kind in KINDS if supported[kind])

    @property
    def _tenant(self) -> Tenant:
        return self.what_if.tenant

    def _has_histories(self, learned: Interactions | None) -> bool:
        known = len(self._tenant.seen.item) > 0
        if not known:
            self.notes.append(f"no history items: {_SEEN}")
            return False
        if self.what_if.remembers or self.what_if.reads_histories:
            if not self.what_if.remembers and learned is not None:
                self.notes.append(
                    "history items: the interactions trained on cannot be left out one by one (seen.safetensors holds"
                    " others), so only the histories that the model reads are explained"
                )
            return True
        self.notes.append("no history items: the interactions in seen.safetensors do not give the scores of this run")
        return False

    def _has_words(self) -> bool:
        if self._words == "none":
            return False
        if not self.what_if.model.plan.item:
            self.notes.append("no words: no signal of this run reads items' texts by themselves")
            return False
        return True

    def pair(self, user: str, item: str) -> Pair:
        """Number a user and an item.

        Raises:
            InputError: For ids that the run does not know.
        """
        user, item = text_id(user, "user"), text_id(item, "item")
        index = int(self._tenant.vocabulary.user_indices([user])[0])
        if index == 0:
            raise InputError(f"unknown user {user!r}: {_near(user, self._tenant.vocabulary.users)}")
        row = self._tenant.catalogue.row_of.get(item)
        if row is None:
            raise InputError(f"unknown item {item!r}: {_near(item, self._tenant.catalogue.ids)}")
        return Pair(index, row)

    def explain(self, user: str, item: str) -> Explanation:
        """Return all evidence of one pair.

        Raises:
            InputError: For ids that the run does not know.
        """
        pair = self.pair(user, item)
        terms = self.what_if.terms(pair)
        notes = list(self.notes)
        evidence: list[Evidence] = []
        weights: dict[str | int, float] = {}
        for kind in self.kinds:
            if kind == "signal" and terms.exact:
                evidence += by_weight(_terms(terms))
                continue
            weighed = self._weighed([pair], kind)[0]
            method: Method = "leave-one-out"
            if kind == "history":
                weights = {one.piece.key: one.contribution for one in weighed}
            elif kind == "word" and self._words == "integrated-gradients":
                method = "integrated gradients"
                notes += self._gap(pair)
            elif kind == "path":
                method = "exact" if self._adds_up(pair, weighed) else method
                weighed = [through(one, pair, self.what_if, weights) for one in weighed]
            pieces = [Evidence(kind, one.piece.what, one.contribution, method, one.piece.details) for one in weighed]
            evidence += by_weight([one for one in pieces if one.contribution != 0.0])
        if not terms.exact:
            notes.append("signals are mixed by this fusion: each counts as what the score loses without it")
        raw = float(self.what_if.scores([Variant(pair)])[0])
        return Explanation(
            user=user,
            item=item,
            title=self._tenant.catalogue.titles[pair.row],
            score=float(self._tenant.pairs([user], [item], None, 1)[0]),
            raw=raw,
            unit=self.what_if.model.head.unit,
            base={name: float(value[0]) for name, value in terms.base.items()},
            evidence=tuple(evidence),
            notes=tuple(notes),
        )

    def weighed(self, pairs: Sequence[Pair], kind: Kind) -> list[list[Weighed]]:
        """Return each pair's pieces of one kind with contributions by leave-one-out (words: the chosen method)."""
        return self._weighed(pairs, kind)

    def deletions(
        self, pairs: Sequence[Pair], kind: Kind, k: int = 3, draws: int = 10, seed: int = 0
    ) -> list[PairDeletion]:
        """Run the deletion test of one kind of evidence for each pair, see `explanation.deletion.delete`."""
        anew = kind == "word"
        return delete(pairs, self._weighed(pairs, kind), lambda some: self.what_if.scores(some, anew), k, draws, seed)

    def faithfulness(
        self,
        pairs: Sequence[Pair],
        k: int = 3,
        draws: int = 10,
        seed: int = 0,
        done: Callable[[int], None] | None = None,
    ) -> dict[Kind, Faithfulness]:
        """Run the deletion test of every kind of evidence over many pairs.

        Args:
            pairs: Pairs.
            k: Pieces removed together.
            draws: Draws of other pieces for each pair.
            seed: Seed of the draws.
            done: Called with the number of pairs of one kind that were tested.
        """
        results: dict[Kind, Faithfulness] = {}
        for kind in self.kinds:
            outcomes: list[PairDeletion] = []
            for at in range(0, len(pairs), _AT_ONCE):
                some = pairs[at : at + _AT_ONCE]
                outcomes += self.deletions(some, kind, k, draws, seed + at)
                if done is not None:
                    done(len(some))
            summary = summarized(kind, outcomes, draws, len(pairs))
            if summary is not None:
                results[kind] = summary
        return results

    @property
    def sampled(self) -> str:
        """Describe in words what `sample` draws."""
        if self.what_if.encodes_examples:
            return "an item drawn from those that the user has not interacted with, for users drawn at random"
        return "the item that is recommended first, for users drawn at random"

    def sample(self, count: int, seed: int = 0) -> list[Pair]:
        """Return the item that the run recommends first, for users drawn at random; no user twice.

        If every score takes a pass of the language model, the whole catalogue is not ranked: an item that the user has
        not interacted with is drawn instead.

        Args:
            count: Pairs; fewer where there are fewer users.
            seed: Seed of the draw.
        """
        rng = np.random.default_rng(seed)
        users = rng.permutation(np.arange(1, self._tenant.vocabulary.num_users))[:count]
        if self.what_if.encodes_examples:
            return [Pair(user, self._new_to(user, rng)) for user in users.tolist()]
        names = [self._tenant.vocabulary.users[user - 1] for user in users]
        best = self._tenant.recommend(names, 1, seen=False)
        row_of = self._tenant.catalogue.row_of
        return [
            Pair(int(user), row_of[answer.items[0].item_id])
            for user, answer in zip(users, best, strict=True)
            if answer.items
        ]

    def _new_to(self, user: int, rng: np.random.Generator) -> int:
        """Draw the row of an item outside a user's history, or of any item if the history contains all."""
        index = self._tenant.catalogue.table_index
        rows = np.flatnonzero(~np.isin(index, self._tenant.seen.of(user)[0]))
        return int(rng.choice(rows if len(rows) else np.arange(len(index))))

    def _pieces(self, pair: Pair, kind: Kind) -> list[Piece]:
        if kind == "signal":
            return [Piece("signal", name, name) for name in self.what_if.model.signals]
        if kind == "history":
            return self._history(pair)
        if kind == "word":
            words = self.what_if.worded(pair.row).words
            return [Piece("word", place, word, {"place": place}) for place, word in enumerate(words)]
        return neighbour_pieces(pair, self.what_if)

    def _history(self, pair: Pair) -> list[Piece]:
        """Return the items of the user's history that the model learnt from or reads, each once, the newest first."""
        item, label = self.what_if.learned.of(pair.user)
        length = self.what_if.model.plan.history_length
        if length is not None:
            read, read_label = self._tenant.seen.of(pair.user)
            item, label = np.concatenate([item, read[-length:]]), np.concatenate([label, read_label[-length:]])
        labels = dict(zip(item.tolist(), label.tolist(), strict=True))
        ids, titles = self._tenant.vocabulary.items, self._tenant.items.titles
        usual = float(np.mean(list(labels.values()))) if labels else 0.0
        return [
            Piece(
                "history",
                index,
                titles[index - 1] or ids[index - 1],
                {"item_id": ids[index - 1], "label": round(value, 4), "liked": value >= usual},
            )
            for index, value in reversed(labels.items())
            if index > 0
        ]

    def _weighed(self, pairs: Sequence[Pair], kind: Kind) -> list[list[Weighed]]:
        pieces = [self._pieces(pair, kind) for pair in pairs]
        if kind == "word" and self._words == "integrated-gradients":
            return [self._gradients(pair, own) for pair, own in zip(pairs, pieces, strict=True)]
        variants = [
            Variant(pair, without)
            for pair, own in zip(pairs, pieces, strict=True)
            for without in ((), *((piece,) for piece in own))
        ]
        scores = self.what_if.scores(variants, anew=kind == "word")
        weighed, at = [], 0
        for own in pieces:
            whole, rest = scores[at], scores[at + 1 : at + 1 + len(own)]
            weighed.append([Weighed(piece, float(whole - lower)) for piece, lower in zip(own, rest, strict=True)])
            at += 1 + len(own)
        return weighed

    def _gradients(self, pair: Pair, pieces: Sequence[Piece]) -> list[Weighed]:
        if not pieces:
            return []
        gradients = self._integrated(pair)
        return [Weighed(piece, float(gradients.words[int(piece.key)])) for piece in pieces]

    def _integrated(self, pair: Pair) -> WordGradients:
        if pair not in self._integrals:
            self._integrals[pair] = word_gradients(self.what_if, pair)
        return self._integrals[pair]

    def _gap(self, pair: Pair) -> list[str]:
        """Return a note on how much the words' sum differs from the effect of the text."""
        if not self.what_if.worded(pair.row).words:
            return []
        gradients = self._integrated(pair)
        return [
            f"words add up to {float(gradients.words.sum()):+.4f}; the text against one without words makes"
            f" {gradients.whole:+.4f}"
        ]

    def _adds_up(self, pair: Pair, weighed: Sequence[Weighed]) -> bool:
        """Return whether contributions are terms of a sum: leaving out all of them changes the score by their sum."""
        if not weighed:
            return True
        pieces = tuple(one.piece for one in weighed)
        whole, none = self.what_if.scores([Variant(pair), Variant(pair, pieces)])
        return bool(abs((whole - none) - sum(one.contribution for one in weighed)) <= _ROUNDING)


_AT_ONCE = 25
"""Pairs that are tested together."""
_ROUNDING = 1e-4
"""Largest difference that counts as rounding in single precision."""


def _terms(terms: Terms) -> list[Evidence]:
    """Return the terms of a score that is a sum over signals."""
    alone = [
        Evidence("signal", f"{name}, by itself", float(value[0]), "exact", {"signal": name})
        for name, value in terms.alone.items()
    ]
    products = [
        Evidence(
            "signal",
            f"{first} of the user × {second} of the item",
            float(value[0]),
            "exact",
            {"user_signal": first, "item_signal": second},
        )
        for (first, second), value in terms.products.items()
    ]
    return [*alone, *products]


def _near(name: str, known: Sequence[str]) -> str:
    """Suggest the nearest known id, or name some ids if none is near or there are few."""
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    if close:
        return f"did you mean {close[0]!r}?"
    some = ", ".join(known[:_SHOWN])
    return f"known are {some}, …" if len(known) > _SHOWN else f"known are {some}"


_SHOWN = 5
"""Ids in a message."""


def plain_faithfulness(results: dict[Kind, Faithfulness]) -> dict[str, Any]:
    """Return the results of each kind as plain values, and whether all of them pass."""
    return {
        **{kind: summary.plain() for kind, summary in results.items()},
        "passes": all(summary.passes for summary in results.values()) if results else None,
    }
