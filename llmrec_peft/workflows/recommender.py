"""The recommender that users hold: a run's answers, also for whole frames, its figures and its explanations."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np
from numpy.typing import NDArray

from llmrec_peft.custom.scored_frames import pairs_of, with_column
from llmrec_peft.errors import InputError
from llmrec_peft.printable import for_terminal, quoted, shown
from llmrec_peft.progress import note
from llmrec_peft.run.catalogue import Recommendations
from llmrec_peft.run.recommender import Recommender as RunRecommender
from llmrec_peft.run.tenant import LoadedTenant

if TYPE_CHECKING:
    from llmrec_peft.explanation.evidence import Explanation
    from llmrec_peft.explanation.explainer import Explainer


class RecommendedUsers(list[Recommendations]):
    """Recommendations for several users, one `Recommendations` each; `to_frame` makes a table of them."""

    def to_frame(self) -> Any:
        """Return a pandas frame with one row for each recommended item: user_id, rank, item_id, title, score, basis."""
        import pandas as pd  # type: ignore[import-untyped]

        rows = [
            (found.user_id, rank, item.item_id, item.title, item.score, found.basis)
            for found in self
            for rank, item in enumerate(found.items, start=1)
        ]
        return pd.DataFrame(rows, columns=["user_id", "rank", "item_id", "title", "score", "basis"])


class Recommender(RunRecommender):
    """A trained run: `recommend`, `score`, `explain`, `add_items`; its figures as `metrics`, its recipe as `recipe`.

    ``llmrec_peft.train(...)`` returns one, and ``Recommender.from_pretrained("runs/mine")`` loads one. All else that it
    can do stands in `llmrec_peft.run.recommender.Recommender`.
    """

    @property
    def folder(self) -> Path | None:
        """The run folder of the current run; None for a run that was just trained."""
        tenant = self.tenant
        return tenant.folder if isinstance(tenant, LoadedTenant) else None

    @property
    def metrics(self) -> dict[str, Any]:
        """The current run's figures, as in its ``metrics.json``.

        Raises:
            InputError: If the recommender was not loaded from a run folder, or the file is not what the run wrote.
        """
        return self.loaded.sealed.report()

    def recommend(self, users: Sequence[str], k: int = 10, seen: bool = False) -> RecommendedUsers:
        """Return the best items of each user, best first; ``.to_frame()`` of the answer makes a table.

        Args:
            users: User ids; unknown ones get the popular items, and `Recommendations.basis` says so.
            k: Items per user.
            seen: Whether items of the user's history may be recommended again.

        Raises:
            InputError: If k is below 1, or an id is no text.
        """
        return RecommendedUsers(super().recommend(users, k, seen))

    @overload
    def score(
        self,
        users: Sequence[str],
        items: Sequence[str],
        chunk: int = ...,
        histories: Sequence[Sequence[tuple[str, float]]] | None = ...,
    ) -> NDArray[np.float32]: ...

    @overload
    def score(self, users: Any, items: None = None, chunk: int = ..., histories: None = None) -> Any: ...

    def score(
        self,
        users: Any,
        items: Sequence[str] | None = None,
        chunk: int = 65_536,
        histories: Sequence[Sequence[tuple[str, float]]] | None = None,
    ) -> Any:
        """Predict labels of pairs: of ids, or of a frame with a column of users and one of items.

        Args:
            users: User ids [n]; or a frame (pandas, polars, Arrow, `datasets.Dataset`, a dict of lists), whose columns
                are found as in `llmrec_peft.Dataset.from_frames`, and then no `items`.
            items: Item ids [n].
            chunk: Pairs per chunk.
            histories: Item ids and labels of each user's history, oldest first; only with ids, for runs that read them.

        Returns:
            float32 [n] for ids; for a frame the same kind of frame with a further column ``score``.

        Raises:
            InputError: For an item that is neither known nor added, an id that is no text, or a frame whose columns of
                users and items cannot be told.
        """
        if items is not None:
            return super().score(users, items, chunk, histories)
        if histories is not None:
            raise InputError("score: histories go with ids, not with a frame")
        table, user_ids, item_ids = pairs_of(users)
        unknown = [
            user for user, index in zip(user_ids, self.vocabulary.user_indices(user_ids), strict=True) if not index
        ]
        if unknown:
            note(
                f"score: {len(unknown)} of {len(user_ids)} rows are of users that the run does not know, such as"
                f" {quoted(unknown[0], 40)}: they are scored as the average user"
            )
        return with_column(users, table, "score", super().score(user_ids, item_ids, chunk))

    def explain(self, user: str, item: str, top: int = 5) -> Explanation:
        """Explain a score: what each signal, each entry of the history and each word added to it.

        Args:
            user: User id that the run knows.
            item: Item id.
            top: Pieces of each kind at most.

        Raises:
            InputError: For ids that the run does not know, or if the recommender was not loaded from a run folder.
        """
        return self._explainer.explain(user, item).top(top)

    def push_to_hub(
        self,
        repository: str,
        *,
        private: bool = False,
        revision: str | None = None,
        include_users: bool = False,
        include_items: bool | None = None,
        licence: str | None = None,
        sign: str | Path | None = None,
    ) -> dict[str, Any]:
        """Publish the current run on the Hugging Face Hub, load it again and compare it with the run.

        ``recommender.push_to_hub("ann/films", private=True)["commit"]``. Items that were added since the run was loaded
        are not part of it.

        Args:
            repository: ``OWNER/NAME``; made if it is not there.
            private: Whether the repository has to be private.
            revision: Branch; by default the main branch.
            include_users: Whether ids and tables of users are published. Interactions never are.
            include_items: Whether titles, texts and columns of items are; by default if everybody can have the data.
            licence: Licence of what is published, by the Hub's identifier; by default it follows from base and data.
            sign: PEM file of a private key, which signs what is uploaded; ``LLMREC_KEY_PASSWORD`` opens it if need be.

        Returns:
            As `llmrec_peft.hub.push.push`: ``repository``, ``commit``, ``url``, ``digest``, ``files``, ``left_out``.

        Raises:
            InputError: If the recommender was not loaded from a run folder, the run cannot be published so, or the Hub
                cannot be reached or refuses, or the key cannot sign.
        """
        from llmrec_peft.artifact.hub_name import HubName
        from llmrec_peft.hub.push import Choice, push
        from llmrec_peft.hub.signing import Signer

        choice = Choice(users=include_users, items=include_items, private=private, licence=licence)
        choice = choice if sign is None else choice.signed_by(Signer.of(Path(sign)))
        return push(self.loaded.folder, HubName.parse(repository, revision), choice)

    @property
    def _explainer(self) -> Explainer:
        """Explains the current run as it is now, items added since included."""
        from llmrec_peft.explanation.explainer import Explainer

        tenant = self.loaded
        return Explainer(self, tenant.learned(), tenant=tenant)

    def __repr__(self) -> str:
        """Return what it is, on how much it was trained, and its figures."""
        tenant = self.tenant
        recipe, vocabulary = tenant.recipe, tenant.vocabulary
        known = f"{len(vocabulary.users):,} users, {len(vocabulary.items):,} items"
        lines = [f"Recommender {recipe.name!r}: {recipe.head.name} over {known}; adapter {recipe.adapter.method}"]
        if isinstance(tenant, LoadedTenant):
            lines.append(f"  run folder: {shown(tenant.folder)}")
            try:
                lines += _figures(tenant.sealed.report())
            except (InputError, KeyError, TypeError, ValueError, AttributeError):
                lines.append("  its metrics.json cannot be read")
        return "\n".join(for_terminal(line) for line in lines)


def _figures(metrics: dict[str, Any]) -> Iterable[str]:
    """Return the test figures before and after tuning, and of what answers where that is another, one line each."""
    rows = (("before", "before tuning"), ("after", "after tuning"), ("recommended", "what answers"))
    for name, called in rows:
        figures = metrics["test"].get(name)
        if figures:
            yield f"  {called}: " + ", ".join(f"{metric} {value:.4f}" for metric, value in figures.items())
