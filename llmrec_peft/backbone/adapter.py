"""Contract of an adapter method: the small modules that are trained inside the frozen model."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Generic, TypeVar

from llmrec_peft.errors import InputError
from llmrec_peft.options import Options

if TYPE_CHECKING:
    from torch import Tensor, nn

    from llmrec_peft.backbone.load import Backbone

C = TypeVar("C", bound=Options)


@dataclass(frozen=True)
class Capabilities:
    """What a method can do; asking for more is refused before anything is loaded.

    Attributes:
        encoder: Works in encoders.
        decoder: Works in decoders.
        int8: Trains on 8-bit weights.
        nf4: Trains on 4-bit weights.
        mergeable: Can be folded into the base weights.
        batchable: Rows of one batch may belong to adapters of several tenants.
    """

    encoder: bool
    decoder: bool
    int8: bool
    nf4: bool
    mergeable: bool
    batchable: bool


class AdapterMethod(ABC, Generic[C]):
    """One way of tuning a frozen model with few parameters.

    A method is one file: its options, this class, and one entry-point line. Torch and peft are imported
    inside the functions that compute.
    """

    summary: ClassVar[str]
    """One line for `llmrec list`."""
    Config: ClassVar[type[Options]]
    """The method's options."""
    capabilities: ClassVar[Capabilities]
    """What it can do."""

    def __init__(self, config: C) -> None:
        self.config = config

    @abstractmethod
    def attach(self, backbone: Backbone) -> nn.Module:
        """Put fresh modules into a frozen model; they start as identity.

        Returns:
            A module that is called as the bare transformer is.
        """

    @abstractmethod
    def lowest_layer(self, backbone: Backbone) -> int | None:
        """Index of the lowest layer that training can change; None where it changes nothing."""

    @abstractmethod
    def save(self, model: nn.Module, backbone: Backbone, folder: Path) -> None:
        """Write ``adapter_config.json`` and ``adapter_model.safetensors`` as stock PEFT lays them out."""

    @abstractmethod
    def load(self, backbone: Backbone, folder: Path) -> nn.Module:
        """Attach the modules that `save` wrote.

        Raises:
            InputError: When the files do not fit the model.
        """

    def regularization(self, model: nn.Module) -> Tensor | None:
        """A penalty that the method adds to the loss, if any."""
        return None

    def after_step(self, model: nn.Module, step: int, total_steps: int) -> None:
        """Called after every optimizer step with gradients still in place."""


def require_capabilities(name: str, method: type[AdapterMethod[Options]], quantization: str, kind: str | None) -> None:
    """Refuse a pair of method and base that cannot work.

    Args:
        name: The method's registered name.
        method: The method.
        quantization: ``none``, ``int8`` or ``nf4``.
        kind: ``encoder`` or ``decoder``, or None where it is not known yet.

    Raises:
        InputError: Saying what would work.
    """
    able = method.capabilities
    precisions = ["none", *(["int8"] if able.int8 else []), *(["nf4"] if able.nf4 else [])]
    if quantization not in precisions:
        raise InputError(f"adapter {name!r} cannot train on {quantization} weights; it can on {', '.join(precisions)}")
    if kind is not None and not getattr(able, kind):
        raise InputError(f"adapter {name!r} does not work in a {kind}")
