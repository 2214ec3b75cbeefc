"""Retrieval: vectors whose inner product is a run's score, and indices that find the best items among many."""

from __future__ import annotations

from llmrec_peft.retrieval.index import KINDS, Index
from llmrec_peft.run.vectors import ItemVectors, UserVectors

__all__ = ["KINDS", "Index", "ItemVectors", "UserVectors"]
