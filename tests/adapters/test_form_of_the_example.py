"""Form of the example package's method: a stranger's rows share passes like any other's."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rows_by_forms import TEXTS, drift, mixed, stirred

from llmrec_peft.backbone.load import Backbone

FILE = Path(__file__).resolve().parents[2] / "examples" / "plugin" / "llmrec_example_plugin" / "miss.py"


@pytest.fixture(scope="module")
def miss() -> Any:
    """The module of the example's method, whose package is not installed here."""
    spec = importlib.util.spec_from_file_location("example_miss", FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("family", ["tiny-bert", "tiny-llama"])
@pytest.mark.parametrize("ranks", [(4, 4), (8, 5)])  # 5 does not divide the width
def test_rows_of_miss_are_their_texts_alone(
    ranks: tuple[int, int], family: str, miss: Any, fresh: Callable[..., Backbone], tmp_path: Path
) -> None:
    backbone = fresh(family)
    methods = [miss.Miss(miss.MissOptions(rank=rank, layers=("all", "top-2")[at])) for at, rank in enumerate(ranks)]
    saved = [stirred(method, backbone, tmp_path / str(at), seed=at) for at, method in enumerate(methods)]
    mixing = [one.mixing(backbone) for one in saved]
    found = mixed(backbone, [mixing[at] for at in (0, 1, 1, 0)])
    swapped = mixed(backbone, [mixing[at] for at in (1, 0, 0, 1)])
    for at, text, row, other in zip((0, 1, 1, 0), TEXTS, found, swapped, strict=True):
        assert drift(row, saved[at].alone(backbone, text)) <= 1e-5
        assert drift(other, row) > 1e-3
