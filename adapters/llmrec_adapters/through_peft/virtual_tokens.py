"""VirtualTokens: a model with trained tokens or keys in front, called and answering like the bare transformer."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from llmrec_peft.plugins import InputError, first_position, token_room


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
        self._first = first_position(peft_model)
        self._room = token_room(peft_model)
        if not in_sequence:
            self.peft_model.base_model.register_forward_pre_hook(self._own_positions, with_kwargs=True)  # type: ignore[union-attr]

    @property
    def config(self) -> Any:
        """The base model's configuration."""
        return self.peft_model.config

    def get_input_embeddings(self) -> nn.Module:
        """Return the base model's token embeddings."""
        embeddings: nn.Module = self.peft_model.get_base_model().get_input_embeddings()  # type: ignore[operator]
        return embeddings

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        **further: Any,
    ) -> Any:
        """Answer as the bare transformer does, by token ids or by their embeddings.

        Raises:
            InputError: When text and virtual tokens together are longer than the model's window.
        """
        given = inputs_embeds if input_ids is None else input_ids
        assert given is not None  # noqa: S101 - one of both is there
        if further.get("past_key_values") is not None:
            return self._continued(given, attention_mask, **further)
        length = given.shape[1]
        further |= {"input_ids": input_ids} if inputs_embeds is None else {"inputs_embeds": inputs_embeds}
        if not self._in_sequence:
            return self.peft_model(attention_mask=attention_mask, **further)
        if self._room is not None and length + self._tokens > self._room:
            raise InputError(
                f"adapter.num_virtual_tokens: {self._tokens} and a text of {length} tokens are more than the"
                f" model's window of {self._room}: lower one, or views.item.max_length"
            )
        output = self.peft_model(attention_mask=attention_mask, **further)
        output.last_hidden_state = output.last_hidden_state[:, self._tokens :]
        return output

    def _continued(self, input_ids: Tensor, attention_mask: Tensor | None, **further: Any) -> Any:
        """Go on behind a text whose keys and values a cache holds, those of the virtual tokens in front.

        Args:
            input_ids: The next tokens, [n, length].
            attention_mask: 1 for every token of the text so far and of the next ones, [n, all].
            further: The cache, as an earlier call answered it, and what else the bare transformer takes.
        """
        assert attention_mask is not None  # noqa: S101 - it says how long the text is so far
        rows, length = input_ids.shape
        before = attention_mask.shape[1] - length + (self._tokens if self._in_sequence else 0)
        before += self._first
        places = torch.arange(before, before + length, device=input_ids.device).expand(rows, -1)
        whole = torch.cat([attention_mask.new_ones(rows, self._tokens), attention_mask], dim=1)
        base: Any = self.peft_model.base_model
        # not called as a module: the hook that lays the first pass's positions out from 0 has no part in this
        return base.forward(input_ids=input_ids, attention_mask=whole, position_ids=places, **further)

    def _own_positions(self, _base: nn.Module, args: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        given = kwargs["inputs_embeds"] if kwargs.get("input_ids") is None else kwargs["input_ids"]
        last = self._first + given.shape[1]
        places = torch.arange(self._first, last, device=given.device).expand(len(given), -1)
        return args, {**kwargs, "position_ids": places}
