"""Steps of several trainings in shared passes: vectors, gradients and draws are those of each alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from llmrec_peft import registry
from llmrec_peft.backbone import mixed_host
from llmrec_peft.backbone.encoded_texts import EncodedTexts
from llmrec_peft.backbone.load import load_backbone
from llmrec_peft.backbone.mixed_training import MixedTraining
from llmrec_peft.backbone.shared import view_of
from llmrec_peft.backbone.text_reader import text_reader
from llmrec_peft.recipe.sections import BackboneSection
from llmrec_peft.training.coroutines import Coroutines, drawing_as

SHOPS = (
    ["a silent window", "heat", "toy story of the old river", "a long night by the sea", "crime"],
    ["drama film", "the window of a new story in the night", "silent"],
    ["old sea", "heat of a long and silent night by the river and the sea"],
)
"""Texts of each training: unlike numbers, unlike lengths."""
SHARES = {
    "lora": {"dropout": 0.2},
    "adalora": {},
    "bitfit": {},
    "bottleneck": {"dropout": 0.2},
    "dora": {},
    "ia3": {},
    "layernorm": {},
    "loha": {},
    "lokr": {},
    "miss": {},
    "oft": {},
    "road": {},
    "shira": {},
    "vera": {},
}
APART = ("full", "prefix", "prompt")
"""Methods whose adapter is no module that is called with a row for each text."""
UPPER = "top-2"


@dataclass
class Step:
    """What one training's step gave."""

    vectors: list[Tensor]
    gradients: dict[str, Tensor]
    drawn: Tensor


def steps(
    backbone: Path, name: str, options: dict[str, Any], mixing: str, layers: str = "all"
) -> tuple[list[Step], int]:
    """Take two steps of each training, and return what they gave and how many passes were shared."""
    section = BackboneSection(name=str(backbone), precision="fp32")
    base = load_backbone(section, torch.device("cpu"))
    jobs: Coroutines[Step] = Coroutines()
    mixed = MixedTraining(jobs.wait, drawing_as, mixing)  # type: ignore[arg-type]
    method = registry.get("adapters", name)
    chosen = {**options, **({"layers": layers} if "layers" in method.Config.model_fields else {})}

    def job(at: int) -> Callable[[], Step]:
        def run() -> Step:
            torch.manual_seed(at)
            own, adapter = view_of(base), method(method.Config(**chosen))
            reader = text_reader(own, section)
            frozen = list(own.model.modules())
            tuned = adapter.attach(own)
            spoil(tuned)
            lowest = adapter.lowest_layer(own)
            texts = EncodedTexts(reader.encoder(tuned, frozen), reader.tokenized(SHOPS[at], 32), lowest)
            texts.store_trunk(64.0)
            mixed.take(texts.encoder, own.model, base.model)
            texts.mixed = mixed
            texts.encoder.train()
            vectors = []
            for step in range(2):
                keys = torch.arange(len(SHOPS[at]) - step)
                found = texts(keys)
                vectors.append(found.detach().clone())
                (found @ torch.linspace(-1, 1, found.shape[1]) * (keys + 1.0)).sum().backward()
                texts.finish_backward()
            named = {key: p.grad for key, p in tuned.named_parameters() if p.grad is not None and p.requires_grad}
            return Step(vectors, named, torch.rand(3))

        return run

    return jobs.run([job(at) for at in range(len(SHOPS))], 3, mixed.serve), mixed.passes


def spoil(tuned: torch.nn.Module) -> None:
    """Let the adapter act: a fresh one changes nothing."""
    with torch.no_grad():
        for parameter in tuned.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter) * 0.05)


def require_same(ours: list[Step], alone: list[Step]) -> None:
    for left, right in zip(ours, alone, strict=True):
        for own, other in zip(left.vectors, right.vectors, strict=True):
            assert own.isfinite().all()
            torch.testing.assert_close(own, other, rtol=0, atol=2e-6)
        assert left.gradients.keys() == right.gradients.keys() != set()
        for key, gradient in left.gradients.items():
            torch.testing.assert_close(gradient, right.gradients[key], rtol=1e-4, atol=2e-5)
        assert torch.equal(left.drawn, right.drawn)


@pytest.mark.parametrize("name", SHARES)
def test_vectors_gradients_and_draws_are_those_of_each_alone(name: str, tiny_backbone: Path) -> None:
    ours, shared = steps(tiny_backbone, name, SHARES[name], "always")
    alone, none = steps(tiny_backbone, name, SHARES[name], "never")
    assert shared == 2 and none == 0
    require_same(ours, alone)


@pytest.mark.parametrize("name", APART)
def test_an_adapter_whose_rows_cannot_be_told_apart_passes_by_itself(name: str, tiny_backbone: Path) -> None:
    ours, shared = steps(tiny_backbone, name, {}, "always")
    assert shared == 0
    require_same(ours, steps(tiny_backbone, name, {}, "never")[0])


def test_stored_states_below_the_adapter_are_replayed_for_all(tiny_backbone: Path) -> None:
    ours, shared = steps(tiny_backbone, "lora", {}, "always", UPPER)
    assert shared == 2
    require_same(ours, steps(tiny_backbone, "lora", {}, "never", UPPER)[0])


def test_rows_that_pass_through_another_training_s_adapter_are_noticed(
    tiny_backbone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The mutation: every slice goes through the modules of the next part."""
    alone, _ = steps(tiny_backbone, "lora", {}, "never")
    actual = mixed_host.MixedHost.vectors

    def off_by_one(host: Any, parts: Any) -> Any:
        from dataclasses import replace

        moved = [replace(part, sites=parts[(at + 1) % len(parts)].sites) for at, part in enumerate(parts)]
        return actual(host, moved)

    monkeypatch.setattr(mixed_host.MixedHost, "vectors", off_by_one)
    ours, shared = steps(tiny_backbone, "lora", {}, "always")
    assert shared == 2
    for left, right in zip(ours, alone, strict=True):
        assert ((left.vectors[0] - right.vectors[0]).abs().amax(1) > 1e-3).all()


def test_a_machine_that_is_busy_with_one_s_own_texts_shares_no_pass(tiny_backbone: Path) -> None:
    assert steps(tiny_backbone, "lora", {}, "auto")[1] == 2  # a few short texts leave it idle
    long = tuple([" ".join([text, str(at)] * 30) for at, text in enumerate(texts * 16)] for texts in SHOPS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(f"{__name__}.SHOPS", long)
        assert steps(tiny_backbone, "lora", {}, "auto")[1] == 0


def test_a_job_that_fails_interrupts_the_others_in_turn() -> None:
    ended: list[int] = []
    jobs: Coroutines[int] = Coroutines()

    def waits(number: int) -> int:
        try:
            return int(jobs.wait(number))
        finally:
            ended.append(number)

    def fails() -> int:
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        jobs.run([lambda: waits(0), lambda: waits(1), fails], 3, lambda _waiting: None)
    assert ended == [0, 1]


def test_at_most_so_many_jobs_run_at_a_time_and_each_draws_its_own() -> None:
    jobs: Coroutines[tuple[int, float]] = Coroutines()
    most: list[int] = []

    def job() -> tuple[int, float]:
        torch.manual_seed(7)
        np.random.seed(7)
        jobs.wait("turn")
        return int(torch.randint(1000, ())), float(np.random.rand())

    def serve(waiting: Any) -> None:
        most.append(len(waiting))
        torch.rand(5)
        for one in waiting:
            one.request = None

    found = jobs.run([job] * 5, 2, serve)
    assert len(set(found)) == 1
    assert max(most) == 2
