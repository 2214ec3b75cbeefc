"""Run folders from strangers: every file changed in every way, with the manifest as it was or made true again.

A folder that is accepted answers exactly as before if its manifest was left alone, and with finite numbers if it was
made true again.
"""

from __future__ import annotations

import json
import os
import random
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from safetensors.torch import load_file
from safetensors.torch import save as saved

from fuzz.harness import Attempt
from llmrec_peft.artifact.manifest import make_manifest, write_json
from llmrec_peft.recipe import load_recipe
from llmrec_peft.run.recommender import Recommender
from llmrec_peft.testing.adapters.backbones import make_tiny
from llmrec_peft.workflows.train import train

TEXTS = ["a quiet drama", "two robbers and a train"]
READ = (
    *("adapter_config.json", "adapter_model.safetensors", "head.safetensors", "signals.safetensors"),
    *("catalogue.safetensors", "items.parquet", "item_vectors.safetensors", "recipe.yaml", "seen.safetensors"),
    *("users.parquet", "manifest.json", "item_matrix.safetensors", "canary.safetensors"),
)
"""Files that are read to answer."""
ODD = (
    *(None, True, -1, 0, 0.5, 10**12, 10**30, -(2**63), float("nan"), float("inf"), "", "0", "nan", "\x00", "\x1b[31m"),
    *("../../etc/passwd", "/dev/zero", "{{ 'a' * 10**9 }}", "!!python/object:os.system", [], {}, [[]], ["a"], {"a": 1}),
)
"""Values that no field expects."""
DTYPES = (torch.float16, torch.float64, torch.bfloat16, torch.int64, torch.int32, torch.uint8, torch.bool)


class World:
    """A small trained run, and a folder in which copies of it are spoiled."""

    def __init__(self, folder: Path) -> None:
        self.place = folder / "run"
        run = folder / "trained"
        changes: dict[str, Any] = {
            "data.path": "demo",
            "backbone.name": str(make_tiny("tiny-bert", folder / "base")),
            "training.epochs": 1,
            "training.refit": False,
            "evaluation.bootstrap": 0,
            "evaluation.ablations": (),
            "evaluation.collaborative_only": False,
            "evaluation.blend": False,
            "signals.features": {"items": ["year", "genres"]},
        }
        train(load_recipe("movies", changes=changes), run, show=False)
        count = len(Recommender.from_pretrained(run).vocabulary.users)
        pq.write_table(pa.table({"columns": [json.dumps({"age": at}) for at in range(count)]}), run / "users.parquet")
        seal(run)
        self.files = {path.name: path.read_bytes() for path in run.iterdir()}
        self.own = Recommender.from_pretrained(run)
        self.expected = self.answers(self.own)
        self.vectors = self.own.encode(TEXTS)

    def fresh(self) -> Path:
        """An unspoiled copy."""
        shutil.rmtree(self.place, ignore_errors=True)
        self.place.mkdir()
        for name, content in self.files.items():
            (self.place / name).write_bytes(content)
        return self.place

    def answers(self, recommender: Recommender) -> tuple[np.ndarray[Any, Any], list[Any]]:
        """Scores of some pairs, and lists of some users."""
        users, items = recommender.vocabulary.users[:40], recommender.vocabulary.items[-40:]
        pairs = min(len(users), len(items))
        return recommender.score(users[:pairs], items[:pairs]), recommender.recommend([*users[:3], "nobody"], 5)

    def read(self, name: str, change: Callable[[Path], None], resealed: bool) -> None:
        """Change one file of a copy, and use the copy."""
        run = self.fresh()
        change(run / name)
        if resealed and name != "manifest.json":
            seal(run)
        other = Recommender.from_pretrained(run, base=self.own)
        scores, lists = self.answers(other)
        if not resealed:
            assert scores.tolist() == self.expected[0].tolist(), "other scores"
            assert lists == self.expected[1] or any("histories" in note for note in other.notes), "other lists"
        assert np.isfinite(scores).all()
        assert all(np.isfinite(item.score) for answer in lists for item in answer.items)
        if name.startswith("adapter"):
            vectors = other.encode(TEXTS)
            assert bool(vectors.isfinite().all()), "vectors that are not finite"
            assert resealed or torch.equal(vectors, self.vectors), "other vectors"


def seal(run: Path) -> None:
    """Make the manifest true again."""
    manifest = json.loads((run / "manifest.json").read_text(encoding="utf-8"))
    made = make_manifest(run, manifest["base"], manifest["version"])
    write_json(run / "manifest.json", made.model_dump(mode="json"))


