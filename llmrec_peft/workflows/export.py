"""Export: a run's tuned text encoder alone, as ONNX or as a sentence-transformers folder, checked against the run's."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor

from llmrec_peft.artifact.folder import require_free, whole_folder
from llmrec_peft.artifact.manifest import write_json
from llmrec_peft.backbone.base import public_name
from llmrec_peft.backbone.load import load_backbone
from llmrec_peft.backbone.model_folder import write_model_folder, write_reading
from llmrec_peft.backbone.onnx_file import FILE, INPUTS, OPSET, OUTPUT, onnx_vectors, require_onnx, write_onnx
from llmrec_peft.backbone.preflight import known_facts
from llmrec_peft.backbone.quiet import quiet_transformers
from llmrec_peft.backbone.tokenizer import load_tokenizer
from llmrec_peft.errors import InputError
from llmrec_peft.identity import __version__, file_digest
from llmrec_peft.printable import for_markdown
from llmrec_peft.recipe.sections import BackboneSection
from llmrec_peft.run.merged_model import TunedWeights, require_mergeable, require_own_code, tuned_weights
from llmrec_peft.run.recommender import Recommender
from llmrec_peft.workflows.answer_change import change_of_vectors

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llmrec_peft.backbone.load import Backbone
    from llmrec_peft.backbone.text_reader import TextReader
    from llmrec_peft.run.tenant import LoadedTenant

Format = Literal["onnx", "safetensors"]
ABOUT = "encoder.json"
"""File that says how the exported encoder reads texts."""
BOUND = 1e-4
"""Largest difference of a number of a vector from the run's model in fp32 with which an export is written."""
CHECKED = 64
"""Items whose texts are encoded for the check, at most."""


@dataclass(frozen=True)
class _Check:
    """Texts of the check and what they have to give.

    Attributes:
        rows: Rows of the catalogue whose texts come first.
        texts: These items' texts, the longest one among them; an empty text; one that is cut.
        vectors: Their vectors by the run's model in fp32, float32 [n, width].
    """

    rows: list[int]
    texts: list[str]
    vectors: Tensor


def export(run: Path, out: Path, kind: Format) -> dict[str, Any]:
    """Write a run's text encoder into a folder of its own, with tokenizer, pooling, scaling and prompt of items' texts.

    ``safetensors``: a sentence-transformers folder whose weights hold the adapter. ``onnx``: one graph from token ids
    to vectors; an adapter that cannot be merged is part of the graph. Both are computed in fp32. What was written is
    read again and encodes texts of the run's items, an empty text and one that is cut.

    Args:
        run: Run folder.
        out: Folder to write.
        kind: ``onnx`` or ``safetensors``.

    Returns:
        What ``encoder.json`` says.

    Raises:
        InputError: If the run reads no texts of items, its adapter or model cannot be exported so, or vectors differ by
            more than `BOUND`; nothing is written then.
    """
    require_free(out, overwrite=False, advice="--out names another folder")
    tenant = Recommender.from_pretrained(run).loaded
    recipe = tenant.adapter.recipe
    if not tenant.model.plan.item:
        raise InputError(f"{run} reads no texts of items, so it has no vectors of items to export an encoder for")
    require_own_code(recipe.backbone)
    if kind == "onnx":
        require_onnx()
        facts = known_facts(recipe.backbone.name, recipe.backbone.revision)  # None before a base is downloaded
        _require_encoder(None if facts is None else facts.kind)
    else:
        require_mergeable(recipe)
    tuned = tuned_weights(tenant.folder, tenant.manifest, recipe, "fp32")
    if kind == "onnx":
        _require_encoder(tuned.backbone.kind)
    reader = tuned.backbone.reads(recipe.backbone)
    length = reader.length(recipe.views.item.max_length)
    check = _check(tenant, tuned, reader, length)
    with whole_folder(out) as folder:
        if kind == "onnx":
            what = f"{recipe.adapter.method} in {recipe.backbone.name}"
            write_onnx(folder / FILE, tuned.model, reader.reading(), tuned.backbone.window, what)
            tuned.backbone.tokenizer.save_pretrained(folder)
            found = _by_onnx(folder, check.texts, reader.prompts["item"], length)
        else:
            write_model_folder(folder, tuned.model, tuned.backbone)
            write_reading(folder, tuned.backbone, reader, length)
            found = _by_folder(folder, check.texts, length)
        about = _about(tenant, tuned, reader, length, kind)
        about["check"] = _compared(found, check, tenant, out)
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        about["files"] = {path.relative_to(folder).as_posix(): file_digest(path) for path in files}
        write_json(folder / ABOUT, about)
        (folder / "README.md").write_text(_readme(about), encoding="utf-8")
    return about


def _require_encoder(kind: str | None) -> None:
    """Refuse a decoder.

    Raises:
        InputError: With what to do instead.
    """
    if kind == "decoder":
        raise InputError(
            "--format onnx is for encoders, and the base is a decoder: most are larger than one ONNX file can hold, and"
            " no graph of one was checked; --format safetensors writes it for sentence-transformers"
        )


