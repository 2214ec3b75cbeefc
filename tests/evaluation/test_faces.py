"""`evaluate` faces: offline, in batches, combined, and the same figures as the numpy core."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from llmrec_peft.evaluation.click_metrics import click_report
from llmrec_peft.evaluation.ranking_metrics import hit_rate_at_k, mrr, ndcg_at_k, target_rank
from llmrec_peft.evaluation.rating_metrics import rating_report

evaluate = pytest.importorskip("evaluate")
faces: Any = pytest.importorskip("llmrec_peft.evaluation.faces")


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*arguments: object) -> None:
        raise AssertionError("a metric asked the network")

    monkeypatch.setattr("socket.socket.connect", refused)


@pytest.fixture
def cache(tmp_path: Path) -> str:
    return str(tmp_path)


def in_batches(metric: Any, size: int = 7, **columns: Any) -> None:
    for at in range(0, len(columns["references"]), size):
        metric.add_batch(**{name: column[at : at + size] for name, column in columns.items()})


def test_rating_faces_combine(cache: str) -> None:
    rng = np.random.default_rng(0)
    predicted, observed = rng.uniform(1, 5, 50).astype(np.float32), rng.integers(1, 6, 50).astype(np.float32)
    combined = evaluate.combine([faces.Rmse(cache_dir=cache), faces.Mae(cache_dir=cache)])
    in_batches(combined, predictions=predicted, references=observed)
    assert combined.compute() == rating_report(predicted, observed)
    alone = faces.Rmse(cache_dir=cache).compute(predictions=predicted, references=observed)
    assert alone == {"rmse": rating_report(predicted, observed)["rmse"]}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_click_faces_combine_and_read_users_where_they_need_them(cache: str, dtype: type) -> None:
    rng = np.random.default_rng(1)
    probability, label = (rng.integers(0, 8, 80) / 7).astype(dtype), rng.integers(0, 2, 80)
    user = rng.integers(1, 9, 80)
    expected = click_report(probability, label, user)
    del expected["uauc_users_left_out"]
    kinds = (faces.Auc, faces.LogLoss, faces.UserAuc, faces.Ece)
    combined = evaluate.combine([kind(cache_dir=cache) for kind in kinds])
    in_batches(combined, predictions=probability, references=label, users=user)
    assert combined.compute() == expected
    columns = {"predictions": probability, "references": label}
    assert combined.compute(**columns, users=user) == expected
    assert faces.Auc(cache_dir=cache).compute(**columns) == {"auc": expected["auc"]}
    with pytest.raises(ValueError, match="users"):
        faces.UserAuc(cache_dir=cache).compute(**columns)


@pytest.mark.parametrize("k", [1, 5, 10])
def test_ranking_faces_combine_and_take_rows_of_unequal_length(cache: str, k: int) -> None:
    rng = np.random.default_rng(2)
    scores = [rng.integers(0, 9, width).astype(float) for width in rng.integers(3, 30, 40)]
    target = [int(rng.integers(0, len(row))) for row in scores]
    rank = np.array([target_rank(row[None], np.array([at]))[0] for row, at in zip(scores, target, strict=True)])
    kinds = (faces.HitRate, faces.Ndcg, faces.Mrr)
    combined = evaluate.combine([kind(cache_dir=cache) for kind in kinds])
    in_batches(combined, predictions=scores, references=target)
    expected = {f"hr@{k}": hit_rate_at_k(rank, k), f"ndcg@{k}": ndcg_at_k(rank, k), "mrr": mrr(rank)}
    assert combined.compute(k=k) == expected
    table = rng.random((12, 20))
    alone = faces.Ndcg(cache_dir=cache).compute(predictions=table, references=np.arange(12))
    assert alone == {"ndcg@10": ndcg_at_k(target_rank(table, np.arange(12)), 10)}
