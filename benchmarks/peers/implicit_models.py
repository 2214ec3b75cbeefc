"""Peers of `implicit`: alternating least squares, Bayesian personalized ranking, item neighbours."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from llmrec_peft.data.interactions import Interactions
from peers.contract import Peer, Scores, Settings
from peers.learned import BM25, ONES, TOLD, Learned


class LeastSquares(Peer):
    """Alternating least squares on weighted ones; whoever is asked for gets factors from his profile.

    References:
        Hu, Koren and Volinsky, Collaborative Filtering for Implicit Feedback Datasets, ICDM 2008.
    """

    name: ClassVar[str] = "ALS"
    package: ClassVar[str] = "implicit"
    task: ClassVar[str] = "ranking"
    seeded: ClassVar[bool] = True

    def grid(self, learned: Learned) -> Sequence[Settings]:
        """Return settings around the documented ones; weights by BM25 as in the library's example of Last.fm."""
        weights = (ONES, BM25) if learned.tells_weights else (ONES,)
        return [
            {"factors": factors, "regularization": ridge, "alpha": alpha, "iterations": 15, "weights": kind}
            for kind, factors, ridge, alpha in itertools.product(
                weights, (64, 128), (0.01, 1.0, 10.0, 50.0), (1.0, 10.0, 40.0, 100.0)
            )
        ]

    def fitted(self, learned: Learned, settings: Settings, seed: int) -> Scores:
        """Fit factors of items."""
        import torch
        from implicit.cpu.als import AlternatingLeastSquares

        options, kind = _without(settings, "weights"), settings["weights"]
        model = AlternatingLeastSquares(**options, random_state=seed, num_threads=1)
        model.fit(learned.matrix(kind), show_progress=False)

        def scores(part: Interactions) -> Any:
            factors = model.recalculate_user(np.arange(len(part)), learned.profiles(part, kind))
            return torch.from_numpy(factors @ model.item_factors[1:].T)

        return scores


class PersonalizedRanking(Peer):
    """Bayesian personalized ranking: factors by pairs of a met and a drawn item.

    References:
        Rendle et al., BPR: Bayesian Personalized Ranking from Implicit Feedback, UAI 2009.
    """

    name: ClassVar[str] = "BPR"
    package: ClassVar[str] = "implicit"
    task: ClassVar[str] = "ranking"
    seeded: ClassVar[bool] = True

    def grid(self, learned: Learned) -> Sequence[Settings]:
        """Return settings around the documented ones."""
        return [
            {"factors": 64, "learning_rate": rate, "regularization": ridge, "iterations": iterations}
            for rate, ridge, iterations in itertools.product((0.01, 0.05), (0.001, 0.01, 0.05), (100, 300))
        ]

    def refusal(self, learned: Learned) -> str | None:
        """It has no factors for whoever training does not know."""
        return "it knows no user that training does not know" if learned.gives_histories else None

    def fitted(self, learned: Learned, settings: Settings, seed: int) -> Scores:
        """Fit factors of users and items."""
        import torch
        from implicit.cpu.bpr import BayesianPersonalizedRanking

        model = BayesianPersonalizedRanking(**settings, random_state=seed, num_threads=1)
        model.fit(learned.matrix(), show_progress=False)
        return lambda part: torch.from_numpy(model.user_factors[part.user] @ model.item_factors[1:].T)


class ItemNeighbours(Peer):
    """Items that are met by the same users, by the cosine of plain, TF-IDF or BM25 weights."""

    name: ClassVar[str] = "item neighbours"
    package: ClassVar[str] = "implicit"
    task: ClassVar[str] = "ranking"
    seeded: ClassVar[bool] = False

    def grid(self, learned: Learned) -> Sequence[Settings]:
        """Return each distance with several numbers of neighbours."""
        weights = (ONES, TOLD) if learned.tells_weights else (ONES,)
        return [
            {"distance": distance, "K": neighbours, "weights": kind}
            for kind, distance, neighbours in itertools.product(
                weights, ("cosine", "tfidf", "bm25"), (20, 50, 100, 200, 500)
            )
        ]

    def fitted(self, learned: Learned, settings: Settings, seed: int) -> Scores:
        """Count neighbours."""
        import torch
        from implicit import nearest_neighbours
        from implicit.utils import ParameterWarning

        kinds = {
            "cosine": nearest_neighbours.CosineRecommender,
            "tfidf": nearest_neighbours.TFIDFRecommender,
            "bm25": nearest_neighbours.BM25Recommender,
        }
        model, kind = kinds[settings["distance"]](K=settings["K"], num_threads=1), settings["weights"]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ParameterWarning)  # the library converts what it weighted itself
            model.fit(learned.matrix(kind).astype(np.float64), show_progress=False)
        similarity = model.similarity.astype(np.float32)

        def scores(part: Interactions) -> Any:
            return torch.from_numpy((learned.profiles(part, kind) @ similarity).toarray()[:, 1:])

        return scores


def _without(settings: Settings, *names: str) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if name not in names}
