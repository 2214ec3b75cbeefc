"""Forms of mixed batches with virtual tokens: embeddings or keys that stand before each row's text."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from llmrec_peft.plugins import MODEL, BatchedForm, SavedTensors, Slot

if TYPE_CHECKING:
    from torch import Tensor

    from llmrec_peft.plugins import Backbone

SAVED = "prompt_embeddings"
"""Name under which PEFT saves virtual tokens, of prompt tuning and of prefix tuning."""


class EmbeddingsBefore(BatchedForm):
    """Trained embeddings before each row's text, in the sequence."""

    ragged: ClassVar[frozenset[str]] = frozenset({"embeddings"})
    front: ClassVar[Literal["embeddings", "keys", None]] = "embeddings"

    @property
    def key(self) -> tuple[object, ...]:
        """The form's name: nothing but the tensor differs."""
        return ("embeddings-before",)

    def slots(self, saved: SavedTensors, backbone: Backbone) -> dict[str, Slot]:
        """Return ``embeddings`` [tokens, width] in the number format of the model's own."""
        table = backbone.model.get_input_embeddings().weight  # type: ignore[operator]
        own = saved[SAVED]
        return {MODEL: Slot({"embeddings": own.to(table.dtype) if table.is_floating_point() else own})}


class KeysBefore(BatchedForm):
    """Trained keys and values before each row's text, in each layer's attention."""

    ragged: ClassVar[frozenset[str]] = frozenset({"keys", "values"})
    front: ClassVar[Literal["embeddings", "keys", None]] = "keys"

    def __init__(self, sizes: Callable[[Backbone], tuple[int, int, int]]) -> None:
        """Set how a saved prefix is divided.

        Args:
            sizes: Returns layers, heads of keys and values, and width of a head, as the single run takes them.
        """
        self._sizes = sizes

    @property
    def key(self) -> tuple[object, ...]:
        """The form's name: nothing but the tensors differs."""
        return ("keys-before",)

    def slots(self, saved: SavedTensors, backbone: Backbone) -> dict[str, Slot]:
        """Return ``keys`` and ``values`` [tokens, depth, kv_heads, head_dim] in the model's number format.

        PEFT saves [tokens, depth · 2 · kv width], the keys of a layer before its values.
        """
        dtype: Any = backbone.model.dtype
        own: Tensor = saved[SAVED].to(dtype)
        depth, heads, size = self._sizes(backbone)
        own = own.view(len(own), depth, 2, heads, size)
        return {MODEL: Slot({"keys": own[:, :, 0].contiguous(), "values": own[:, :, 1].contiguous()})}
