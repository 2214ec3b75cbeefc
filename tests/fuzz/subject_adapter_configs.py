"""Adapters' files of every method over one tiny base in memory.

After each input the base has the bytes that it had before; and what is accepted answers as the adapter that was
trained: an edit of the configuration that passes has changed nothing.
"""

from __future__ import annotations

import json
import os
import random
import tempfile
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import torch
from security.strangers_adapters import CONFIG, VARIANTS, WEIGHTS, SavedAdapters, edit_tensors, saved_adapters

from fuzz.harness import Attempt

REDOS = "(?:(?:[a-z.0-9_]+)+)+X"
VALUES = (
    *(None, True, False, 0, 1, -1, 2, 8, 12, 16, 10**9, 10**30, 0.0, 0.1, 16.0, -1.5, 1e30, 1e-30),
    *(float("nan"), float("inf"), float("-inf"), "", "all", "lora_only", "pissa", "olora", "pissa_niter_4", "eva"),
    *("gaussian", "loftq", "corda", "orthogonal", REDOS, ".*", "all-linear", "LORA", "ADALORA", "FULL", "NONE", "os"),
    *("\ud800", "a\nb", "\x1b[31m", "../../etc/passwd", "x" * 5000, [], {}, [[0, 4]] * 500, [1, 2, 3], ["query"]),
    *(
        [None],
        {"a": 1},
        {REDOS: 8},
        {"encoder.layer.0": 1e30},
        [[[[1]]]],
        ["embeddings", "encoder.layer.0"],
        [[]] * 100,
    ),
)
STRANGE = (
    *("runtime_config", "layer_replication", "alora_invocation_tokens", "modules_to_save", "exclude_modules"),
    *("trainable_token_indices", "target_parameters", "eva_config", "corda_config", "loftq_config", "megatron_config"),
    *(
        "layers_pattern",
        "layers_to_transform",
        "rank_pattern",
        "alpha_pattern",
        "init_lora_weights",
        "bias",
        "use_dora",
    ),
    *(
        "__class__",
        "self",
        "",
        "peft_type ",
        "target_modules",
        "tokenizer_kwargs",
        "auto_mapping",
        "total_step",
        "tinit",
    ),
)
SCALARS = (float("nan"), float("inf"), 1e30, -1e30, 65_504.0, 65_600.0, 3.0, -0.0, 1e-40)


@cache
def _saved() -> SavedAdapters:
    return saved_adapters(Path(tempfile.mkdtemp(prefix="fuzz-adapters-")))


@cache
def _states(name: str) -> torch.Tensor:
    saved = _saved()
    try:
        return saved.states(saved.method(name).load(saved.backbone, saved.folder / name))
    finally:
        saved.backbone.detach()


def attempts(rng: random.Random, folder: Path) -> Iterator[Attempt]:
    """Damage the files of some method, and load them by its recipe."""
    saved = _saved()
    while True:
        name, change, seed = rng.choice(saved.names), rng.choice(CHANGES), rng.getrandbits(40)
        yield Attempt(f"{name} {change.__name__} {seed}", _call(name, change, random.Random(seed), folder / "run"))


def _call(
    name: str, change: Callable[[Path, random.Random], object], rng: random.Random, folder: Path
) -> Callable[[], None]:
    def call() -> None:
        saved = _saved()
        expected = _states(name)
        saved.copy(name, folder)
        change(folder, rng)
        with saved.untouched():
            try:
                model = saved.method(name).load(saved.backbone, folder)
                states = saved.states(model)
                assert change not in CONFIG_CHANGES or torch.equal(states, expected), "an edit changed the answer"
            finally:
                saved.backbone.detach()

    return call


def _edited(folder: Path, fields: Any) -> None:
    (folder / CONFIG).write_text(json.dumps(fields), encoding="utf-8")


def _fields(folder: Path) -> dict[str, Any]:
    fields: dict[str, Any] = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    return fields


def one_field(folder: Path, rng: random.Random) -> None:
    fields = _fields(folder)
    _edited(folder, {**fields, rng.choice(sorted(fields)): rng.choice(VALUES)})


def several_fields(folder: Path, rng: random.Random) -> None:
    fields = _fields(folder)
    for name in rng.sample(sorted(fields), k=min(len(fields), rng.randrange(2, 6))):
        fields[name] = rng.choice(VALUES)
    _edited(folder, fields)


def strange_field(folder: Path, rng: random.Random) -> None:
    _edited(folder, {**_fields(folder), rng.choice(STRANGE): rng.choice(VALUES)})


def missing_fields(folder: Path, rng: random.Random) -> None:
    fields = _fields(folder)
    for name in rng.sample(sorted(fields), k=rng.randrange(1, len(fields))):
        del fields[name]
    _edited(folder, fields)


def nudged(folder: Path, rng: random.Random) -> None:
    """A value next to the right one, or of a type that Python calls equal."""
    fields = _fields(folder)
    name = rng.choice(sorted(fields))
    value = fields[name]
    if isinstance(value, bool):
        fields[name] = rng.choice((int(value), not value, str(value)))
    elif isinstance(value, int | float):
        fields[name] = rng.choice((value + 1, value * (1 + 1e-15), -value, float(value), str(value), [value]))
    elif isinstance(value, str):
        fields[name] = rng.choice((value + "|.*", value.lower(), f"(?:{value})", [value], value[:-1], value * 100))
    else:
        fields[name] = rng.choice((not value, [value], {}, []))
    _edited(folder, fields)


