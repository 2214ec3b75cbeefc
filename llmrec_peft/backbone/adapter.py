"""Contract of an adapter method: small modules that are trained inside the frozen model."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Self, TypeVar

from llmrec_peft.backbone.facts import BackboneFacts
from llmrec_peft.errors import InputError
from llmrec_peft.options import Options

if TYPE_CHECKING:
    from torch import Tensor, nn

    from llmrec_peft.backbone.batched import BatchedForm
    from llmrec_peft.backbone.combination import Combination
    from llmrec_peft.backbone.load import Backbone
    from llmrec_peft.backbone.shapes import ModelShapes

C = TypeVar("C", bound=Options)


@dataclass(frozen=True)
class Capabilities:
    """What a method can do; other requests are refused before anything is loaded.

    Attributes:
        encoder: Works in encoders.
        decoder: Works in decoders.
        int8: Trains on 8-bit weights.
        nf4: Trains on 4-bit weights.
        mergeable: Can be folded into the base weights.
        starts_as_identity: A fresh adapter does not change the model's output.
        gradient_checkpointing: Trains with activations recomputed in the backward pass.
        mergeable_quantized: If mergeable, into 8-bit and 4-bit weights too.
    """

    encoder: bool
    decoder: bool
    int8: bool
    nf4: bool
    mergeable: bool
    starts_as_identity: bool = True
    gradient_checkpointing: bool = True
    mergeable_quantized: bool = True

    def merges(self, quantization: str) -> bool:
        """Tell whether the method can be folded into weights of this quantization (``none``, ``int8`` or ``nf4``)."""
        return self.mergeable and (self.mergeable_quantized or quantization == "none")

    @property
    def quantizations(self) -> tuple[str, ...]:
        """Quantizations of the base that the method trains on, ``none`` first."""
        return ("none", *(["int8"] if self.int8 else []), *(["nf4"] if self.nf4 else []))


class AdapterMethod(ABC, Generic[C]):
    """One way to tune a frozen model with few parameters.

    A method is one file: its options, this class, and one entry-point line. Torch and peft are imported inside the
    functions that compute. A method never writes into the base model's own weights: the base is shared, and
    `Backbone.detach` restores its module tree.
    """

    summary: ClassVar[str]
    """One line for `llmrec list`."""
    paper: ClassVar[str] = ""
    """Where the method was published."""
    Config: ClassVar[type[Options]]
    """The method's options."""
    capabilities: ClassVar[Capabilities]
    """What it can do."""
    grouped_because: ClassVar[str] = "it has no form for mixed batches"
    """Why `batched` returns None, where it does: what the conformance suite says of the method's rows."""

    def __init__(self, config: C) -> None:
        self.config = config

    @abstractmethod
    def attach(self, backbone: Backbone) -> nn.Module:
        """Put fresh modules into a frozen model.

        Args:
            backbone: The model; `Backbone.model` is the bare transformer, `Backbone.shapes` its layers as plain data.

        Returns:
            A module that is called like the bare transformer, with `input_ids` and `attention_mask`, and returns
                `last_hidden_state` [n, length, width] for these tokens.
        """

    @abstractmethod
    def lowest_layer(self, backbone: Backbone) -> int | None:
        """Find the lowest layer that training can change; the output of the layers below is computed once and stored.

        Returns:
            Its index from 0; None if training changes nothing in the model.
        """

    @abstractmethod
    def save(self, model: nn.Module, backbone: Backbone, folder: Path) -> None:
        """Write ``adapter_config.json`` and ``adapter_model.safetensors`` in the layout of stock PEFT.

        Args:
            model: What `attach` returned, trained.
            backbone: Its base, which the files name by the hash of its weights (`write_adapter`).
            folder: Folder to write to.
        """

    @abstractmethod
    def load(self, backbone: Backbone, folder: Path) -> nn.Module:
        """Attach the modules that `save` wrote.

        Args:
            backbone: The base without an adapter.
            folder: Folder of the two files.

        Returns:
            A module as `attach` returns, with the values that were saved.

        Raises:
            InputError: If the files do not fit the model, which then stays unchanged.
        """

    @abstractmethod
    def parameter_count(self, shapes: ModelShapes) -> int:
        """Count the trained parameters in a model of these shapes, by formula, without loading anything."""

    def refusal(self, facts: BackboneFacts, quantization: str) -> str | None:
        """Return why these options cannot work on a model known only by its configuration; None if they can.

        What `capabilities` declares is refused without this method; it is for the rest (no biases to tune, a rank above
        the width).

        Args:
            facts: What the model's ``config.json`` says.
            quantization: ``none``, ``int8`` or ``nf4``.

        Returns:
            One line that says what is wrong and what would be right, or None.
        """
        return None

    def merge(self, model: nn.Module, backbone: Backbone) -> nn.Module:
        """Merge the attached modules into the base weights and return the bare transformer.

        The base in memory is changed: reload it before another adapter is attached. Only if `capabilities.merges` says
        so for the base's quantization.

        Raises:
            InputError: If it does not.
        """
        raise InputError(f"{type(self).__name__} cannot be merged into {backbone.identity.quantization} weights")

    def batched(self, backbone: Backbone) -> BatchedForm | None:
        """Return the form by which rows of this adapter share a pass with rows of other adapters.

        None: its rows are run in passes of their own, which is slower and always right. What the conformance suite's
        check of mixing proves, serving uses.
        """
        return None

    def combined_options(self, others: Sequence[Self], rank: int | None, backbone: Backbone) -> C | None:
        """Return options with which one adapter can hold a combination of this one and others of the same method.

        Args:
            others: The others.
            rank: Rank that it is to have; None for one that loses nothing of a weighted sum.
            backbone: The bare base.

        Returns:
            The options; None if adapters of the method cannot be combined.

        Raises:
            InputError: If these cannot, or not with this rank.
        """
        return None

    def combine(
        self, parts: Sequence[SavedAdapter], combination: Combination, backbone: Backbone, folder: Path
    ) -> None:
        """Write an adapter of these options that combines saved adapters of the method; nothing is trained.

        Only for a method whose `combined_options` returns some. A single part with weight 1 is brought to these
        options.

        Args:
            parts: The saved adapters; their options may differ from these in rank and scale.
            combination: Their weights, and how they become one.
            backbone: The bare base that all of them were trained on; it is bare again afterwards.
            folder: Folder to write the two files to, as `save` does.

        Raises:
            InputError: If the adapters do not fit each other, the base or these options.
        """
        raise InputError(f"adapters of the method {type(self).__name__} cannot be combined")

    def regularization(self, model: nn.Module) -> Tensor | None:
        """Compute a scalar penalty that is added to the loss of a training step; None without a penalty."""
        return None

    def after_step(self, model: nn.Module, step: int, total_steps: int) -> None:
        """Do what the method needs after an optimizer step that trained the adapter, with gradients still in place.

        Args:
            model: What `attach` returned.
            step: Number of steps done, from 1.
            total_steps: Number of steps in which the adapter is trained.
        """

    def learning_rate_factor(self, parameter: str) -> float:
        """Return the factor on the adapter's learning rate for a parameter of this name (LoRA+)."""
        return 1.0

    def state(self, model: nn.Module) -> dict[str, Tensor]:
        """Collect the tensors that an exact resume needs besides the trained parameters, by name."""
        return {}

    def load_state(self, model: nn.Module, state: Mapping[str, Tensor]) -> None:
        """Restore what `state` returned."""

    def reset(self, model: nn.Module) -> None:
        """Drop the method's state besides parameters, so that the same modules can be trained again from the start."""

    @classmethod
    def register_with_peft(cls) -> None:
        """Register the method with stock `peft`, so that it loads what `save` writes, if it cannot by itself."""


@dataclass(frozen=True)
class SavedAdapter:
    """An adapter as files.

    Attributes:
        method: Its method, with its options.
        folder: Folder of ``adapter_config.json`` and ``adapter_model.safetensors``, which nobody else can change.
    """

    method: AdapterMethod[Any]
    folder: Path
