"""Sixteen rows of eight tenants: their adapters, the texts, and the ways in which the rows can be computed."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from llmrec_peft import registry
from llmrec_peft.backbone.bare import BareTree
from llmrec_peft.backbone.batched import BatchedForm, SavedTensors, Slot
from llmrec_peft.backbone.encoder import Reading
from llmrec_peft.backbone.load import Backbone
from llmrec_peft.options import validated
from llmrec_peft.serving.mixing.mixed_encoder import MixedRow, mixed_vectors
from llmrec_peft.serving.mixing.passes import mixed_states
from llmrec_peft.serving.mixing.saved import mixed_form, read_slots
from llmrec_peft.serving.mixing.slots import Seat, Slots
from serving.item_texts import TEXTS

Tenant = tuple[str, dict[str, Any]]
"""A tenant's method and its options."""
TENANTS = 8
BUDGET = 256 << 20
NOISE = 0.05
MEAN = Reading("mean", False)
_RANKS = (4, 8, 16, 8, 4, 16, 8, 4)
CASES: dict[str, tuple[Tenant, ...]] = {
    "LoRA on query and value, rank 8": tuple(("lora", {"rank": 8}) for _ in range(TENANTS)),
    "LoRA on all linear layers, ranks 4, 8, 16": tuple(
        ("lora", {"rank": rank, "targets": "all-linear"}) for rank in _RANKS
    ),
    "eight unlike methods": tuple(
        (name, {}) for name in ("lora", "bottleneck", "ia3", "vera", "bitfit", "layernorm", "oft", "prefix")
    ),
    "eight further methods": tuple(
        (name, {}) for name in ("dora", "adalora", "loha", "lokr", "road", "prompt", "lora", "none")
    ),
}
"""Tenants of each case; options that are not named are the methods' defaults."""


@dataclass
class Rows:
    """The rows of a case: two texts a tenant, in any order.

    Attributes:
        ids: Token ids of each row.
        owners: Tenant of each row.
        seats: Slot of each tenant.
        folders: Saved adapter of each tenant.
        tenants: Method and options of each tenant.
    """

    ids: list[list[int]]
    owners: list[int]
    seats: list[Seat]
    folders: list[Path]
    tenants: Sequence[Tenant]

    def of(self, tenant: int) -> list[int]:
        """Return the rows of a tenant."""
        return [row for row, owner in enumerate(self.owners) if owner == tenant]

    def row_seats(self) -> list[Seat | None]:
        """Return the slot of each row."""
        return [self.seats[owner] for owner in self.owners]


class Nothing(BatchedForm):
    """A form that returns what it is given: what hooks and bookkeeping alone cost."""

    @property
    def key(self) -> tuple[object, ...]:
        """The form's name."""
        return ("nothing",)

    def slots(self, saved: SavedTensors, backbone: Backbone) -> dict[str, Slot]:
        """Return one number for each linear layer."""
        return {module.name: Slot({"one": torch.ones(1)}) for module in backbone.shapes.linears}

    def before(self, inputs: Tensor, slot: Mapping[str, Tensor]) -> Tensor:
        """Return the inputs."""
        return inputs

    def behind(self, inputs: Tensor, output: Tensor, slot: Mapping[str, Tensor]) -> Tensor:
        """Return the output."""
        return output


def made_rows(backbone: Backbone, slots: Slots, tenants: Sequence[Tenant], work: Path) -> Rows:
    """Save an adapter for each tenant, fresh modules moved by noise, and put it into a slot."""
    seats, folders = [], []
    for at, (name, options) in enumerate(tenants):
        method = _method((name, options))
        torch.manual_seed(at)
        model = method.attach(backbone)
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.requires_grad:
                    parameter.add_(NOISE * torch.randn(parameter.shape).to(parameter))
        folder = work / str(at)
        folder.mkdir(parents=True)
        method.save(model, backbone, folder)
        backbone.detach()
        form = mixed_form(method, backbone)
        if form is None:
            raise ValueError(f"{name} shares no passes")
        seats.append(slots.add(form, read_slots(method, form, folder, backbone, name)))
        folders.append(folder)
    order = torch.randperm(2 * len(tenants), generator=torch.Generator().manual_seed(0)).tolist()
    return Rows(backbone.tokenize(list(TEXTS), 128), [at % len(tenants) for at in order], seats, folders, tenants)