def _check(tenant: LoadedTenant, tuned: TunedWeights, reader: TextReader, length: int) -> _Check:
    """Choose texts, and encode them by the model as it is in memory."""
    items = tenant.items.texts
    rows = np.random.default_rng(0).choice(len(items), min(CHECKED, len(items)), replace=False).tolist()
    longest = max(range(len(items)), key=lambda row: len(items[row]))
    rows = sorted({*rows, longest})
    texts = [items[row] for row in rows]
    texts += ["", "text " * (length + 1)]  # each word is a token at least, so that the end is cut
    return _Check(rows, texts, _encoded(reader, tuned.model, tuned.backbone, texts, length))


def _encoded(reader: TextReader, model: Any, backbone: Backbone, texts: Sequence[str], length: int) -> Tensor:
    """Return vectors of texts, float32 [n, width]."""
    table = reader.tokenized(texts, length)
    encoder = reader.encoder(model, list(backbone.model.modules())).eval()
    with torch.no_grad():
        distinct = encoder.encode(table)
    return distinct[torch.as_tensor(table.row_of)].float()


def _by_onnx(folder: Path, texts: Sequence[str], prompt: str, length: int) -> Tensor:
    """Encode texts by onnxruntime, as whoever takes the folder does: all together, padded, and the last ones alone."""
    with quiet_transformers():
        tokenizer = load_tokenizer(folder)

    def vectors(some: Sequence[str]) -> Tensor:
        asked = {"truncation": True, "max_length": length, "padding": True, "return_tensors": "np"}
        tokens = tokenizer([prompt + text for text in some], **asked)
        ids, mask = (tokens[name].astype(np.int64) for name in INPUTS)
        return torch.from_numpy(onnx_vectors(folder / FILE, ids, mask))

    together, alone = vectors(texts), torch.cat([vectors([text]) for text in texts[-2:]])
    apart = float((together[-2:] - alone).abs().max())
    if not apart <= BOUND:
        raise InputError(f"--format onnx: a text's vector changes by {apart:.2g} with the texts beside it")
    return together


def _by_folder(folder: Path, texts: Sequence[str], length: int) -> Tensor:
    """Encode texts by the model folder, read again as any base."""
    section = BackboneSection(name=str(folder), precision="fp32")
    backbone = load_backbone(section, torch.device("cpu"))
    return _encoded(backbone.reads(section), backbone.model, backbone, texts, length)


def _compared(found: Tensor, check: _Check, tenant: LoadedTenant, out: Path) -> dict[str, Any]:
    """Compare vectors with the model's in memory, and with those that the run stores.

    Raises:
        InputError: If they differ from the first by more than `BOUND`.
    """
    if found.shape != check.vectors.shape:
        raise InputError(f"{out} was not written: vectors have the shape {list(found.shape)}")
    difference = float((found - check.vectors).abs().max())
    if not difference <= BOUND:  # also for NaN
        raise InputError(
            f"{out} was not written: its vectors differ by {difference:.2g} from the run's model in fp32, more than"
            f" {BOUND:g}"
        )
    compared: dict[str, Any] = {"texts": len(check.texts), "largest_difference": difference, "bound": BOUND}
    stored = tenant.catalogue.vectors
    if stored is not None:
        some = stored[torch.tensor(check.rows, device=stored.device)].float().cpu()
        compared["stored_vectors"] = change_of_vectors(found[: len(check.rows)], some)
    return compared


def _about(tenant: LoadedTenant, tuned: TunedWeights, reader: TextReader, length: int, kind: Format) -> dict[str, Any]:
    """Return how the exported encoder reads texts, and what it was made of."""
    base = tenant.manifest.base
    graph = {"file": FILE, "opset": OPSET, "inputs": list(INPUTS), "output": OUTPUT, "input_type": "int64"}
    return {
        "format": kind,
        "version": __version__,
        **({"graph": graph} if kind == "onnx" else {}),
        "reads": {**reader.plain(), "max_length": length, "padding": "right"},
        "width": reader.width,
        "precision": "fp32",
        "run": tenant.manifest.digest,
        "recipe": tenant.recipe.name,
        "adapter": {"method": tenant.adapter.recipe.adapter.method, "merged": tuned.merged},
        "base": {
            "name": public_name(base),
            **{name: base.get(name) for name in ("revision", "weights_sha256", "quantization")},
        },
    }


def _readme(about: dict[str, Any]) -> str:
    """Return the README of the folder."""
    base, reads = about["base"], about["reads"]
    prompt = f", after the text {for_markdown(reads['prompts']['item'])}" if reads["prompts"]["item"] else ""
    how = "model.onnx by onnxruntime" if about["format"] == "onnx" else "this folder by sentence-transformers"
    return (
        f"# Text encoder of the recipe {for_markdown(about['recipe'])}\n\n"
        f"Load {how}. A text has at most {reads['max_length']} tokens{prompt}; its vector has {about['width']} numbers."
        f" `{ABOUT}` says the rest: pooling, scaling, digests.\n\n"
        f"Made by llmrec-peft {about['version']} from {for_markdown(base['name'])}, revision"
        f" {for_markdown(base['revision'] or 'unknown')}, with the {for_markdown(about['adapter']['method'])} adapter"
        f" of run `{about['run'][:16]}`. The licence of that model holds for these weights too.\n"
    )
