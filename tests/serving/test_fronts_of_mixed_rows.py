"""Fronts: rows with unequal numbers of virtual tokens, and without any, share one pass; each is what it is alone."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from llmrec_peft import registry
from llmrec_peft.backbone.load import Backbone, load_backbone
from llmrec_peft.backbone.pooling import pool
from llmrec_peft.backbone.positions import token_room
from llmrec_peft.errors import InputError
from llmrec_peft.options import validated
from llmrec_peft.recipe.sections import BackboneSection
from llmrec_peft.serving.mixing import front, front_probe
from llmrec_peft.serving.mixing.passes import mixed_states
from llmrec_peft.serving.mixing.saved import mixed_form, read_slots
from llmrec_peft.serving.mixing.slots import Seat, Slots
from llmrec_peft.testing.adapters.backbones import make_tiny

pytestmark = pytest.mark.trains
ADAPTERS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("prompt", {"num_virtual_tokens": 4}),
    ("prefix", {"num_virtual_tokens": 5}),
    ("prompt", {"num_virtual_tokens": 9}),
    ("prefix", {"num_virtual_tokens": 12, "projection": True}),
    ("lora", {}),
    ("", {}),
)
LENGTHS = (3, 14, 24, 7, 1, 19, 10, 22, 5, 16, 24, 2)


@dataclass
class Case:
    """A base, its adapters in slots, and rows: each adapter has two."""

    backbone: Backbone
    methods: list[Any]
    folders: list[Path]
    slots: Slots
    seats: list[Seat | None]
    own: list[int]
    texts: list[list[int]]

    def padded(self) -> tuple[Tensor, Tensor]:
        width = max(map(len, self.texts))
        ids = [text + [self.backbone.pad_id] * (width - len(text)) for text in self.texts]
        mask = [[1] * len(text) + [0] * (width - len(text)) for text in self.texts]
        return torch.tensor(ids), torch.tensor(mask)

    @torch.no_grad()
    def mixed(self, off: int = 0) -> Tensor:
        """Pooled vectors of all rows in one pass, each with the adapter `off` places behind its own."""
        self.backbone.detach()
        ids, mask = self.padded()
        states = mixed_states(
            self.backbone, self.slots, ids, mask, [self.seats[(at + off) % len(self.seats)] for at in self.own]
        )
        assert states.shape[:2] == ids.shape
        assert states.isfinite().all()  # of padding, too
        return pool(states, mask, "mean")

    @torch.no_grad()
    def single(self, equal: bool) -> Tensor:
        """Vectors of the rows by the single run: all in its batch for each adapter, or each alone and unpadded."""
        found: list[Tensor] = [torch.empty(0)] * len(self.own)
        ids, mask = self.padded()
        for number, method in enumerate(self.methods):
            self.backbone.detach()
            model = method.load(self.backbone, self.folders[number]).eval() if method else self.backbone.model
            for row in (at for at, which in enumerate(self.own) if which == number):
                one = (ids, mask) if equal else (torch.tensor([self.texts[row]]), torch.ones(1, len(self.texts[row])))
                states = model(input_ids=one[0], attention_mask=one[1].long()).last_hidden_state
                found[row] = pool(states, one[1], "mean")[row if equal else 0]
        self.backbone.detach()
        vectors = torch.stack(found)
        assert vectors.isfinite().all()
        return vectors


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Load a tiny base by name, precision and quantization."""
    root = tmp_path_factory.mktemp("bases")

    @cache
    def load(name: str, precision: str = "fp32", quantization: str = "none") -> Backbone:
        folder = root / name if (root / name).is_dir() else make_tiny(name, root / name)
        section = {"name": str(folder), "precision": precision, "quantization": quantization}
        return load_backbone(BackboneSection(**section), torch.device("cpu"))

    return load


