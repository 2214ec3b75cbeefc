"""Shared tensors: what the forms of several adapters hold beside their slots, in the slabs once for all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from llmrec_peft.serving.mixing.slabs import PageKind, Slabs

if TYPE_CHECKING:
    from torch import Tensor

    from llmrec_peft.backbone.batched import BatchedForm

Key = tuple[object, ...]


@dataclass
class _Kept:
    tensors: dict[str, Tensor] = field(default_factory=dict)
    pages: list[tuple[PageKind, list[int]]] = field(default_factory=list)
    users: int = 0


class SharedTensors:
    """Tensors by the key of a form, counted by the adapters that read them."""

    def __init__(self, slabs: Slabs) -> None:
        """Begin without tensors, in the memory of slabs."""
        self._slabs = slabs
        self._kept: dict[Key, _Kept] = {}

    def take(self, form: BatchedForm) -> Key | None:
        """Keep the tensors of a form from now on and return its key; None if it shares nothing.

        Raises:
            InputError: If the budget has no room for them; nothing is taken then.
        """
        if not form.shared:
            return None
        key = form.key
        if key not in self._kept:
            self._kept[key] = self._stored(form)
        self._kept[key].users += 1
        return key

    def hand(self, key: Key, form: BatchedForm) -> None:
        """Let a form read the tensors that are kept: once its adapter is in memory, since they may be freed before."""
        form.share(self._kept[key].tensors)

    def give(self, key: Key) -> None:
        """End one adapter's use; the last one frees the memory."""
        kept = self._kept[key]
        kept.users -= 1
        if not kept.users:
            self._free(kept.pages)
            del self._kept[key]

    def _stored(self, form: BatchedForm) -> _Kept:
        kept = _Kept()
        try:
            for name, tensor in form.shared.items():
                kind = whole(tensor)
                pages = self._slabs.take(kind, 1)
                kept.pages.append((kind, pages))
                self._slabs.write(kind, pages, tensor)
                kept.tensors[name] = self._slabs.pages(kind)[pages[0]]
        except BaseException:
            self._free(kept.pages)
            raise
        return kept

    def _free(self, taken: Sequence[tuple[PageKind, list[int]]]) -> None:
        for kind, pages in taken:
            self._slabs.give(kind, pages)


def whole(tensor: Tensor) -> PageKind:
    """Return the kind of pages that hold one tensor each."""
    return PageKind(tuple(tensor.shape), tensor.dtype)
