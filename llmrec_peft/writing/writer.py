"""Writer: a decoder, plain or with an adapter inside, that goes on where a prompt ends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from llmrec_peft.backbone.output_embedding import output_table
from llmrec_peft.backbone.quiet import quiet_transformers
from llmrec_peft.errors import InputError

if TYPE_CHECKING:
    from llmrec_peft.backbone.load import Backbone

MAX_TOKENS = 72
"""Tokens of an answer at most: two sentences."""


@dataclass(frozen=True)
class Example:
    """A prompt and the answer that is to follow it.

    Attributes:
        prompt: Token ids of the prompt.
        answer: Token ids of the answer.
    """

    prompt: tuple[int, ...]
    answer: tuple[int, ...]


class Writer:
    """Writes and rates texts with a frozen decoder and whatever adapter is inside it.

    The model in memory is the bare transformer, which an adapter goes into; words are chosen by its output
    embedding, the tied or the stored one.
    """

    def __init__(self, backbone: Backbone, model: nn.Module | None = None) -> None:
        """Take a decoder.

        Args:
            backbone: The decoder.
            model: It with an adapter inside; the bare one by default.

        Raises:
            InputError: For an encoder.
        """
        if backbone.kind != "decoder":
            raise InputError(
                f"backbone {backbone.identity.name} is an encoder and cannot write: give a decoder, such as smollm2"
            )
        self.backbone = backbone
        self.model = backbone.model if model is None else model
        self._table = output_table(backbone)
        tokenizer = backbone.tokenizer
        self.end = int(tokenizer.eos_token_id if tokenizer.eos_token_id is not None else backbone.pad_id)

    @property
    def vocabulary(self) -> int:
        """Tokens that there are to choose from."""
        return len(self._table)

    def prompt(self, text: str) -> tuple[int, ...]:
        """Token ids of a request, in the model's chat format where it has one."""
        backbone = self.backbone
        wrapped = backbone.chat(text) if backbone.chats else f"{text}\n"
        return tuple(backbone.tokenize([wrapped], None, special=not backbone.chats)[0])

    def answer(self, text: str, tokens: int) -> tuple[int, ...]:
        """Token ids of an answer, cut to so many; the end of a whole one is part of it."""
        ids = self.backbone.tokenize([text], None, special=False)[0]
        return tuple(ids[:tokens]) if len(ids) > tokens else (*ids, self.end)

    def losses(self, examples: Sequence[Example]) -> tuple[Tensor, Tensor]:
        """How unlikely answers are.

        Args:
            examples: Prompts with answers.

        Returns:
            Summed negative log-likelihood of each answer's tokens, in nats, and their number, float32 [n] each;
            the former is differentiable with respect to the adapter.
        """
        device, pad = self.backbone.device, self.backbone.pad_id
        rows = [[*example.prompt, *example.answer] for example in examples]
        width = max(len(row) for row in rows)
        ids = torch.tensor([row + [pad] * (width - len(row)) for row in rows], device=device)
        mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows], device=device)
        states = self.model(input_ids=ids, attention_mask=mask).last_hidden_state
        where = [
            (row, len(example.prompt) - 1 + place)
            for row, example in enumerate(examples)
            for place in range(len(example.answer))
        ]
        row, place = (torch.tensor(values, device=device) for values in zip(*where, strict=True))
        logits = self._logits(states[row, place])
        loss = nn.functional.cross_entropy(logits, ids[row, place + 1], reduction="none")
        counts = torch.tensor([float(len(example.answer)) for example in examples], device=device)
        return loss.new_zeros(len(examples)).index_add(0, row, loss), counts

    def write(self, text: str, lead: str = "", max_tokens: int = MAX_TOKENS) -> str:
        """Answer a request, taking the likeliest token at each place.

        Args:
            text: The request.
            lead: How the answer begins; the model goes on from there.
            max_tokens: Tokens written at most.

        Returns:
            The answer with its lead, in one line.

        Raises:
            InputError: When the request is longer than the model's window.
        """
        prompt = self.prompt(text)
        if lead:
            prompt = (*prompt, *self.backbone.tokenize([lead], None, special=False)[0])
        if len(prompt) + max_tokens > self.backbone.window:
            raise InputError(
                f"the evidence takes {len(prompt)} tokens, too many for the window of {self.backbone.window}:"
                " --top tells fewer pieces"
            )
        written: list[int] = []
        ids, cache = list(prompt), None
        self.model.eval()
        with torch.no_grad(), quiet_transformers():  # it calls the cache's name, which older versions want, outdated
            for _ in range(max_tokens):
                token, cache = self._next(ids, len(prompt) + len(written), cache)
                if token == self.end:
                    break
                written.append(token)
                ids = [token]
        decoded = str(self.backbone.tokenizer.decode(written, skip_special_tokens=True))
        return " ".join(f"{lead}{decoded}".split())

    def _next(self, ids: list[int], length: int, cache: Any) -> tuple[int, Any]:
        """The likeliest token behind some new ones, and keys and values of all `length` tokens so far."""
        device = self.backbone.device
        further = {} if cache is None else {"past_key_values": cache}
        output = self.model(
            input_ids=torch.tensor([ids], device=device),
            attention_mask=torch.ones(1, length, dtype=torch.int64, device=device),
            use_cache=True,
            **further,
        )
        return int(self._logits(output.last_hidden_state[0, -1:]).argmax()), output.past_key_values

    def _logits(self, states: Tensor) -> Tensor:
        """Logits of the vocabulary, float32 [..., vocabulary]."""
        return (states.to(self._table.dtype) @ self._table.T).float()
