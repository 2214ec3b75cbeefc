"""RecModel: text encoder, signals, fusion and heads of a recipe as one trainable module."""

from __future__ import annotations

from llmrec_peft.model.rec_model import RecModel
from llmrec_peft.model.text_plan import TextPlan, plan_texts, reads_history, reads_prompt, reads_text

__all__ = ["RecModel", "TextPlan", "plan_texts", "reads_history", "reads_prompt", "reads_text"]
