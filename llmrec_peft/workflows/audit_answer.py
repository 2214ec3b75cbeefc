"""Audit an answer of a server: compute it again from the sealed versions and the states in its registry."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from llmrec_peft.backbone.precision import best_device
from llmrec_peft.errors import InputError
from llmrec_peft.printable import one_line, shown
from llmrec_peft.regular_files import is_folder
from llmrec_peft.run.catalogue import ScoredItem
from llmrec_peft.run.ids import checked_count
from llmrec_peft.serving.answers import Answer, Audit, Scores
from llmrec_peft.serving.auditing import Auditor
from llmrec_peft.serving.encoding import OwnPasses
from llmrec_peft.serving.http.registry.past_states import PastStates
from llmrec_peft.serving.http.registry.registry import FILE
from llmrec_peft.serving.http.schemas import IdentityOut, RecommendOut, ScoreOut
from llmrec_peft.serving.loading import Loading
from llmrec_peft.serving.versions import Identity
from llmrec_peft.strict_json import parse_json
from llmrec_peft.workflows.streams import name_of, opened

TOLERANCE = 2e-4
"""How far a score of four digits may be from the one that is computed again: users and texts of one pass change the
last bits from which it is rounded."""
MOST_BYTES = 64 << 20
"""Bytes of an answer."""
STORE = "store"
"""The sealed store in a server's state folder."""


@dataclass(frozen=True)
class Audited:
    """What came out for one list, or for the pairs that one state scored.

    Attributes:
        what: What was answered, for a reader.
        identity: The version and state that the answer names.
        audit: The outcome.
    """

    what: str
    identity: Identity
    audit: Audit

    def plain(self) -> dict[str, Any]:
        """Return the fields as plain values."""
        return {
            "what": self.what,
            **self.identity._asdict(),
            "same": self.audit.same,
            "difference": self.audit.difference,
            "reason": self.audit.reason,
        }


def audit_answer(source: Path, state: Path) -> list[Audited]:
    """Compute an answer again and compare; the server may be running or not, and is not asked.

    Args:
        source: JSON file with what `/v1/recommend` or `/v1/score` answered, or ``-`` for stdin.
        state: The server's state folder.

    Returns:
        The outcome for each list, or for each state that scored pairs.

    Raises:
        InputError: If the file is no such answer, the folder has no registry and store, no tenant has the name, or a
            version cannot be loaded.
    """
    answer = _read(source)
    if not is_folder(state / STORE):
        raise InputError(f"{shown(state)}: has no sealed store, so it is no state folder of a server")
    known = PastStates(state / FILE, (state / STORE).absolute())
    auditor = Auditor(known, Loading(best_device(), try_adapters=False), OwnPasses())
    if isinstance(answer, RecommendOut):
        lists = _lists(answer)
        audits = auditor.audit_lists(lists, TOLERANCE)
        return [Audited(f"user {one.user_id}", one.identity, each) for one, each in zip(lists, audits, strict=True)]
    return [
        Audited(f"{len(one.users)} pairs", one.identities[0], auditor.audit(one, TOLERANCE)) for one in _scores(answer)
    ]


def _read(source: Path) -> RecommendOut | ScoreOut:
    """Read an answer.

    Raises:
        InputError: If it is larger than `MOST_BYTES`, no JSON, or no answer of one of the two kinds.
    """
    name = name_of(source)
    with opened(source) as file:
        content = file.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise InputError(f"{name}: has more than {MOST_BYTES:,} bytes")
    values = parse_json(content, name)
    kind: type[RecommendOut] | type[ScoreOut]
    if isinstance(values, dict) and values.get("answers"):
        kind = RecommendOut
    elif isinstance(values, dict) and values.get("scores"):
        kind = ScoreOut
    else:
        raise InputError(f"{name}: has neither answers, as of /v1/recommend, nor scores, as of /v1/score")
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        said = one_line(first["msg"]).removeprefix("Value error, ")
        raise InputError(": ".join(part for part in (name, where, said) if part)) from None


def _lists(answer: RecommendOut) -> list[Answer]:
    """Return the lists of an answer, each as if its user had been asked for alone."""
    return [
        Answer(
            answer.tenant,
            one.user_id,
            _identity(one),
            one.basis,
            tuple(ScoredItem(item.item_id, item.title, item.score) for item in one.items),
            checked_count(answer.k),
            answer.seen,
            (one.user_id,),
        )
        for one in answer.answers
    ]


def _scores(answer: ScoreOut) -> list[Scores]:
    """Return the pairs of an answer, apart by the state that scored them."""
    found = []
    for identity in dict.fromkeys(_identity(one) for one in answer.scores):
        pairs = [one for one in answer.scores if _identity(one) == identity]
        found.append(
            Scores(
                answer.tenant,
                tuple(one.user_id for one in pairs),
                tuple(one.item_id for one in pairs),
                np.array([one.score for one in pairs], np.float32),
                (identity,) * len(pairs),
                tuple(one.basis for one in pairs),
            )
        )
    return found


def _identity(one: IdentityOut) -> Identity:
    return Identity(one.version, one.state, one.state_digest)


def all_same(audited: Sequence[Audited]) -> bool:
    """Return whether every part of an answer is what its version gives."""
    return all(one.audit.same for one in audited)
