"""RecModel: text encoder, signals, fusion and heads of a recipe as one trainable module."""

from __future__ import annotations

from llmrec_peft.model.rec_model import RecModel
from llmrec_peft.model.text_plan import TextPlan, plan_texts

__all__ = ["RecModel", "TextPlan", "plan_texts"]
