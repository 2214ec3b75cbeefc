"""Parameter-efficient fine-tuning of frozen language models into recommenders."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["Recommender", "__version__"]

if TYPE_CHECKING:
    from llmrec_peft.run.recommender import Recommender


def __getattr__(name: str) -> Any:
    """Import `Recommender` on first use, so that `import llmrec_peft` does not import torch."""
    if name == "Recommender":
        from llmrec_peft.run.recommender import Recommender

        return Recommender
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
