"""Checks of a method's two files: they restore the adapter, damage is reported by name, and stock peft loads them."""

from __future__ import annotations

import copy
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from llmrec_peft.backbone.complete import load_complete
from llmrec_peft.backbone.load import load_backbone
from llmrec_peft.backbone.locate import locate
from llmrec_peft.errors import InputError
from llmrec_peft.testing.adapters.bench import Bench, drift
from llmrec_peft.testing.adapters.checks import Proof, tolerance
from llmrec_peft.testing.outcome import Outcome

if TYPE_CHECKING:
    from torch import Tensor

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"


def writes_two_files(proof: Proof) -> Outcome:
    """Check that the folder has only configuration and safetensors, and names the base by the hash of its weights."""
    from safetensors import safe_open

    files = sorted(path.relative_to(proof.folder).as_posix() for path in proof.folder.rglob("*"))
    if files != [CONFIG, WEIGHTS]:
        return Outcome(False, note=f"the folder holds {', '.join(files)}")
    with safe_open(proof.folder / WEIGHTS, "pt") as file:
        metadata = file.metadata() or {}
    digest = proof.bench.backbone.identity.weights_sha256
    named = any(digest in value for value in metadata.values())
    if proof.bench.trains and not named:
        return Outcome(False, note="the tensors' metadata does not name the base by hash")
    return Outcome(True)


def loading_brings_it_back(proof: Proof) -> Outcome:
    """Check that, loaded into the bare base under another seed, the adapter gives the states of the trained modules."""
    with proof.bench.loaded(proof.folder) as (_, model):
        drifted = drift(proof.bench.states(model), proof.states)
    return Outcome(drifted <= tolerance(proof.bench), drifted, tolerance(proof.bench))


def damage_is_refused(proof: Proof) -> Outcome | None:
    """Check that damaged tensors and a foreign base raise `InputError` and leave the base bare.

    Tensors are missing, unknown, of a wrong shape, or NaN; indices point outside of a weight, are repeated, or are
    floating numbers; or the configuration has a field that the method does not write. The message names the tensor,
    also a missing one, or the field.
    """
    if not proof.bench.trains:
        return None
    bench = proof.bench
    bench.backbone.detach()
    before = bench.tree()
    with tempfile.TemporaryDirectory() as work:
        for damage, folder, name in (*_damaged(proof, Path(work)), _with_a_strange_field(proof, Path(work))):
            message = _refused(bench, folder)
            if message is None:
                return Outcome(False, note=f"loads with a tensor that is {damage}: {name}")
            if name not in message:
                return Outcome(False, note=f"a tensor that is {damage} ({name}) is not named: {message}")
            if bench.tree() != before:
                return Outcome(False, note=f"after a tensor that is {damage} the base is not bare")
    other = replace(bench.backbone, identity=replace(bench.backbone.identity, weights_sha256="0" * 64))
    try:
        bench.method().load(other, proof.folder)
    except InputError:
        return Outcome(bench.tree() == before, note="" if bench.tree() == before else "a foreign base is left changed")
    other.detach()
    return Outcome(False, note="goes into a base with other weights")


def stock_peft_loads_it(proof: Proof) -> Outcome | None:
    """Check that `PeftModel.from_pretrained` on the model as plain transformers loads it gives the same states.

    Methods unknown to peft are registered with it by their own registration. If the method inserts tokens before the
    text's, their states are left out. Some of peft's layers on quantized weights return fp32 for bf16 input, so that
    the
    model after them fails in stock peft; those are tested with fp32 computation on both sides.
    """
    if not proof.bench.trains:
        return None
    from peft import PeftModel

    bench = proof.bench
    type(bench.method()).register_with_peft()

    def drift_of(dtype: torch.dtype, expected: Tensor) -> float:
        model: Any = PeftModel.from_pretrained(plain_transformer(bench, dtype), proof.folder)
        return min(drift(states, expected) for states in _stock_states(bench, model.eval()))

    own: torch.dtype = bench.backbone.model.dtype  # type: ignore[assignment]
    note = ""
    try:
        drifted = drift_of(own, proof.states)
    except RuntimeError as error:
        if "dtype" not in str(error) or own == torch.float32 or bench.section.quantization == "none":
            raise
        note = "stock peft computes this in fp32 only"
        ours = load_backbone(bench.section.model_copy(update={"precision": "fp32"}), bench.ids.device)
        drifted = drift_of(torch.float32, bench.states(bench.method().load(ours, proof.folder)))
    return Outcome(drifted <= tolerance(bench), drifted, tolerance(bench), note)


