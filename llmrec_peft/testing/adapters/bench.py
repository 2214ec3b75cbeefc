"""Bench: attaches, trains and examines one method on one frozen model through the public contract only."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from llmrec_peft.backbone.encoded_texts import EncodedTexts
from llmrec_peft.backbone.encoder import TextEncoder
from llmrec_peft.backbone.load import load_backbone
from llmrec_peft.backbone.trunk import transformer_layers
from llmrec_peft.data.tokens import TokenTable
from llmrec_peft.identity import tensors_digest
from llmrec_peft.testing.adapters.task import SENTENCES, Task

if TYPE_CHECKING:
    from llmrec_peft.backbone.adapter import AdapterMethod
    from llmrec_peft.options import Options
    from llmrec_peft.recipe.sections import BackboneSection

SEED = 7
MAX_LENGTH = 16
RATES = (1e-2, 1e-3, 5e-2, 0.3)
"""Learning rates, tried in this order until the task is learned; the successful one is recorded."""
STEPS = 40
"""Steps per rate, at most."""
FALLEN = 0.7
"""The loss counts as fallen at this share of its initial value or below."""
LARGE = 100_000_000
"""Models with more parameters are given fewer sentences."""


@dataclass
class Training:
    """A sequence of training steps.

    Attributes:
        model: The attached module.
        method: The method that attached it.
        optimizer: AdamW over the trainable parameters.
        losses: Loss of the task before each step.
        moved: Names of parameters that had a nonzero gradient in any step.
        stray: Names of the base's own parameters that had or required a gradient.
    """

    model: nn.Module
    method: AdapterMethod[Any]
    optimizer: torch.optim.AdamW | None
    losses: list[float] = field(default_factory=list)
    moved: set[str] = field(default_factory=set)
    stray: set[str] = field(default_factory=set)


class Bench:
    """A frozen model, the sentences, and a method's class with its options.

    `detach` removes whatever was attached; all values of the bare model were computed before the first adapter was
    attached.
    """

    def __init__(self, method: type[AdapterMethod[Any]], config: Options, section: BackboneSection) -> None:
        """Load the model and record its states and digest before anything is attached."""
        self.method_class, self.config, self.section = method, config, section
        self.backbone = load_backbone(section, torch.device("cpu"))
        model = self.backbone.model
        count = 12 if self.backbone.shapes.parameters >= LARGE else len(SENTENCES)
        self.texts = list(SENTENCES[:count])
        self.tokens = TokenTable.of(
            self.texts, lambda texts: self.backbone.tokenize(texts, MAX_LENGTH), self.backbone.pad_id
        )
        self.keys = torch.arange(count)
        self.ids, self.mask = self.tokens.padded(np.arange(count))
        self.frozen = list(model.modules())
        self.base_parameters = dict(model.named_parameters())
        self.bare_states = self.states(model)
        self.digest = self.base_digest()
        with torch.no_grad():
            self.task = Task.over(self.encoded(model, None)(self.keys))

    @property
    def exact(self) -> bool:
        """Whether states are computed in fp32 on unquantized weights, so that only the order of sums rounds."""
        return self.section.quantization == "none" and self.backbone.identity.compute == "fp32"

    @cached_property
    def lowest(self) -> int | None:
        """The declared lowest layer."""
        return self.method().lowest_layer(self.backbone)

    @property
    def trains(self) -> bool:
        """Whether the method declares that it trains anything."""
        return self.lowest is not None

    def method(self) -> AdapterMethod[Any]:
        """Return a fresh object of the method."""
        return self.method_class(self.config)

    def attach(self, seed: int = SEED) -> tuple[AdapterMethod[Any], nn.Module]:
        """Attach fresh modules, initialised from a seed, to the bare model."""
        self.backbone.detach()
        torch.manual_seed(seed)
        method = self.method()
        return method, method.attach(self.backbone)

    @contextmanager
    def loaded(self, folder: Path, seed: int = SEED + 1) -> Iterator[tuple[AdapterMethod[Any], nn.Module]]:
        """Attach the saved adapter inside the block, under another seed than it was made with."""
        self.backbone.detach()
        torch.manual_seed(seed)
        method = self.method()
        try:
            yield method, method.load(self.backbone, folder)
        finally:
            self.backbone.detach()

    def encoded(self, model: nn.Module, lowest: int | None) -> EncodedTexts:
        """Return the texts with the encoder that trains a model; states below the adapter are stored, as in a run."""
        texts = EncodedTexts(TextEncoder(model, self.frozen, "mean", False).eval(), self.tokens, lowest)
        texts.store_trunk(256.0)
        return texts

    @torch.no_grad()
    def states(self, model: nn.Module) -> Tensor:
        """Return states of all tokens of all sentences, without padding, float32 [tokens, width]."""
        training = model.training
        model.eval()
        states: Tensor = model(input_ids=self.ids, attention_mask=self.mask).last_hidden_state
        model.train(training)
        if states.shape[:2] != self.ids.shape:
            raise ValueError(f"last_hidden_state is {list(states.shape)} for {list(self.ids.shape)} tokens")
        return states[self.mask.bool()].float()

    def states_around(self, model: nn.Module, layer: int) -> tuple[Tensor, Tensor]:
        """Return the states that enter a layer and the states at the model's output."""
        caught: list[Tensor] = []

        def catch(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            caught.append(args[0] if args else kwargs["hidden_states"])

        target = transformer_layers(model)[layer]
        hook = target.register_forward_pre_hook(catch, with_kwargs=True)
        try:
            after = self.states(model)
        finally:
            hook.remove()
        # a method may insert tokens of its own before the text's
        return caught[0][:, -self.ids.shape[1] :][self.mask.bool()].float(), after

    def train(
        self,
        method: AdapterMethod[Any],
        model: nn.Module,
        rate: float,
        steps: int,
        total: int | None = None,
        start: int = 0,
        resumed: dict[str, Any] | None = None,
        until: float | None = None,
    ) -> Training:
        """Train an attached method as the training loop does.

        Args:
            method: Method.
            model: Result of `attach`.
            rate: Learning rate of AdamW.
            steps: Steps to train now.
            total: Steps of the whole training.
            start: Steps trained before.
            resumed: State of the optimizer to resume from.
            until: Stop if the loss is at most this share of the first one (and five steps were trained).
        """
        named = {name: p for name, p in model.named_parameters() if p.requires_grad}
        groups = [{"params": [p], "lr": rate * method.learning_rate_factor(n)} for n, p in named.items()]
        optimizer = torch.optim.AdamW(groups, weight_decay=0.0) if groups else None
        if optimizer is not None and resumed is not None:
            optimizer.load_state_dict(resumed)
        texts = self.encoded(model, self.lowest)
        texts.encoder.train()
        run = Training(model, method, optimizer)
        for step in range(start + 1, start + steps + 1):
            loss = self.task.loss(texts(self.keys))
            run.losses.append(loss.item())
            if until is not None and len(run.losses) > 5 and run.losses[-1] <= until * run.losses[0]:  # noqa: PLR2004
                break
            if optimizer is None:
                break
            penalty = method.regularization(model)
            (loss if penalty is None else loss + penalty).backward()  # type: ignore[no-untyped-call]
            run.moved |= {n for n, p in named.items() if p.grad is not None and bool(p.grad.count_nonzero())}
            run.stray |= {n for n, p in self.base_parameters.items() if p.requires_grad or p.grad is not None}
            nn.utils.clip_grad_norm_(list(named.values()), 1.0)
            optimizer.step()
            method.after_step(model, step, steps if total is None else total)
            optimizer.zero_grad()
        texts.encoder.eval()
        return run

    def learn(self) -> tuple[Training, float, float]:
        """Train fresh modules at each rate until one reduces the loss.

        Returns:
            The training, its rate, and the lowest loss as a share of the first; those of the best rate if none
            succeeds.
        """
        best: tuple[Training, float, float] | None = None
        tried: list[Training] = []
        for rate in RATES:
            method, model = self.attach()
            run = self.train(method, model, rate, STEPS, until=FALLEN)
            tried.append(run)
            share = run.losses[-1] / run.losses[0] if np.isfinite(run.losses[-1]) else float("inf")
            if best is None or share < best[2]:
                best = (run, rate, share)
            if share <= FALLEN:
                break
        assert best is not None  # noqa: S101 - there is at least one rate
        if best[0] is not tried[-1]:  # its modules have been detached since
            method, model = self.attach()
            best = (self.train(method, model, best[1], STEPS, until=FALLEN), best[1], best[2])
        return best

    def base_digest(self) -> str:
        """Return the digest of the bare model: parameters, buffers, and the scales of quantized weights."""
        tensors: dict[str, Tensor] = {name: p.data for name, p in self.base_parameters.items()}
        modules = dict(self.backbone.model.named_modules())
        for name, module in modules.items():
            if not any(module is bare for bare in self.frozen):
                continue
            tensors |= {f"{name}.{key}": b for key, b in module._buffers.items() if b is not None}
        for name, parameter in self.base_parameters.items():
            state = getattr(parameter, "quant_state", None)
            if state is not None:
                tensors[f"{name}/absmax"] = state.absmax
            scale = getattr(getattr(modules.get(name.rpartition(".")[0]), "state", None), "SCB", None)
            if isinstance(scale, Tensor):
                tensors[f"{name}/scale"] = scale
        plain = {name: tensor.detach().as_subclass(Tensor) for name, tensor in tensors.items()}
        return tensors_digest(plain)

    def tree(self) -> list[tuple[str, int]]:
        """Return names and identities of the model's modules and parameters, to see whether it is bare."""
        model = self.backbone.model
        return [
            *((name, id(module)) for name, module in model.named_modules()),
            *((name, id(parameter)) for name, parameter in model.named_parameters()),
        ]


def trainable(model: nn.Module) -> dict[str, nn.Parameter]:
    """Return parameters that require a gradient, by name."""
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}


def snapshot(run: Training) -> dict[str, Any]:
    """Copy all that a checkpoint contains of a training: values, optimizer, the method's own state, random state."""
    return {
        "parameters": {name: p.detach().clone() for name, p in trainable(run.model).items()},
        "optimizer": copy.deepcopy(run.optimizer.state_dict()) if run.optimizer is not None else None,
        "method": {name: tensor.detach().clone() for name, tensor in run.method.state(run.model).items()},
        "random": torch.get_rng_state(),
    }


def drift(actual: Tensor, expected: Tensor) -> float:
    """Return ‖actual − expected‖ / ‖expected‖; 0 if equal bit for bit, infinity if a value is not finite."""
    if torch.equal(actual, expected):
        return 0.0
    if actual.shape != expected.shape:
        raise ValueError(f"shape {list(actual.shape)}, not {list(expected.shape)}")
    value = float((actual - expected).norm() / expected.norm())
    return value if np.isfinite(value) else float("inf")
