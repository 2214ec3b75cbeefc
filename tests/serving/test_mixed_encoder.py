"""MixedEncoder: run folders of several methods on one base; each text has the vector of its own run."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from llmrec_peft import registry
from llmrec_peft.artifact.sealed import SealedFolder
from llmrec_peft.data.tokens import TokenTable
from llmrec_peft.errors import InputError
from llmrec_peft.recipe import Recipe
from llmrec_peft.run.language_model import LanguageModel, TenantAdapter
from llmrec_peft.serving.mixing.mixed_encoder import AskedText, MixedEncoder
from llmrec_peft.serving.mixing.slots import Slots

pytestmark = pytest.mark.trains
CPU = torch.device("cpu")
TEXTS = ([101, 2054, 2003, 102], [101, 1996, 2143, 1997, 1996, 2095, 102], [101, 3185, 102])


@pytest.fixture(scope="module")
def runs(quick_run: Callable[..., Path]) -> list[Path]:
    """Runs of three methods on one base; rows of the last are grouped."""
    changes: list[dict[str, Any]] = [
        {"adapter.method": "lora", "adapter.rank": 4, "training.adapter.learning_rate": 0.02},
        {"adapter.method": "bottleneck", "training.adapter.learning_rate": 0.02},
        {"adapter.method": "full", "training.adapter.learning_rate": 0.002},
    ]
    return [quick_run("movies", change) for change in changes]


def opened(runs: list[Path]) -> tuple[LanguageModel, list[TenantAdapter]]:
    sealed = [SealedFolder.open(run) for run in runs]
    recipes = [Recipe.from_plain(one.recipe(), where="recipe.yaml") for one in sealed]
    language = LanguageModel(recipes[0].backbone, sealed[0].manifest.base, CPU)
    parts = zip(runs, sealed, recipes, strict=True)
    return language, [TenantAdapter(run, one.manifest, recipe) for run, one, recipe in parts]


@torch.no_grad()
def of_its_run(run: Path, ids: list[int]) -> Tensor:
    """A text's vector by its own run alone."""
    language, (adapter,) = opened([run])
    with language.inside(adapter) as (backbone, encoder):
        return encoder.encode(TokenTable.of_rows([ids], backbone.pad_id))[0]


def test_each_text_has_the_vector_of_its_own_run(runs: list[Path]) -> None:
    language, tenants = opened(runs)
    mixed = MixedEncoder(language, Slots(8 << 20, CPU))
    admitted = [mixed.admit(tenant) for tenant in tenants]
    assert [one.grouped for one in admitted] == [False, False, True]
    asked = [(at, text) for text in TEXTS for at in (2, 0, 1)]
    vectors = mixed.encode([AskedText(admitted[at], text) for at, text in asked])
    expected = {(at, tuple(text)): of_its_run(runs[at], text) for at, text in asked}
    assert all(vector.isfinite().all() for vector in vectors)
    for vector, (at, text) in zip(vectors, asked, strict=True):
        torch.testing.assert_close(vector, expected[at, tuple(text)], rtol=0, atol=1e-5)
    first, second = (expected[at, tuple(TEXTS[0])] for at in (0, 1))
    assert float((first - second).abs().max()) > 1e-3, "the runs answer differently"


def test_texts_of_a_dismissed_tenant_are_refused_and_others_go_on(runs: list[Path]) -> None:
    language, tenants = opened(runs)
    mixed = MixedEncoder(language, Slots(8 << 20, CPU))
    lora, bottleneck, full = (mixed.admit(tenant) for tenant in tenants)
    before = mixed.encode([AskedText(bottleneck, TEXTS[0])])[0]
    for gone in (lora, full):
        mixed.dismiss(gone)
        with pytest.raises(InputError, match="no longer in memory"):
            mixed.encode([AskedText(bottleneck, TEXTS[0]), AskedText(gone, TEXTS[0])])
    assert torch.equal(mixed.encode([AskedText(bottleneck, TEXTS[0])])[0], before)


def test_a_run_with_a_changed_adapter_is_refused_and_takes_no_slot(runs: list[Path], tmp_path: Path) -> None:
    run = shutil.copytree(runs[0], tmp_path / "run")
    weights = run / "adapter_model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-3] ^= 1
    weights.write_bytes(content)
    language, (tenant,) = opened([run])
    mixed = MixedEncoder(language, Slots(8 << 20, CPU))
    with pytest.raises(InputError, match=r"adapter_model\.safetensors"):
        mixed.admit(tenant)
    assert len(mixed.slots) == 0


def test_an_adapter_that_comes_back_is_not_loaded_by_its_method_again_and_its_bytes_are_verified(
    runs: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, loads = shutil.copytree(runs[0], tmp_path / "run"), list[Path]()
    language, (tenant,) = opened([run])
    mixed = MixedEncoder(language, Slots(8 << 20, CPU))
    method = type(registry.get("adapters", "lora")(tenant.recipe.adapter.config))
    load = method.load
    monkeypatch.setattr(
        method, "load", lambda self, backbone, folder: loads.append(folder) or load(self, backbone, folder)
    )
    first = mixed.admit(tenant)
    before = mixed.encode([AskedText(first, TEXTS[0])])[0]
    mixed.dismiss(first)
    again = mixed.admit(tenant)
    assert len(loads) == 1
    assert torch.equal(mixed.encode([AskedText(again, TEXTS[0])])[0], before)
    mixed.dismiss(again)
    weights = run / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4] + b"\0\0\0\1")
    with pytest.raises(InputError, match=r"adapter_model\.safetensors"):
        mixed.admit(tenant)


def test_what_a_block_left_in_the_base_is_gone_in_the_next_one(runs: list[Path]) -> None:
    """Methods of strangers run in such blocks: nothing that they leave may change a vector of another tenant."""
    language, (tenant, *_) = opened(runs)
    mixed = MixedEncoder(language, Slots(8 << 20, CPU))
    text = AskedText(mixed.admit(tenant), TEXTS[0])
    before = mixed.encode([text])[0]
    with language.bare() as backbone:
        last = list(backbone.model.modules())[-1]
        last.register_forward_hook(lambda module, args, output: output * 2)
    assert torch.equal(mixed.encode([text])[0], before)