def attempts(rng: random.Random, folder: Path) -> Iterator[Attempt]:
    """Yield spoiled run folders."""
    world, number = World(folder), 0
    while True:
        number += 1
        name = rng.choice(READ)
        change, said = _change(rng, name, world)
        resealed = rng.random() < 0.6
        yield Attempt(
            f"{number}: {said} {name}{' resealed' if resealed else ''}", partial(world.read, name, change, resealed)
        )


def _change(rng: random.Random, name: str, world: World) -> tuple[Callable[[Path], None], str]:
    inside = {".safetensors": _tensors, ".parquet": _table, ".json": _json, ".yaml": _yaml}[Path(name).suffix]
    if rng.random() < 0.55:
        return inside(rng)
    seed, other = rng.random(), world.files[rng.choice(READ)]
    kinds: dict[str, Callable[[Path, random.Random], object]] = {
        "truncate": lambda path, own: os.truncate(path, own.randrange(path.stat().st_size)),
        "flip": _flip,
        "empty": lambda path, own: path.write_bytes(b""),
        "delete": lambda path, own: path.unlink(),
        "link": _link,
        "dangling link": lambda path, own: (path.unlink(), path.symlink_to("nowhere")),
        "FIFO": lambda path, own: (path.unlink(), os.mkfifo(path)),
        "folder": lambda path, own: (path.unlink(), path.mkdir()),
        "garbage": lambda path, own: path.write_bytes(own.randbytes(own.randrange(1, 5000))),
        "append": lambda path, own: path.write_bytes(path.read_bytes() + own.randbytes(9)),
        "exchange": lambda path, own: path.write_bytes(other),
        "hole": lambda path, own: os.truncate(path, 1 << own.choice([20, 22, 24, 38])),
    }
    kind = rng.choice(sorted(kinds))
    return lambda path: (kinds[kind](path, random.Random(seed)), None)[1], f"{kind} {seed}"


def _flip(path: Path, rng: random.Random) -> None:
    content = bytearray(path.read_bytes())
    for _ in range(rng.randrange(1, 9)):
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    path.write_bytes(content)


def _link(path: Path, rng: random.Random) -> None:
    target = path.parent.with_name("elsewhere")
    path.replace(target)
    if rng.random() < 0.5:
        path.symlink_to(target)
    else:
        path.symlink_to("/dev/zero")


def _tensors(rng: random.Random) -> tuple[Callable[[Path], None], str]:
    seed = rng.random()

    def change(path: Path) -> None:
        own = random.Random(seed)
        tensors = load_file(path)
        content = path.read_bytes()
        length = int.from_bytes(content[:8], "little")
        texts = json.loads(content[8 : 8 + length]).get("__metadata__")
        del content
        name = own.choice(sorted(tensors))
        tensor = tensors[name].clone()
        if own.random() < 0.1:
            path.write_bytes(_header_changed(path.read_bytes(), own))
            return
        tensors[name] = _tensor_changed(tensor, own)
        if own.random() < 0.15:
            tensors[f"{name}x"] = tensors.pop(name)
        elif own.random() < 0.1:
            del tensors[name]
        elif own.random() < 0.1:
            tensors["more"] = torch.zeros(2)
        path.write_bytes(saved({key: value.contiguous().clone() for key, value in tensors.items()}, texts))

    return change, f"tensors {seed}"


def _tensor_changed(tensor: torch.Tensor, rng: random.Random) -> torch.Tensor:  # noqa: PLR0911
    kind = rng.randrange(10)
    if kind == 0:
        return tensor.to(rng.choice(DTYPES))
    if kind == 1:
        return tensor[: rng.randrange(len(tensor) + 1)] if tensor.ndim else tensor
    if kind == 2:
        return torch.cat([tensor] * rng.randrange(2, 4), rng.randrange(tensor.ndim)) if tensor.ndim else tensor
    if kind == 3:
        return tensor.reshape(-1)
    if kind == 4:
        return tensor.T if tensor.ndim == 2 else tensor.unsqueeze(0)
    if kind == 5:
        return tensor.flip(0) if tensor.ndim else tensor
    if kind == 6:
        return torch.full_like(tensor, rng.choice([0, 1, -1, 1e4]))
    changed = tensor.clone()
    if changed.numel():
        at = rng.randrange(changed.numel())
        if changed.is_floating_point():
            changed.view(-1)[at] = rng.choice([np.nan, np.inf, -np.inf, 3e38, -3e38, 1e-45])
        elif changed.dtype != torch.bool:
            within = torch.iinfo(changed.dtype)
            changed.view(-1)[at] = min(within.max, max(within.min, rng.choice([-1, 10**9, 2**62, -(2**63)])))
    return changed


