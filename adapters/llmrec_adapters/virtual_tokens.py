"""VirtualTokens: a model with trained tokens or keys in front, called and answering like the bare transformer."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from llmrec_peft.errors import InputError


class VirtualTokens(nn.Module):
    """Hides from the caller that something stands before its tokens.

    Prompt tuning answers n more states than tokens; they are cut off, or they would be pooled with the text.
    Prefix tuning shifts position ids by n, as if the text began n tokens later (PEFT 0.21 adds n even to ids that
    it is given); the base is handed the text's own ids, so that every text keeps its positions and the longest
    one its room.
    """

    def __init__(self, peft_model: nn.Module, tokens: int, in_sequence: bool) -> None:
        """Wrap a `PeftModel`.

        Args:
            peft_model: What PEFT attached.
            tokens: Number of virtual tokens.
            in_sequence: Whether they stand in the sequence (prompt) or in the attention's cache (prefix).
        """
        super().__init__()
        self.peft_model = peft_model
        self._tokens = tokens
        self._in_sequence = in_sequence
        if not in_sequence:
            self.peft_model.base_model.register_forward_pre_hook(_own_positions, with_kwargs=True)  # type: ignore[union-attr]

    @property
    def config(self) -> Any:
        """The base model's configuration."""
        return self.peft_model.config

    def forward(self, input_ids: Tensor, attention_mask: Tensor, **further: Any) -> Any:
        """Answer as the bare transformer does.

        Raises:
            InputError: When text and virtual tokens together are longer than the model's window.
        """
        length = input_ids.shape[1]
        if not self._in_sequence:
            return self.peft_model(input_ids=input_ids, attention_mask=attention_mask, **further)
        window = getattr(self.config, "max_position_embeddings", None)
        if window is not None and length + self._tokens > window:
            raise InputError(
                f"adapter.num_virtual_tokens: {self._tokens} and a text of {length} tokens are more than the"
                f" model's window of {window}: lower one, or views.item.max_length"
            )
        output = self.peft_model(input_ids=input_ids, attention_mask=attention_mask, **further)
        output.last_hidden_state = output.last_hidden_state[:, self._tokens :]
        return output


def _own_positions(_base: nn.Module, args: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    ids = kwargs["input_ids"]
    return args, {**kwargs, "position_ids": torch.arange(ids.shape[1], device=ids.device).expand(len(ids), -1)}
