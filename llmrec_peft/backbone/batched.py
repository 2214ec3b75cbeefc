"""Contract of mixed batches: the rows of one pass through the base are each changed by an adapter of their own.

An adapter in memory is a slot: for each module that it changes, a few tensors. Whoever runs the pass
(`llmrec_peft.serving`) owns slots, hooks, the order of rows, masks and positions; a form owns the arithmetic, and a
method says by which form its rows are computed. What has no form is run in passes of its own.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from llmrec_peft.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from llmrec_peft.backbone.load import Backbone

MODEL = ""
"""Name of the site that is the whole bare transformer, no module inside it: tokens in front of a text belong there."""


@dataclass(frozen=True)
class Slot:
    """What one adapter holds for one site.

    Attributes:
        tensors: Tensors by name. Of those in `BatchedForm.ragged` the first axis is the adapter's rank (or inner width,
            or number of tokens), which may differ from adapter to adapter.
        reads: Name of the module whose input is handed on as `inputs`, where that is not the site's own: a network
            beside a block reads what goes into the block's first module and changes what comes out of its last one.
    """

    tensors: Mapping[str, Tensor]
    reads: str | None = None


class SavedTensors(Mapping[str, "Tensor"]):
    """The tensors of an adapter's file by name, and which of them nothing has asked for yet.

    >>> saved = SavedTensors({"a": 1, "b": 2})
    >>> saved["a"], saved.unread()
    (1, ['b'])
    """

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        self._tensors = dict(tensors)
        self._read: set[str] = set()

    def __getitem__(self, name: str) -> Tensor:
        tensor = self._tensors[name]
        self._read.add(name)
        return tensor

    def __contains__(self, name: object) -> bool:
        return name in self._tensors  # asking whether it is there is not reading it

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def __len__(self) -> int:
        return len(self._tensors)

    def unread(self) -> list[str]:
        """Return the names that nothing has asked for, in order: each would be left out of every answer."""
        return sorted(set(self._tensors) - self._read)


class BatchedForm(ABC):
    """How rows of a pass are changed at a module, each by the slot of its own adapter.

    A form is made by `AdapterMethod.batched` for an adapter's options. Forms with equal `key` are computed together:
    the key holds all that is no tensor (an activation, a scale that is not multiplied into a tensor).

    At every site `before` and `behind` are given the rows of adapters that have a slot there, and only these. Tensors
    of `ragged` are padded with zeros along their first axis to the longest of the pass; a form may rely on that and
    must give the same result for any such padding.
    """

    ragged: ClassVar[frozenset[str]] = frozenset()
    """Names of tensors whose first axis differs from adapter to adapter; zeros behind it have to change nothing."""
    front: ClassVar[Literal["embeddings", "keys", None]] = None
    """What stands in front of a text: nothing; the tensor ``embeddings`` [tokens, width] of the site `MODEL`, in the
    sequence; or ``keys`` and ``values`` [tokens, depth, kv_heads, head_dim] of `MODEL`, in each layer's attention."""
    by_token: ClassVar[bool] = False
    """Whether `before` and `behind` change each token by itself. Rows of one adapter that follow one another may then
    be given as one row with the tokens of all of them, so that its tensors are read once."""

    @property
    @abstractmethod
    def key(self) -> tuple[object, ...]:
        """What adapters have to share to be computed together; begins with the form's name.

        It is read after `slots`, from which a form may take a part of it: a digest of what its adapters share.
        """

    @abstractmethod
    def slots(self, saved: SavedTensors, backbone: Backbone) -> dict[str, Slot]:
        """Return what a saved adapter fills a slot with, by site.

        Args:
            saved: Tensors of ``adapter_model.safetensors``, already held against the method's own names and shapes.
            backbone: The bare base.

        Returns:
            Slots by the module's dotted name inside the bare transformer, or `MODEL`.

        Raises:
            InputError: If the tensors do not fit the base.
        """

    @property
    def shared(self) -> Mapping[str, Tensor]:
        """Tensors that all adapters of one key read beside their slots; known after `slots`.

        Whoever runs passes keeps them once, within the memory for adapters, and hands them back by `share`.
        """
        return {}

    def share(self, tensors: Mapping[str, Tensor]) -> None:
        """Read these in place of the tensors that `shared` returned; they are equal to them."""
        if tensors:
            raise NotImplementedError(f"{type(self).__name__}.share: who shares tensors reads those that are kept")

    def before(self, inputs: Tensor, slot: Mapping[str, Tensor]) -> Tensor:
        """Return what goes into the module instead of `inputs`.

        Args:
            inputs: Rows' inputs, [rows, tokens, in], or token ids where the module is a table.
            slot: Their adapters' tensors, each [rows, …], in the base's number format unless the form keeps fp32.
        """
        return inputs

    def behind(self, inputs: Tensor, output: Tensor, slot: Mapping[str, Tensor]) -> Tensor:
        """Return what comes out of the module instead of `output`.

        Args:
            inputs: What went into the module (or into `Slot.reads`) before `before` changed it, [rows, tokens, in].
            output: What came out, [rows, tokens, out]. Unless gradients are recorded nobody else reads it, so a form
                may change it in place and return it.
            slot: As in `before`.
        """
        return output


def filled(form: BatchedForm, tensors: Mapping[str, Tensor], backbone: Backbone, where: str) -> dict[str, Slot]:
    """Return the slots of a saved adapter, every tensor of which found its site.

    Args:
        form: The adapter's form.
        tensors: Its tensors.
        backbone: The bare base.
        where: The adapter's name in messages.

    Raises:
        InputError: If a tensor was not used, a site is no module of the base, or ragged tensors of a slot differ in
            their first axis.
    """
    saved = SavedTensors(tensors)
    slots = form.slots(saved, backbone)
    left = saved.unread()
    if left:
        raise InputError(f"{where}: {len(left)} of its tensors fit no module of the base, first {left[0]}")
    known = {name for name, _ in backbone.model.named_modules()} | {MODEL}
    for site, slot in slots.items():
        for name in filter(None, (site, slot.reads)):
            if name not in known:
                raise InputError(f"{where}: the base has no module {name}")
        lengths = {len(tensor) for name, tensor in slot.tensors.items() if name in form.ragged}
        if len(lengths) > 1:
            raise InputError(f"{where}: the tensors of {site or 'the model'} have unlike ranks {sorted(lengths)}")
    return slots
