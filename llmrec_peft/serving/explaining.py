"""Explaining: the evidence of one score of a version in one state; it is given the snapshot and knows no tenants."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from llmrec_peft.data.vocabulary import UNKNOWN
from llmrec_peft.errors import InputError
from llmrec_peft.explanation.explainer import Explainer, WordMethod
from llmrec_peft.printable import quoted
from llmrec_peft.run.recommender import Recommender
from llmrec_peft.serving.versions import Identity, Snapshot


@dataclass(frozen=True)
class Explained:
    """The evidence of one score.

    Attributes:
        identity: The version that was explained, and its state.
        plain: The evidence as plain values, see `Explanation.plain`.
    """

    identity: Identity
    plain: dict[str, Any]


def explained(snapshot: Snapshot, user: str, item: str, top: int, words: WordMethod) -> Explained:
    """Return the evidence of the score of a user and an item.

    Args:
        snapshot: The version and its state; it stays in memory meanwhile.
        user: User id.
        item: Item id, of the run or added to it.
        top: Pieces of each kind at most.
        words: How contributions of words are computed; ``none`` needs no language model.

    Raises:
        InputError: If the user or the item is unknown.
    """
    tenant = snapshot.tenant
    # asked here, since an `Explainer` looks through all ids for those that are alike
    if int(tenant.vocabulary.user_indices([user])[0]) == UNKNOWN:
        raise InputError(f"unknown user {quoted(user)}: only scores of users of the training are explained")
    if item not in tenant.catalogue.row_of:
        raise InputError(f"unknown item {quoted(item)}")
    try:
        explainer = Explainer(Recommender.of(tenant), tenant.learned(), words)
        found = explainer.explain(user, item).top(top)
    finally:
        if not tenant.model.plan.tells_items and tenant.adapter.has_modules:
            tenant.base.set_aside(tenant.adapter)  # as after its load: its texts are encoded by its slot
    return Explained(snapshot.identity, found.plain())
