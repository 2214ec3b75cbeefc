"""Hostile files of an embedding model: modules, pooling, Dense layers, prompts, lengths; reading only."""

from __future__ import annotations

import copy
import json
import os
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from safetensors.torch import save

from fuzz.harness import Attempt
from llmrec_peft.backbone.dense import load_dense
from llmrec_peft.backbone.embedding_model import LONGEST_PROMPT, read_embedding_model
from llmrec_peft.backbone.text_reader import text_reader
from llmrec_peft.recipe.sections import BackboneSection

OLD, NEW = "sentence_transformers.models.", "sentence_transformers.base.modules."
DENSE = "2_Dense/model.safetensors"
PLAIN: dict[str, Any] = {
    "modules.json": [
        {"idx": 0, "name": "0", "path": "", "type": OLD + "Transformer"},
        {"idx": 1, "name": "1", "path": "1_Pooling", "type": OLD + "Pooling"},
        {"idx": 2, "name": "2", "path": "2_Dense", "type": NEW + "dense.Dense"},
        {"idx": 3, "name": "3", "path": "3_Normalize", "type": NEW + "normalize.Normalize"},
    ],
    "1_Pooling/config.json": {"word_embedding_dimension": 8, "pooling_mode_mean_tokens": True, "include_prompt": True},
    "2_Dense/config.json": {
        "in_features": 8,
        "out_features": 4,
        "bias": True,
        "activation_function": "torch.nn.modules.activation.Tanh",
    },
    "config_sentence_transformers.json": {"prompts": {"query": "query: ", "document": ""}, "default_prompt_name": None},
    "sentence_bert_config.json": {"max_seq_length": 32, "do_lower_case": False},
}
VALUES: list[Any] = [
    *(None, True, False, 0, -1, 1, 1.5, 10**30, -(10**400), 2**63, "", "x", "\x00", "\x1b[31m", "é" * 5000, [], {}),
    *(["cls"], ["cls", "mean"], [[[]]], {"a": {"b": []}}, "../..", "/etc/passwd", "1_Pooling/../..", "a" * 300),
    *("os.system", "torch.nn.Module", "torch.nn.modules.activation.ReLU", "torch.load", "lasttoken", "weightedmean"),
    *(OLD + "CNN", OLD + "Router", "custom.Module", "sentence_transformers.", [1, "query"], {"query": 3}),
]
TEXTS = [
    *(b"", b"null", b"[]", b"{}", b"[" * 50_000, b'{"a":' * 30_000, b"NaN", b'{"max_seq_length": NaN}', b"\xff\xfe{}"),
    *(b'{"in_features": 1e999}', b'{"bias": true, "bias": 3}', b" " * (1 << 20) + b"{} ", "{}".encode("utf-16")),
    *(b'{"prompts": {"query": "' + b"q" * 200_000 + b'"}}', b"1" * 20_000),
]


def attempts(rng: random.Random, folder: Path) -> Iterator[Attempt]:
    """Endless mutations of one folder, each in a fresh copy."""
    weights = {"linear.weight": torch.zeros(4, 8), "linear.bias": torch.zeros(4)}
    number = 0
    while True:
        number += 1
        place = folder / "model"
        shutil.rmtree(place, ignore_errors=True)
        files = {name: json.dumps(content).encode() for name, content in PLAIN.items()} | {DENSE: save(weights)}
        for name, content in files.items():
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            (place / name).write_bytes(content)
        names = []
        for _ in range(rng.choice([1, 1, 1, 2, 3])):
            change = rng.choice([_value, _value, _value, _value, _text, _bytes, _thing, _tensor])
            names.append(change(rng, place))
        yield Attempt(f"{number}: {', '.join(names)}", _reader(place))