def ranks(folder: Path, rng: random.Random) -> None:
    """AdaLoRA's ranks; other methods have none."""
    fields = _fields(folder)
    own = fields.get("rank_pattern") or {"encoder.layer.0.attention.self.query.lora_E": [True] * 4}
    name = rng.choice(sorted(own))
    kept = list(own[name])
    what = rng.randrange(6)
    if what == 0:
        rng.shuffle(kept)
    elif what == 1:
        kept = [rng.random() < 0.5 for _ in kept]
    elif what == 2:
        kept = kept * rng.choice((0, 2, 1000))
    elif what == 3:
        kept = rng.choice(VALUES)
    elif what == 4:
        kept[rng.randrange(len(kept))] = rng.choice(VALUES)
    else:
        own = {**own, rng.choice(("", REDOS, name.replace("0", "1"), f"{name}.lora_E", "lora_E")): own[name]}
    fields["rank_pattern"] = {**own, name: kept}
    _edited(folder, fields)


def text(folder: Path, rng: random.Random) -> None:
    """The bytes of the configuration."""
    path = folder / CONFIG
    data = bytearray(path.read_bytes())
    what = rng.randrange(6)
    if what == 0:
        data = data[: rng.randrange(len(data))]
    elif what == 1:
        for _ in range(rng.choice((1, 1, 4))):
            data[rng.randrange(len(data))] = rng.choice(b'{}[],:"0123456789-.eE \\\x00\xff')
    elif what == 2:
        name, value = rng.choice(STRANGE + tuple(_fields(folder))), rng.choice(VALUES)
        data = data.rstrip()[:-1] + f", {json.dumps(name)}: {json.dumps(value)}}}".encode()
    elif what == 3:
        data = bytearray(
            rng.choice((b"", b"[]", b"{}", b"null", b"[" * 50_000, b'{"a":' * 50_000, b"1e999", b'"LORA"'))
        )
    elif what == 4:
        data = bytearray(data.decode().encode(rng.choice(("utf-16", "utf-32", "utf-8-sig"))))
    else:
        at = rng.randrange(len(data))
        data[at:at] = rng.randbytes(rng.randrange(1, 20))
    path.write_bytes(data)


def places(folder: Path, rng: random.Random) -> None:
    """What stands where a file should."""
    path = folder / rng.choice((CONFIG, WEIGHTS))
    path.unlink()
    what = rng.randrange(6)
    if what == 0:
        path.mkdir()
    elif what == 1:
        os.mkfifo(path)
    elif what == 2:
        path.symlink_to(rng.choice(("nowhere", path.name, "/dev/zero", "/etc/passwd", "..")))
    elif what == 3:
        path.write_bytes(rng.randbytes(100))
    elif what == 4:
        path.touch()
        os.truncate(path, rng.choice((1 << 20, 1 << 34, 1 << 42)))


def another_method(folder: Path, rng: random.Random) -> None:
    other = _saved().folder / rng.choice(sorted(VARIANTS))
    for file in rng.choice(((CONFIG,), (WEIGHTS,), (CONFIG, WEIGHTS))):
        (folder / file).write_bytes((other / file).read_bytes())


def tensors(folder: Path, rng: random.Random) -> None:
    """Names, shapes, types and values of the tensors."""
    base = dict(_saved().backbone.model.named_parameters())

    def change(own: dict[str, torch.Tensor]) -> None:
        if not own:
            own["a"] = torch.zeros(1)
            return
        name = rng.choice(sorted(own))
        what = rng.randrange(9)
        if what == 0:
            del own[name]
        elif what == 1:
            own[f"base_model.model.{rng.choice(sorted(base))}"] = torch.full((4,), 3.0)
        elif what == 2:
            table = rng.choice(sorted(base))
            own[rng.choice(("", "base_model.model.")) + table] = torch.zeros_like(base[table])
        elif what == 3:
            own[rng.choice(("a\nb", "\x1b[31m", "", "x" * 3000, f"{name}.default"))] = own.pop(name)
        elif what == 4:
            own[name] = own[name][..., :-1] if own[name].ndim else own[name].reshape(1)
        elif what == 5:
            own[name] = own[name].reshape(-1)
        elif what == 6:
            own[name] = own[name].to(rng.choice((torch.float64, torch.int8, torch.bool, torch.bfloat16, torch.float16)))
        elif what == 7:
            own[name] = own[name].T if own[name].ndim == 2 else own[name][None]
        else:
            flat = own[name].view(-1)
            flat[rng.randrange(len(flat))] = rng.choice(SCALARS)

    edit_tensors(folder, change)


CONFIG_CHANGES = (one_field, several_fields, strange_field, missing_fields, nudged, ranks, text)
CHANGES = (*CONFIG_CHANGES, one_field, nudged, ranks, places, another_method, tensors, tensors)
