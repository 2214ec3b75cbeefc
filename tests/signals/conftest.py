"""Fixtures of the signals' tests: a small rating table with a cold user and a cold item."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from llmrec_peft.data.interactions import Interactions
from llmrec_peft.signals.collaborative import Collaborative, CollaborativeOptions
from llmrec_peft.signals.contract import SignalContext

USERS, ITEMS, DIM = 9, 8, 4
"""Rows of the tables; user 8 and item 7 have no rating, row 0 stands for the unknown."""


@pytest.fixture
def ratings() -> Interactions:
    """About half of the pairs of users 1-7 and items 1-6."""
    rng = np.random.default_rng(0)
    user, item = np.nonzero(rng.random((7, 6)) < 0.55)
    label = rng.integers(1, 6, len(user)).astype(np.float32)
    return Interactions(user.astype(np.int64) + 1, item.astype(np.int64) + 1, label, np.zeros(len(user), np.int64))


@pytest.fixture
def collaborative() -> Callable[..., Collaborative]:
    """A signal over given ratings whose every table and weight is drawn from one seed."""

    def make(train: Interactions, **options: Any) -> Collaborative:
        signal = Collaborative(CollaborativeOptions(**options))
        signal.parts = signal.build(SignalContext(USERS, ITEMS, DIM, train, None, None))
        torch.manual_seed(5)
        for parameter in signal.parts.parameters():
            torch.nn.init.normal_(parameter)
        return signal

    return make