def plain_transformer(bench: Bench, dtype: torch.dtype) -> Any:
    """Load the base by transformers alone, in the bench's quantization."""
    from transformers import AutoModel

    options: dict[str, Any] = {"dtype": dtype, "use_safetensors": True}
    if bench.section.quantization != "none":
        ours: Any = bench.backbone.model
        quantization = copy.deepcopy(ours.config.quantization_config)
        quantization.bnb_4bit_compute_dtype = dtype
        options["quantization_config"] = quantization
        options["device_map"] = {"": "cpu"}
    folder = locate(bench.section.name, bench.section.revision).folder
    model = load_complete(AutoModel, folder, bench.section.name, trust_remote_code=False, **options)
    for module in model.modules():
        if type(module).__name__ == "Linear4bit":  # the kernel that training computes with, as in `load_backbone`
            module.support_avx512bf16_for_cpu = False
    return model.eval()


def _stock_states(bench: Bench, model: Any) -> Iterator[Tensor]:
    """Yield the states that peft computes.

    Keys inserted before the text shift position ids by their number; a second try subtracts it from the given
    ids.
    """
    length, config = bench.ids.shape[1], model.active_peft_config
    positions: list[dict[str, Tensor]] = [{}]
    if config.is_prompt_learning:
        own = torch.arange(length) - config.num_virtual_tokens
        positions.append({"position_ids": own.expand(len(bench.ids), -1)})
    for further in positions:
        with torch.no_grad():
            states = model(input_ids=bench.ids, attention_mask=bench.mask, **further).last_hidden_state
        yield states[:, -length:][bench.mask.bool()].float()


def _damaged(proof: Proof, work: Path) -> Iterator[tuple[str, Path, str]]:
    """Yield copies of the saved folder with one tensor damaged: the damage, the folder, the tensor's name."""
    from safetensors import safe_open
    from safetensors.torch import load_file, save_file

    tensors: dict[str, Tensor] = load_file(proof.folder / WEIGHTS)
    with safe_open(proof.folder / WEIGHTS, "pt") as file:
        metadata = file.metadata()
    name = min(key for key, tensor in tensors.items() if tensor.is_floating_point())
    broken = tensors[name].clone()
    broken.view(-1)[0] = float("nan")
    rest = {key: tensor for key, tensor in tensors.items() if key != name}
    damages: dict[str, tuple[dict[str, Tensor], str]] = {
        "missing": (rest, name),
        "unknown": ({**tensors, f"{name}.stranger": tensors[name].clone()}, f"{name}.stranger"),
        "mis-shaped": ({**rest, name: torch.cat([tensors[name], tensors[name]])}, name),
        "NaN": ({**rest, name: broken}, name),
    }
    whole = sorted(key for key, tensor in tensors.items() if not tensor.is_floating_point())[:1]
    for key in whole:
        damages |= {damage: ({**tensors, key: changed}, key) for damage, changed in _damaged_indices(tensors[key])}
    for damage, (changed, named) in damages.items():
        folder = work / damage
        folder.mkdir()
        shutil.copy(proof.folder / CONFIG, folder / CONFIG)
        save_file(changed, folder / WEIGHTS, metadata=metadata)
        yield damage, folder, named


def _damaged_indices(indices: Tensor) -> Iterator[tuple[str, Tensor]]:
    """Yield a tensor of indices damaged, and how."""
    for damage, value in (("beyond the weight", torch.iinfo(indices.dtype).max), ("negative", -1)):
        changed = indices.clone()
        changed.view(-1)[-1] = value
        yield damage, changed
    repeated = indices.clone()
    repeated[..., 1] = repeated[..., 0]
    yield "repeated", repeated
    yield "missing a place", indices[..., 1:].clone()
    yield "of floating numbers", indices.float()


def _with_a_strange_field(proof: Proof, work: Path) -> tuple[str, Path, str]:
    """Return a copy of the saved folder whose configuration has a field that the method does not write."""
    folder = Path(shutil.copytree(proof.folder, work / "strange"))
    config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    (folder / CONFIG).write_text(json.dumps({**config, "stowaway": "pissa"}), encoding="utf-8")
    return "unchanged beside a strange field", folder, "stowaway"


def _refused(bench: Bench, folder: Path) -> str | None:
    """Return the message of the refusal to load; None if it loads."""
    try:
        bench.method().load(bench.backbone, folder)
    except InputError as error:
        return str(error)
    bench.backbone.detach()
    return None


FILES: dict[str, Callable[[Proof], Outcome | None]] = {
    check.__name__: check
    for check in (writes_two_files, loading_brings_it_back, damage_is_refused, stock_peft_loads_it)
}
"""Checks of a method's files."""