def _header_changed(content: bytes, rng: random.Random) -> bytes:
    length = int.from_bytes(content[:8], "little")
    header, data = json.loads(content[8 : 8 + length]), content[8 + length :]
    name = rng.choice(sorted(header))
    if rng.random() < 0.2:
        header |= {f"t{at}": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for at in range(30_000)}
    elif rng.random() < 0.3 or name == "__metadata__":
        header[name] = rng.choice(ODD)
    else:
        field = rng.choice(["dtype", "shape", "data_offsets"])
        header[name][field] = rng.choice([*ODD, [2**40, 0], [0, 0], [1, 2], [2**62] * 3, "I64", [4, 0]])
    text = json.dumps(header).encode()
    claimed = len(text) if rng.random() < 0.8 else rng.choice([0, 1, 2**63, len(text) + 1])
    return claimed.to_bytes(8, "little") + text + data


def _table(rng: random.Random) -> tuple[Callable[[Path], None], str]:
    seed = rng.random()

    def change(path: Path) -> None:
        own = random.Random(seed)
        table = _table_changed(pq.read_table(path), own)
        codec = own.choice(["snappy"] * 8 + ["zstd", "gzip", "none"])
        pq.write_table(table, path, compression=codec, row_group_size=own.choice([None, None, None, 1, 50]))

    return change, f"table {seed}"


def _table_changed(table: pa.Table, rng: random.Random) -> pa.Table:  # noqa: PLR0911
    name = rng.choice(table.column_names)
    place, values = table.column_names.index(name), table[name].to_pylist()
    kind = rng.randrange(9)
    if kind == 0:
        return table.drop_columns([name])
    if kind == 1:
        return table.take(rng.sample(range(len(table)), len(table)))
    if kind == 2:
        return table.slice(0, rng.randrange(len(table)))
    if kind == 3:
        return pa.concat_tables([table, table])
    if kind == 4:
        return table.rename_columns([*table.column_names[:place], f"{name}x", *table.column_names[place + 1 :]])
    if kind == 5:
        return table.append_column("more", pa.array([b"\xff"] * len(table)))
    if kind == 6:
        other = rng.choice([[None], [[1]], [b"\xff\xfe"], [1.5], [True], [{"a": 1}], [10**15], ["x" * 10_000], ["["]])
        return table.set_column(place, name, pa.array(other * len(table)))
    at, odd = rng.randrange(len(values)), [values[0], None]
    odd += [-1, 10**9, -(2**63)] if isinstance(values[0], int) else ["", "\x1b[31m", "[" * 3000, "{", "9" * 5000, "𝕏"]
    odd += [float("nan"), float("inf"), 3e38] if isinstance(values[0], float) else []
    values[at] = rng.choice(odd)
    try:
        return table.set_column(place, name, pa.array(values, table.schema.field(name).type))
    except (pa.ArrowException, TypeError, OverflowError):
        return table.set_column(place, name, pa.array([str(value) for value in values]))


def _json(rng: random.Random) -> tuple[Callable[[Path], None], str]:
    seed = rng.random()

    def change(path: Path) -> None:
        own = random.Random(seed)
        path.write_text(json.dumps(_field_changed(json.loads(path.read_bytes()), own)), encoding="utf-8")

    return change, f"fields {seed}"


def _field_changed(values: dict[str, Any], rng: random.Random) -> dict[str, Any]:
    """Plain values with one field changed, deleted or added."""
    block: Any = values
    while True:
        key = rng.choice(sorted(block))
        if isinstance(block[key], dict) and block[key] and rng.random() < 0.8:
            block = block[key]
            continue
        break
    kind = rng.random()
    if kind < 0.7:
        block[key] = rng.choice(ODD)
    elif kind < 0.85:
        del block[key]
    else:
        block[f"{key}x"] = rng.choice(ODD)
    return values


def _yaml(rng: random.Random) -> tuple[Callable[[Path], None], str]:
    seed = rng.random()

    def change(path: Path) -> None:
        own = random.Random(seed)
        lines = path.read_text(encoding="utf-8").splitlines()
        for _ in range(own.randrange(1, 3)):
            at = own.randrange(len(lines))
            field, colon, _ = lines[at].partition(":")
            odd = own.choice([*map(str, ODD), "&a [*a]", "!!int ''", "!!float x", "[" * 500, "|", "'", "1e999"])
            if own.random() < 0.3 or not colon:
                del lines[at]
            else:
                lines[at] = f"{field}: {odd}" if own.random() < 0.8 else f"{odd}: {field}"
        path.write_bytes("\n".join(lines).encode("utf-8", "surrogatepass"))

    return change, f"lines {seed}"