class Ways:
    """How the rows of a case can be computed; each returns their vectors, float32 [rows, width]."""

    def __init__(self, backbone: Backbone, slots: Slots, rows: Rows) -> None:
        """Set what is computed."""
        self.backbone, self.slots, self.rows = backbone, slots, rows
        self.ids, self.mask = padded(backbone, rows.ids)
        self._nothing = slots.add(Nothing(), Nothing().slots(SavedTensors({}), backbone))
        self._trees: list[tuple[nn.Module, BareTree]] = []
        self._peft: Any = None

    def bare(self) -> Tensor:
        """One pass through the base without any adapter."""
        return self._single(self.backbone.model, range(len(self.rows.ids)))

    def mixed(self) -> Tensor:
        """One pass, each row changed by its own tenant's adapter; rows in the order of the server."""
        return self._mixed(self.rows.row_seats())

    def hooks(self) -> Tensor:
        """The same with a form at every linear layer that changes nothing."""
        return self._mixed([self._nothing] * len(self.rows.ids))

    def served_bare(self) -> Tensor:
        """Passes as the server divides texts into, without any adapter."""
        return self._served([None] * len(self.rows.ids))

    def served(self) -> Tensor:
        """Passes as the server divides texts into, each row changed by its own tenant's adapter."""
        return self._served(self.rows.row_seats())

    def one_after_another(self) -> Tensor:
        """For each tenant its adapter is put into the base, as in a single run, and its two rows pass."""
        if not self._trees:
            for tenant, folder in zip(self.rows.tenants, self.rows.folders, strict=True):
                model = _method(tenant).load(self.backbone, folder).eval().requires_grad_(False)
                self._trees.append((model, BareTree(self.backbone.model)))
                self.backbone.detach()
        found = self._empty()
        for tenant, (model, tree) in enumerate(self._trees):
            own = self.rows.of(tenant)
            self.backbone.detach()
            tree.restore()
            found[own] = self._single(model, own)
        self.backbone.detach()
        return found

    def set_adapter(self) -> Tensor:
        """Plain PEFT: `set_adapter` for each tenant, and its two rows pass."""
        model = self._peft_model()
        found = self._empty()
        for tenant in range(len(self.rows.tenants)):
            own = self.rows.of(tenant)
            model.set_adapter(f"tenant-{tenant}")
            found[own] = self._single(model, own)
        return found

    def adapter_names(self) -> Tensor:
        """Plain PEFT: one pass with `adapter_names`."""
        names = [f"tenant-{owner}" for owner in self.rows.owners]
        states = self._peft_model()(input_ids=self.ids, attention_mask=self.mask, adapter_names=names)
        return MEAN.vectors(states.last_hidden_state, self.mask)

    @contextmanager
    def alone(self, tenant: int) -> Iterator[Callable[[list[int]], Tensor]]:
        """Yield what gives the vector of one text alone, unpadded, under a tenant's adapter."""
        self.backbone.detach()
        model = _method(self.rows.tenants[tenant]).load(self.backbone, self.rows.folders[tenant]).eval()

        def vector(row: list[int]) -> Tensor:
            ids, mask = padded(self.backbone, [row])
            return MEAN.vectors(model(input_ids=ids, attention_mask=mask).last_hidden_state, mask)[0]

        try:
            yield vector
        finally:
            self.backbone.detach()

    def _mixed(self, seats: list[Seat | None]) -> Tensor:
        order = torch.from_numpy(self.slots.order(seats))
        ordered = [seats[at] for at in order.tolist()]
        mask = self.mask[order]
        states = mixed_states(self.backbone, self.slots, self.ids[order], mask, ordered)
        found = self._empty()
        found[order] = MEAN.vectors(states, mask)
        return found

    def _served(self, seats: list[Seat | None]) -> Tensor:
        rows = [MixedRow(seat, ids, MEAN) for seat, ids in zip(seats, self.rows.ids, strict=True)]
        return torch.stack(mixed_vectors(self.backbone, self.slots, rows))

    def _single(self, model: Any, own: Sequence[int]) -> Tensor:
        mask = self.mask[list(own)]
        width = int(mask.sum(1).max())
        ids, mask = self.ids[list(own), :width], mask[:, :width]
        return MEAN.vectors(model(input_ids=ids, attention_mask=mask).last_hidden_state, mask)

    def _empty(self) -> Tensor:
        return torch.empty(len(self.rows.ids), self.backbone.width, device=self.ids.device)

    def _peft_model(self) -> Any:
        """Return PEFT's model of a copy of the base with all tenants' adapters inside, by name."""
        if self._peft is None:
            from peft import PeftModel

            model = None
            for tenant, folder in enumerate(self.rows.folders):
                name = f"tenant-{tenant}"
                if model is None:
                    bare = copy.deepcopy(self.backbone.model)
                    model = PeftModel.from_pretrained(bare, str(folder), adapter_name=name)
                else:
                    model.load_adapter(str(folder), adapter_name=name)
            self._peft = model.eval().requires_grad_(False)  # type: ignore[union-attr]
        return self._peft


def padded(backbone: Backbone, rows: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """Return token ids and mask, int64 [rows, tokens], on the base's device."""
    width = max(map(len, rows))
    ids = torch.tensor([[*row, *[backbone.pad_id] * (width - len(row))] for row in rows])
    mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows])
    return ids.to(backbone.device), mask.to(backbone.device)


def _method(tenant: Tenant) -> Any:
    method = registry.get("adapters", tenant[0])
    return method(validated(method.Config, tenant[1], "adapter"))