@pytest.fixture(scope="module")
def case_of(bases: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Make the case of a base; once."""

    @cache
    def make(*base: str) -> Case:
        backbone, folder = bases(*base), tmp_path_factory.mktemp("case")
        case = Case(backbone, [], [], Slots(64 << 20, backbone.device), [], [], [])
        for number, (name, options) in enumerate(ADAPTERS):
            case.folders.append(folder / str(number))
            if not name:
                case.methods.append(None)
                case.seats.append(None)
                continue
            cls = registry.get("adapters", name)
            method = cls(validated(cls.Config, options, "adapter"))
            _save(backbone, method, case.folders[-1], number)
            form = mixed_form(method, backbone)
            assert form is not None
            case.methods.append(method)
            case.seats.append(case.slots.add(form, read_slots(method, form, case.folders[-1], backbone, name)))
        draw = np.random.default_rng(0)
        case.texts = [draw.integers(5, 900, length).tolist() for length in LENGTHS]
        case.own = [int(at) for at in draw.permutation(np.resize(np.arange(len(ADAPTERS)), len(LENGTHS)))]
        return case

    return make


def _save(backbone: Backbone, method: Any, folder: Path, seed: int) -> None:
    backbone.detach()
    torch.manual_seed(seed)
    model = method.attach(backbone)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.1 * torch.randn(parameter.shape).to(parameter))
    folder.mkdir()
    method.save(model, backbone, folder)
    backbone.detach()


@pytest.mark.parametrize("name", ["tiny-bert", "tiny-roberta", "tiny-llama", "tiny-mistral", "tiny-gpt2"])
def test_rows_of_all_fronts_in_one_pass_are_what_each_is_alone(
    name: str, case_of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    case, passes = case_of(name), []
    kind: Any = type(case.backbone.model)
    usual = kind.forward

    def counted(self: Any, **given: Any) -> Any:
        passes.append(len(given["attention_mask"]))
        return usual(self, **given)

    with monkeypatch.context() as patched:
        patched.setattr(kind, "forward", counted)
        mixed = case.mixed()
    assert passes == [len(case.own)]
    torch.testing.assert_close(mixed, case.single(equal=True), rtol=0, atol=1e-5)
    torch.testing.assert_close(mixed, case.single(equal=False), rtol=0, atol=1e-5)
    moved = (case.mixed(off=1) - mixed).norm(dim=1) / mixed.norm(dim=1)
    assert float(moved.min()) > 1e-2


@pytest.mark.parametrize("base", [("bf16", "none"), ("fp32", "nf4")], ids="/".join)
@pytest.mark.parametrize("name", ["tiny-bert", "tiny-llama"])
def test_rows_of_all_fronts_in_other_number_formats(name: str, base: tuple[str, str], case_of: Any) -> None:
    case = case_of(name, *base)
    mixed, equal, alone = case.mixed(), case.single(equal=True), case.single(equal=False)
    assert float(torch.cosine_similarity(mixed, equal).min()) >= 0.9999
    more = [at for at, text in enumerate(case.texts) if len(text) > 1]  # in bf16 one token alone rounds by 1e-4
    assert float(torch.cosine_similarity(mixed, alone)[more].min()) >= 0.9999
    moved = (case.mixed(off=1) - mixed).norm(dim=1) / mixed.norm(dim=1)
    assert float(moved.min()) > 1e-2


@pytest.mark.parametrize("name", ["tiny-bert", "tiny-roberta"])
def test_a_text_may_fill_the_window_and_no_more(name: str, case_of: Any) -> None:
    usual = case_of(name)
    room = token_room(usual.backbone.model)
    assert room is not None
    texts = [[7, 8] * ((room - 4) // 2), [9] * (room - 9), [5, 6] * (room // 2)]
    case = Case(**{**vars(usual), "own": [0, 2, 5], "texts": texts})
    torch.testing.assert_close(case.mixed(), case.single(equal=False), rtol=0, atol=1e-5)
    case.texts[1].append(9)
    said = f"num_virtual_tokens: 9 and a text of {room - 8} tokens are more than the model's window of {room}: "
    with pytest.raises(InputError, match=said):
        case.mixed()


def test_what_a_model_cannot_hold_is_grouped_with_its_reason(bases: Any) -> None:
    backbone = bases("tiny-distilbert")
    cls = registry.get("adapters", "prefix")
    assert mixed_form(cls(cls.Config()), backbone) is None
    said = front_probe.front_refusal(backbone, "keys")
    assert said is not None
    assert said.startswith("a mixed pass through distilbert fails with keys before a text: ")
    assert front_probe.front_refusal(backbone, "embeddings") is None


@pytest.mark.parametrize("name", ["tiny-bert", "tiny-roberta", "tiny-gpt2"])
def test_positions_that_would_be_wrong_are_found(name: str, bases: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    backbone = bases(name)
    assert front_probe._found(backbone, "keys") is None
    right = front.first_position
    monkeypatch.setattr(front, "first_position", lambda model: right(model) + 1)
    said = front_probe._found(backbone, "keys")
    assert said is not None
    assert "are off by" in said
