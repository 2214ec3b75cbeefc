"""Forms of bottleneck, ia3, vera, bitfit, layernorm, oft, road, shira, none: rows of a mixed pass as texts alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from rows_by_forms import TEXTS, Saved, apart, drift, mixed, stirred

from llmrec_peft import registry
from llmrec_peft.backbone.batched import filled
from llmrec_peft.backbone.load import Backbone
from llmrec_peft.errors import InputError

Fresh = Callable[..., Backbone]
EXACT, QUANTIZED, APART = 1e-5, 5e-2, 1e-4

PAIRS: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "networks of unlike widths": (
        "bottleneck",
        {"size": 3, "scale": 2.0, "placement": "houlsby"},
        {"size": 8, "layers": "top-2"},
    ),
    "networks beside their blocks": (
        "bottleneck",
        {"size": 6, "mode": "parallel", "placement": "houlsby", "activation": "silu"},
        {"size": 2, "mode": "parallel", "activation": "silu", "scale": 4.0},
    ),
    "networks of unlike kinds": (
        "bottleneck",
        {"size": 4, "mode": "parallel", "activation": "relu"},
        {"size": 4, "activation": "tanh"},
    ),
    "scalings": ("ia3", {}, {"layers": "top-2", "targets": "attention"}),
    "scaled inputs and outputs of one module": ("ia3", {}, {"feedforward": False, "targets": "all-linear"}),
    "one pair of projections": ("vera", {"rank": 7}, {"rank": 7, "layers": "top-2", "save_projection": False}),
    "unlike projections": ("vera", {"rank": 7, "targets": "all-linear"}, {"rank": 5, "seed": 3}),
    "biases": ("bitfit", {}, {"layers": "top-2"}),
    "norms": ("layernorm", {}, {"layers": [0, 2]}),
    "rotations": ("oft", {"block_size": 8}, {"block_size": 8, "terms": 3, "layers": "top-2"}),
    "planes": ("road", {"group_size": 8}, {"group_size": 8, "variant": 4, "layers": "top-2"}),
    "planes of unlike groups": ("road", {"group_size": 4, "variant": 2}, {"targets": "all-linear"}),
    "sparse updates": ("shira", {"rank": 2}, {"rank": 5, "layers": "top-2"}),
    "sparse updates of unlike layers": ("shira", {"rank": 4, "targets": "all-linear"}, {"rank": 3, "layers": [0, 3]}),
    "rotations of unlike sides": ("oft", {"block_size": 4, "terms": 2}, {"block_size": 16, "targets": "all-linear"}),
}


IMPOSSIBLE = {(family, "biases") for family in ("tiny-llama", "tiny-gemma", "tiny-modernbert")}
"""Models without biases, which the method refuses."""


def _method(name: str, options: dict[str, Any]) -> Any:
    method = registry.get("adapters", name)
    return method(method.Config(**options))


def _pair(case: str, backbone: Backbone, folder: Path) -> list[Saved]:
    name, *options = PAIRS[case]
    return [stirred(_method(name, one), backbone, folder / str(at), seed=at) for at, one in enumerate(options)]


def _rows(backbone: Backbone, saved: list[Saved], order: list[int]) -> list[Any]:
    mixing = [one.mixing(backbone) for one in saved]
    return [mixing[at] for at in order]


def _cases(family: str) -> list[Any]:
    return [pytest.param(family, case, id=f"{family}: {case}") for case in PAIRS if (family, case) not in IMPOSSIBLE]


CASES = [case for family in ("tiny-bert", "tiny-llama") for case in _cases(family)]


@pytest.mark.parametrize(("family", "case"), CASES)
def test_each_row_is_what_its_text_is_alone(family: str, case: str, fresh: Fresh, tmp_path: Path) -> None:
    backbone = fresh(family)
    saved = _pair(case, backbone, tmp_path)
    order = [0, 1, 1, 0]
    rows = _rows(backbone, saved, order)
    found = mixed(backbone, rows)
    swapped = mixed(backbone, [rows[order.index(1 - at)] for at in order])
    for at, text, row, other in zip(order, TEXTS, found, swapped, strict=True):
        assert drift(row, saved[at].alone(backbone, text)) <= EXACT
        assert drift(other, saved[1 - at].alone(backbone, text)) <= EXACT
        assert drift(other, row) > 100 * EXACT  # the other adapter's slot would have been seen


@pytest.mark.parametrize(
    ("family", "case"),
    [
        (family, case)
        for family in ("tiny-distilbert", "tiny-modernbert", "tiny-gemma", "tiny-gpt2", "tiny-qwen2")
        for case in ("networks beside their blocks", "scalings", "one pair of projections", "norms", "biases")
        if (family, case) not in IMPOSSIBLE
    ],
)
def test_other_architectures_name_and_compute_their_modules_otherwise(
    family: str, case: str, fresh: Fresh, tmp_path: Path
) -> None:
    backbone = fresh(family)
    saved = _pair(case, backbone, tmp_path)
    for at, text, row in zip([0, 1, 1, 0], TEXTS, mixed(backbone, _rows(backbone, saved, [0, 1, 1, 0])), strict=True):
        assert drift(row, saved[at].alone(backbone, text)) <= EXACT


@pytest.mark.parametrize("family", ["tiny-bert", "tiny-llama"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_rows_of_all_these_methods_share_a_pass(precision: str, family: str, fresh: Fresh, tmp_path: Path) -> None:
    backbone = fresh(family, precision=precision)
    saved = [
        stirred(_method(name, options), backbone, tmp_path / f"{case} {at}", seed=at, spread=0.1)
        for case, (name, *both) in {**PAIRS, "untuned": ("none", {})}.items()
        if (family, case) not in IMPOSSIBLE
        for at, options in enumerate(both)
    ]
    texts = [TEXTS[at % len(TEXTS)] for at in range(len(saved))]
    for one, text, row in zip(
        saved, texts, mixed(backbone, _rows(backbone, saved, [*range(len(saved))]), texts), strict=True
    ):
        expected = one.alone(backbone, text)
        if precision == "fp32":
            assert drift(row, expected) <= EXACT
        among = one.alone(backbone, text, texts)  # its own adapter's pass of another shape, which rounds otherwise
        assert apart(row, expected) <= max(APART, 1.1 * apart(among, expected))


@pytest.mark.parametrize("case", ["networks beside their blocks", "scalings", "sparse updates"])
def test_rows_on_nf4_weights_are_what_their_texts_are_alone(case: str, fresh: Fresh, tmp_path: Path) -> None:
    pytest.importorskip("bitsandbytes")
    backbone = fresh("tiny-llama", quantization="nf4")
    saved = _pair(case, backbone, tmp_path)
    for at, text, row in zip([0, 1, 1, 0], TEXTS, mixed(backbone, _rows(backbone, saved, [0, 1, 1, 0])), strict=True):
        assert drift(row, saved[at].alone(backbone, text)) <= EXACT


@pytest.mark.parametrize("case", ["rotations", "scalings", "sparse updates"])
def test_a_row_on_int8_weights_is_its_text_alone_in_a_pass_of_its_own(case: str, fresh: Fresh, tmp_path: Path) -> None:
    """In one pass, bitsandbytes chooses the columns that stay in fp16 by all rows: the bare base's rows differ too."""
    pytest.importorskip("bitsandbytes")
    backbone = fresh("tiny-llama", quantization="int8")
    saved = _pair(case, backbone, tmp_path)
    together = mixed(backbone, _rows(backbone, saved, [0, 1, 1, 0]))
    for at, text, row in zip([0, 1, 1, 0], TEXTS, together, strict=True):
        expected = saved[at].alone(backbone, text)
        assert drift(mixed(backbone, _rows(backbone, saved, [at]), [text])[0], expected) <= EXACT
        assert drift(row, expected) <= QUANTIZED


