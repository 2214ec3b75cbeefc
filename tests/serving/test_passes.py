"""Passes: forms may write into what comes out of a module, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn

from llmrec_peft.backbone.batched import BatchedForm, SavedTensors, Slot
from llmrec_peft.backbone.load import Backbone
from llmrec_peft.serving.mixing import passes
from llmrec_peft.serving.mixing.slots import Seat, Slots

CPU = torch.device("cpu")


class Doubled(BatchedForm):
    """Twice the output, written into it."""

    by_token: ClassVar[bool] = True

    @property
    def key(self) -> tuple[object, ...]:
        return ("doubled",)

    def slots(self, saved: SavedTensors, backbone: Backbone) -> dict[str, Slot]:
        raise NotImplementedError

    def behind(self, inputs: Tensor, output: Tensor, slot: Mapping[str, Tensor]) -> Tensor:
        return output.mul_(slot["two"].unsqueeze(1))


class Kept(Doubled):
    """Returns what it is given."""

    @property
    def key(self) -> tuple[object, ...]:
        return ("kept",)

    def behind(self, inputs: Tensor, output: Tensor, slot: Mapping[str, Tensor]) -> Tensor:
        return output


class Block(nn.Module):
    """x + f(x)."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, states: Tensor) -> Any:
        return states + self.inner(states)


def changed(block: Block, seats: list[Seat | None], slots: Slots, states: Tensor) -> Tensor:
    """What comes out of a block of which the inner module's rows are changed."""
    plan = slots.plan(seats)
    with torch.no_grad(), passes._hooked(block, plan, len(seats), CPU):
        found: Tensor = block(states)
    return found


@pytest.fixture
def slots() -> Iterator[Slots]:
    yield Slots(1 << 21, CPU)


@pytest.mark.parametrize("order", [(1, 1, 0, 0), (0, 1, 0, 1), (1, 1, 1, 1)])
def test_a_module_that_returns_its_input_keeps_it_for_those_who_read_it(slots: Slots, order: tuple[int, ...]) -> None:
    doubled = slots.add(Doubled(), {"inner": Slot({"two": torch.full((1,), 2.0)})})
    states = torch.arange(24.0).reshape(4, 2, 3)
    before = states.clone()
    found = changed(Block(nn.Identity()), [doubled if one else None for one in order], slots, states)
    assert torch.equal(states, before)
    assert torch.equal(found, states * (1.0 + torch.tensor([2.0 if one else 1.0 for one in order])[:, None, None]))


def test_rows_that_a_form_returns_as_they_are_are_not_copied(slots: Slots, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = slots.add(Kept(), {"inner": Slot({"two": torch.ones(1)})})
    block, states = Block(nn.Linear(3, 3)), torch.randn(4, 2, 3)
    out: list[Tensor] = []
    block.inner.register_forward_hook(lambda _module, _args, output: out.append(output))
    real = passes._Station.leave
    given: list[Any] = []

    def noted(self: Any, *args: Any) -> Any:
        given.append(real(self, *args))
        return given[-1]

    monkeypatch.setattr(passes._Station, "leave", noted)
    found = changed(block, [None, kept, kept, None], slots, states)
    assert given == [None]
    assert torch.equal(found, states + out[0])


def test_where_gradients_are_recorded_nothing_is_written_into_outputs(slots: Slots) -> None:
    class Scaled(Doubled):
        def behind(self, inputs: Tensor, output: Tensor, slot: Mapping[str, Tensor]) -> Tensor:
            return output * slot["two"].unsqueeze(1)

    seat = slots.add(Scaled(), {"inner": Slot({"two": torch.full((1,), 2.0)})})
    block, states = Block(nn.Linear(3, 3)), torch.randn(4, 2, 3, requires_grad=True)
    with passes._hooked(block, slots.plan([seat, seat, None, None]), 4, CPU):
        block(states).sum().backward()
    weight = block.inner.weight.detach()  # type: ignore[union-attr]
    expected = 1.0 + torch.tensor([2.0, 2.0, 1.0, 1.0])[:, None, None] * weight.sum(0)
    torch.testing.assert_close(states.grad, expected.expand(4, 2, 3))
