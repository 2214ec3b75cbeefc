"""Explain: from a run folder and a pair to evidence, its deletion test, and one or two sentences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmrec_peft.errors import InputError
from llmrec_peft.explanation.evidence import Explanation
from llmrec_peft.explanation.explainer import Explainer, WordMethod, plain_faithfulness
from llmrec_peft.explanation.pieces import Pair
from llmrec_peft.progress import bar
from llmrec_peft.run.recommender import Recommender
from llmrec_peft.writing.entities import Names
from llmrec_peft.writing.facts import facts_of
from llmrec_peft.writing.generation import Generated, generate
from llmrec_peft.writing.load_writer import Opened, opened, require_writer

PAIRS, FEW_PAIRS = 100, 8
"""Pairs of the run's deletion test, and where every score takes a pass of the language model."""


@dataclass(frozen=True)
class Asked:
    """What an explanation is to hold.

    Attributes:
        top: Pieces told of each kind at most.
        words: How words are weighed.
        pairs: Pairs of the run's deletion test; None for as many as are quickly scored, 0 for none.
        delete: Pieces that it takes away at once.
        draws: Draws of other pieces for each pair.
        seed: Seed of pairs and draws.
    """

    top: int = 5
    words: WordMethod = "leave-one-out"
    pairs: int | None = None
    delete: int = 3
    draws: int = 10
    seed: int = 0


@dataclass(frozen=True)
class Writing:
    """Who writes the text.

    Attributes:
        decoder: Alias, folder or Hub id of a decoder; None for the run's own base, or the usual one.
        writer: Folder of a trained writer.
        keep_unsupported: Leave sentences in that name what no evidence holds.
    """

    decoder: str | None = None
    writer: Path | None = None
    keep_unsupported: bool = False


def explain(
    run: Path,
    user: str,
    item: str,
    asked: Asked | None = None,
    writing: Writing | None = None,
    show: bool = True,
) -> dict[str, Any]:
    """Explain one score of a run.

    Args:
        run: Run folder.
        user: User id.
        item: Item id.
        asked: What the explanation is to hold.
        writing: Who writes a text; None for no text.
        show: Whether to show a progress bar on stderr.

    Returns:
        Plain values: the explanation, `faithfulness` (of this `pair` and of the `run`), and, with a text, `text` and
        `generation`.

    Raises:
        InputError: For ids that the run does not know, or a decoder that cannot write.
    """
    asked = asked or Asked()
    if asked.delete < 1 or asked.draws < 1:
        raise InputError("the deletion test takes at least one piece away, in at least one draw")
    if writing is not None:
        require_writer(writing.decoder, writing.writer)
    recommender = Recommender.from_pretrained(run)
    explainer = Explainer(recommender, recommender.loaded.learned(), asked.words)
    pair = explainer.pair(user, item)
    explanation = explainer.explain(user, item)
    report = explanation.top(asked.top).plain()
    report["faithfulness"] = {
        "pair": _of_pair(explainer, pair, asked),
        "run": _of_run(explainer, asked, show),
    }
    if writing is not None:
        with opened(recommender, writing.decoder, writing.writer) as found:
            said = write(recommender, explanation, pair, found, names_of(explainer), writing.keep_unsupported)
        report |= {"text": said.text, "generation": {**found.told, **said.plain()}}
    return report


def write(
    recommender: Recommender,
    explanation: Explanation,
    pair: Pair,
    found: Opened,
    names: Names,
    keep_unsupported: bool = False,
) -> Generated:
    """Let a writer tell the evidence of a pair.

    Args:
        recommender: The run.
        explanation: Its evidence, whole.
        pair: The pair.
        found: The writer.
        names: Names that count as named, see `names_of`.
        keep_unsupported: Leave sentences in that name what no evidence holds.
    """
    index = int(recommender.catalogue.table_index[pair.row])
    text = recommender.items.texts[index - 1] if index > 0 else ""
    facts = facts_of(explanation, text)
    lead = facts.lead() if found.leads else ""
    return generate(found.writer, facts, names, found.instruction, lead, keep_unsupported)


def names_of(explainer: Explainer) -> Names:
    """Titles of the catalogue and names of the graphs' entities."""
    graphs = explainer.what_if.connecting.values()
    entities = [name for signal in graphs for name in signal.names().get("entities", [])]
    titles: Sequence[str] = explainer.what_if.tenant.catalogue.titles
    return Names([*titles, *entities])


def _of_pair(explainer: Explainer, pair: Pair, asked: Asked) -> dict[str, Any]:
    """Deletion test of one pair; kinds with too few pieces are left out."""
    found = {kind: explainer.deletions([pair], kind, asked.delete, asked.draws, asked.seed) for kind in explainer.kinds}
    return {kind: outcomes[0].plain() for kind, outcomes in found.items() if outcomes}


def _of_run(explainer: Explainer, asked: Asked, show: bool) -> dict[str, Any] | None:
    """Deletion test of the run over a sample of pairs; None where none were asked for."""
    count = asked.pairs
    if count is None:
        count = FEW_PAIRS if explainer.what_if.encodes_examples else PAIRS
    if count == 0:
        return None
    pairs = explainer.sample(count, asked.seed)
    with bar("deletion test", len(pairs) * len(explainer.kinds), show=show) as shown:
        found = explainer.faithfulness(pairs, asked.delete, asked.draws, asked.seed, shown.advance)
    return {"sample": explainer.sampled, **plain_faithfulness(found)}