@pytest.mark.parametrize("fields", [{}, {"precision": "bf16"}, {"precision": "bf16", "quantization": "nf4"}])
def test_projections_are_shared_where_their_bytes_are_equal(
    fields: dict[str, Any], fresh: Fresh, tmp_path: Path
) -> None:
    """Those that are drawn anew have the bytes of those that PEFT drew and saved, rounded to the base's format."""
    if "quantization" in fields:
        pytest.importorskip("bitsandbytes")
    backbone = fresh("tiny-llama", **fields)
    options = [{"seed": 0}, {"seed": 0, "save_projection": False, "layers": "top-1"}, {"seed": 1}]
    forms = [
        stirred(_method("vera", {"rank": 6, **one}), backbone, tmp_path / str(at), seed=at).mixing(backbone)[0]
        for at, one in enumerate(options)
    ]
    keys = [form.key for form in forms]
    assert keys[0] == keys[1]
    assert keys[0] != keys[2]
    unread = _method("vera", {"rank": 6}).batched(backbone)
    with pytest.raises(RuntimeError, match="after `slots`"):
        _ = unread.key


def test_projections_of_another_size_are_refused(fresh: Fresh) -> None:
    backbone = fresh()
    form = _method("vera", {"rank": 6}).batched(backbone)
    wide = {"base_model.vera_A": torch.ones(6, 64), "base_model.vera_B": torch.ones(32, 6)}
    with pytest.raises(InputError, match=r"shapes \[6, 64\], \[32, 6\], not \(\(6, 32\), \(32, 6\)\)"):
        filled(form, wide, backbone, "stranger")


@pytest.mark.parametrize("name", ["bottleneck", "ia3", "vera", "bitfit", "layernorm", "oft", "road", "shira", "none"])
def test_a_tensor_of_no_site_is_refused(name: str, fresh: Fresh) -> None:
    backbone = fresh()
    with pytest.raises(InputError, match=r"1 of its tensors fit no module of the base, first .*pooler\.x"):
        filled(_method(name, {}).batched(backbone), {"base_model.model.pooler.x": torch.ones(2)}, backbone, "stranger")


def test_full_has_no_form(fresh: Fresh) -> None:
    assert _method("full", {}).batched(fresh()) is None


def test_norms_of_an_unknown_kind_have_no_form(fresh: Fresh) -> None:
    """RMSNorm with its weight squared is neither of the known kinds."""
    backbone = fresh("tiny-llama")
    assert _method("layernorm", {}).batched(backbone) is not None
    norm: Any = backbone.model.get_submodule("layers.3.input_layernorm")
    known = type(norm).forward

    class Squared(type(norm)):  # type: ignore[misc]
        def forward(self, states: torch.Tensor) -> Any:
            return known(self, states) * self.weight

    norm.__class__ = Squared
    assert _method("layernorm", {"layers": "top-1"}).batched(backbone) is None
    assert _method("layernorm", {"layers": [0]}).batched(backbone) is not None
