"""Fuzz of base folders: configurations, tokenizer files, safetensors headers and bytes, indexes, links, FIFOs.

What loads must be what its files say: every tensor finite and the same at a second loading, every id embedded.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import struct
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from tiny_base import make_base

from fuzz.harness import Attempt
from llmrec_peft.backbone.load import load_backbone
from llmrec_peft.backbone.preflight import known_facts
from llmrec_peft.identity import tensors_digest
from llmrec_peft.recipe.sections import BackboneSection

VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 2, 3, 7, 10**6, 10**9, 10**12, 10**19, -(10**9), 2**63, 0.0, 0.5, 1e308, -1e-9),
    *("", "x", "gelu", "relu", "bert", "llama", "../../x", "a" * 5000, "\u202e\x1b[31m", "none/such"),
    *([], [1, 2], [[]], {}, {"a": 1}, ["bert"] * 50, float("nan"), float("inf")),
)
FIELDS = (
    *("quantization_config", "auto_map", "transformers_weights", "attn_implementation", "rope_scaling", "torch_dtype"),
    *("is_decoder", "add_cross_attention", "chunk_size_feed_forward", "position_embedding_type", "vision_config"),
    *("text_config", "layer_types", "num_labels", "id2label", "pruned_heads", "tie_word_embeddings", "dtype"),
    *("problem_type", "return_dict", "output_hidden_states", "output_attentions", "use_return_dict", "bos_token_id"),
)
HEADERS: tuple[Any, ...] = (
    *({}, [], None, {"a": 1}, {"a": {"dtype": "F32"}}, {"__metadata__": {"format": 3}}),
    {
        "a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]},
        "b": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]},
    },
    {"a": {"dtype": "F32", "shape": [2**40, 2**40], "data_offsets": [0, 4]}},
    {"a": {"dtype": "F99", "shape": [1], "data_offsets": [0, 4]}},
    {"a": {"dtype": "F32", "shape": [-1], "data_offsets": [4, 0]}},
    {f"t{n}": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for n in range(2000)},
)

STRAY = (
    *(
        "adapter_config.json",
        "adapter_model.safetensors",
        "manifest.json",
        "model.safetensors.index.json",
        "modules.json",
    ),
    *("added_tokens.json", "vocab.txt", "merges.txt", "special_tokens_map.json", "chat_template.jinja", "spiece.model"),
    *("tokenizer.model", "generation_config.json", "processor_config.json", "config_sentence_transformers.json"),
    "model-00001-of-00002.safetensors",
)


def attempts(rng: random.Random, folder: Path) -> Iterator[Attempt]:
    """Yield mutated copies of a tiny encoder and a tiny decoder."""
    sources = [
        make_base(folder / "sound" / "bert"),
        make_base(folder / "sound" / "roberta", "roberta", pad_token_id=0),
        make_base(folder / "sound" / "llama", "llama", num_key_value_heads=1),
    ]
    for source in sources:
        _load(source)
    number = 0
    while True:
        number += 1
        seed = rng.randrange(1 << 60)
        made = random.Random(seed)
        source, (name, change) = made.choice(sources), made.choice(list(CHANGES.items()))
        yield Attempt(f"{number} {source.name}: {name} {seed}", partial(_try, source, folder / "one", change, made))


def _try(source: Path, work: Path, change: Callable[[Path, random.Random], None], rng: random.Random) -> None:
    _remove(work)
    shutil.copytree(source, work)
    change(work, rng)
    try:
        known_facts(str(work))
        first = _load(work)
        assert first == _load(work), "two loads of one folder are two models"
    finally:
        _remove(work)


def _load(folder: Path) -> str:
    backbone = load_backbone(BackboneSection(name=str(folder), precision="fp32"), torch.device("cpu"))
    for name, tensor in backbone.model.state_dict().items():
        assert bool(tensor.isfinite().all()), f"{name} is not finite"
    rows = backbone.tokenize(["silent window [PAD] heat", "", "x" * 50], 12)
    ids = torch.tensor([rows[0]])
    assert int(ids.max()) < backbone.model.get_input_embeddings().num_embeddings  # type: ignore[operator]
    return tensors_digest(backbone.model.state_dict())


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)


def _json_field(name: str) -> Callable[[Path, random.Random], None]:
    def change(base: Path, rng: random.Random) -> None:
        values = json.loads((base / name).read_text())
        for _ in range(rng.choice((1, 1, 1, 2, 5))):
            field = rng.choice([*values, *FIELDS])
            if rng.random() < 0.15:
                values.pop(field, None)
            else:
                values[field] = rng.choice(VALUES)
        (base / name).write_text(json.dumps(values))

    return change


def _deep_field(base: Path, rng: random.Random) -> None:
    """Change something deep inside the tokenizer."""
    values: Any = json.loads((base / "tokenizer.json").read_text())
    at: Any = values
    while True:
        key = rng.choice(list(at) if isinstance(at, dict) else list(range(len(at))))
        inner = at[key]
        if not isinstance(inner, dict | list) or not inner or rng.random() < 0.3:
            at[key] = rng.choice(VALUES)
            break
        at = inner
    (base / "tokenizer.json").write_text(json.dumps(values))


def _any_file(base: Path, rng: random.Random) -> Path:
    return rng.choice(sorted(path for path in base.iterdir() if path.is_file()))


def _flip(base: Path, rng: random.Random) -> None:
    path = _any_file(base, rng)
    content = bytearray(path.read_bytes())
    for _ in range(rng.choice((1, 1, 3, 50))):
        at = rng.randrange(min(len(content), rng.choice((16, 4000, len(content)))))
        content[at] ^= 1 << rng.randrange(8)
    path.write_bytes(content)


def _cut(base: Path, rng: random.Random) -> None:
    path = _any_file(base, rng)
    content = path.read_bytes()
    path.write_bytes(content[: rng.randrange(len(content))])


def _lengthen(base: Path, rng: random.Random) -> None:
    path = _any_file(base, rng)
    path.write_bytes(path.read_bytes() + rng.randbytes(rng.choice((1, 8, 1000))))


def _garbage(base: Path, rng: random.Random) -> None:
    _any_file(base, rng).write_bytes(
        rng.choice((b"", b"\0", b"[]", b"{}", b"null", b"\xff\xfe{", b"[" * 9999, rng.randbytes(99)))
    )


def _delete(base: Path, rng: random.Random) -> None:
    _any_file(base, rng).unlink()


def _other_kind(base: Path, rng: random.Random) -> None:
    path = _any_file(base, rng)
    path.unlink()
    kind = rng.randrange(5)
    if kind == 0:
        os.mkfifo(path)
    elif kind == 1:
        path.mkdir()
    else:
        path.symlink_to(("/dev/zero", path.name, "nowhere")[kind - 2])


def _stray(base: Path, rng: random.Random) -> None:
    name = rng.choice(STRAY)
    content = rng.choice(
        (b"", b"{}", b"[]", b'{"<x>": 40}', b'{"weight_map": {}}', b'{"a": {"b": []}}', rng.randbytes(40))
    )
    (base / name).write_bytes(content)


def _tensors(base: Path, rng: random.Random) -> None:
    path = base / "model.safetensors"
    tensors = load_file(path)
    name = rng.choice(sorted(tensors))
    kind = rng.randrange(7)
    if kind == 0:
        del tensors[name]
    elif kind == 1:
        tensors[name].view(-1)[rng.randrange(tensors[name].numel())] = rng.choice((float("nan"), float("inf")))
    elif kind == 2:
        tensors[name] = tensors[name].reshape(-1)[:-1].clone()
    elif kind == 3:
        prefix = rng.choice(("bert.", "model.", "_orig_mod.", "text_encoder.", "a" * 999, "\u202e", "0."))
        tensors = {f"{prefix}{key}": tensor for key, tensor in tensors.items()}
    elif kind == 4:
        tensors[name] = tensors[name].to(
            rng.choice((torch.float16, torch.int8, torch.bool, torch.float64, torch.float8_e4m3fn))
        )
    elif kind == 5:
        tensors[f"{name.rpartition('.')[0]}.{rng.choice(('bias', 'weight', 'scale', 'SCB'))}"] = torch.ones(3)
    else:
        tensors[name.replace("0", "9")] = tensors.pop(name)
    save_file(tensors, path, rng.choice(({"format": "pt"}, {"format": "tf"}, {"format": ""}, None)))


def _header(base: Path, rng: random.Random) -> None:
    path = base / "model.safetensors"
    content = path.read_bytes()
    length = struct.unpack("<Q", content[:8])[0]
    header: Any = json.loads(content[8 : 8 + length])
    if rng.random() < 0.4:
        header = rng.choice(HEADERS)
    else:
        entry = header[rng.choice([name for name in header if name != "__metadata__"])]
        entry[rng.choice(("dtype", "shape", "data_offsets", "more"))] = rng.choice(
            (*VALUES, [0, 4], [4, 0], "F32", "BF16")
        )
    written = json.dumps(header).encode()
    claimed = rng.choice((len(written), len(written), len(written), 0, 7, 2**32, 2**63, 10**8))
    path.write_bytes(struct.pack("<Q", claimed) + written + content[8 + length :])


def _sharded(base: Path, rng: random.Random) -> None:
    tensors = load_file(base / "model.safetensors")
    if rng.random() < 0.8:
        (base / "model.safetensors").unlink()
    shards: dict[str, dict[str, torch.Tensor]] = {}
    for name, tensor in tensors.items():
        shards.setdefault(f"model-0000{rng.randrange(1, 4)}-of-00003.safetensors", {})[name] = tensor
    index: dict[str, Any] = {name: file for file, some in shards.items() for name in some}
    for file, some in shards.items():
        save_file(some, base / file, {"format": "pt"})
    if rng.random() < 0.7:
        name = rng.choice(sorted(index))
        index[name] = rng.choice((*VALUES[:6], *VALUES[19:27], *shards, "/etc/passwd", "no.safetensors"))
    written: Any = {
        "metadata": rng.choice(({}, None, 3)),
        "weight_map": rng.choice((index, index, index, list(index), {})),
    }
    (base / "model.safetensors.index.json").write_text(json.dumps(written))


CHANGES: dict[str, Callable[[Path, random.Random], None]] = {
    "config field": _json_field("config.json"),
    "config fields": _json_field("config.json"),
    "tokenizer_config field": _json_field("tokenizer_config.json"),
    "tokenizer field": _json_field("tokenizer.json"),
    "deep in the tokenizer": _deep_field,
    "flip": _flip,
    "cut": _cut,
    "lengthen": _lengthen,
    "garbage": _garbage,
    "delete": _delete,
    "other kind of file": _other_kind,
    "stray file": _stray,
    "tensors": _tensors,
    "header": _header,
    "shards": _sharded,
}