def _reader(place: Path) -> Callable[[], None]:
    def read() -> None:
        found = read_embedding_model(place)
        if found is None:
            return
        assert found.pooling in (None, "mean", "cls", "max", "mean-sqrt", "weighted-mean", "last-token")
        assert all(isinstance(text, str) and len(text) <= LONGEST_PROMPT for text in found.prompts.values())
        assert found.max_length is None or found.max_length > 0
        assert all(".." not in name and not name.startswith("/") for name in found.files)
        dense = load_dense(place, found.dense, 8)
        if dense is not None:
            assert bool(dense(torch.ones(2, 8)).isfinite().all())
        tokenizer = SimpleNamespace(all_special_ids=[0], model_max_length=10**30)
        backbone: Any = SimpleNamespace(
            embedding_model=found, dense=dense, kind="encoder", width=8, window=512, tokenizer=tokenizer
        )
        backbone.tokenize = lambda texts, _: [[1] * len(text.split()) or [1] for text in texts]
        text_reader(backbone, BackboneSection())

    return read


def _value(rng: random.Random, place: Path) -> str:
    """Replace, add or remove one value somewhere in a JSON file."""
    name = rng.choice(list(PLAIN))
    content = copy.deepcopy(PLAIN[name])
    spots: list[tuple[Any, Any]] = []

    def walk(node: Any) -> None:
        for key in range(len(node)) if isinstance(node, list) else list(node):
            spots.append((node, key))
            if isinstance(node[key], dict | list):
                walk(node[key])

    walk(content)
    node, key = rng.choice(spots)
    value = rng.choice(VALUES)
    if rng.random() < 0.15:
        del node[key]
    elif isinstance(node, dict) and rng.random() < 0.35:
        more = (
            "pooling_mode use_residual module_input_name query_expansion modality_config model_type processing_kwargs"
        )
        key = rng.choice(more.split())
        node[key] = value
    else:
        node[key] = value
    _write(place / name, json.dumps(content).encode())
    return f"{name} {key} = {str(value)[:20]!r}"


def _text(rng: random.Random, place: Path) -> str:
    name, text = rng.choice(list(PLAIN)), rng.choice(TEXTS)
    _write(place / name, text)
    return f"{name} is {text[:20]!r}"


def _bytes(rng: random.Random, place: Path) -> str:
    """Truncate a file, or change some of its bytes."""
    name = rng.choice([*PLAIN, DENSE])
    if not (place / name).is_file():
        return f"{name} is gone"
    content = bytearray((place / name).read_bytes())
    if rng.random() < 0.4:
        del content[rng.randrange(len(content) + 1) :]
    elif content:
        for _ in range(rng.choice([1, 2, 8])):
            content[rng.randrange(len(content))] = rng.randrange(256)
    _write(place / name, bytes(content))
    return f"{name} with other bytes"


def _thing(rng: random.Random, place: Path) -> str:
    """Put something else than a file in a file's place."""
    name, what = rng.choice([*PLAIN, DENSE]), rng.choice(["nothing", "folder", "loop", "dangling", "pipe", "device"])
    path = place / name
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    if what == "folder":
        path.mkdir()
    elif what == "loop":
        path.symlink_to(path.name)
    elif what == "dangling":
        path.symlink_to("nowhere")
    elif what == "pipe":
        os.mkfifo(path)
    elif what == "device":
        path.symlink_to("/dev/zero")
    return f"{name} is {what}"


def _tensor(rng: random.Random, place: Path) -> str:
    """Other tensors in the Dense layer's file."""
    weight: Any = rng.choice(
        [torch.zeros(4, 7), torch.full((4, 8), torch.nan), torch.zeros(4, 8).bool(), torch.zeros(4, 8).half()]
    )
    names = rng.choice([("linear.weight", "linear.bias"), ("weight", "bias"), ("linear.weight", "x")])
    _write(place / DENSE, save({names[0]: weight, names[1]: torch.zeros(4)}))
    return f"{DENSE} with {names} {tuple(weight.shape)} {weight.dtype}"


def _write(path: Path, content: bytes) -> None:
    """Write a file where an earlier change may have left something else."""
    if path.is_symlink() or path.exists():
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    path.write_bytes(content)
