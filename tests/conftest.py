"""Fixtures: small real-format data, a tiny seeded backbone with a real tokenizer, trained demo runs."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from forked import run_command

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the command sets it, before torch is imported
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # the workers share the cores
ROOT = Path(__file__).resolve().parents[1]
pytest_plugins = ("quick_runs", "small_writer")
TRAINING_FIXTURES = frozenset(
    (
        *("llmrec", "package", "environment"),  # a Python process
        *("tiny_run", "task_runs", "quick_run", "trained", "minilm_run", "writer_folder", "two_sided"),
        *("check_adapter_method", "check_task_head", "check_signal"),
    )
)
"""Fixtures that train or start a Python process: what uses one, directly or through others, is marked `trains`."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that use a fixture which trains or starts a process, for ``-m "not trains"``."""
    for item in items:
        if TRAINING_FIXTURES.intersection(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.trains)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real datasets in their owners' formats; the test is skipped where there is none."""
    folder = Path(os.environ.get("LLMREC_DATA", ROOT.parent / "shared" / "data"))
    if not (folder / "ml-100k" / "u.item").is_file():
        pytest.skip(f"real data is absent: {folder} (set LLMREC_DATA)")
    return folder


@pytest.fixture
def movielens_folder(tmp_path: Path) -> Path:
    """A made-up MovieLens-100K folder in the owner's layout: 30 users, 40 films, about 600 ratings."""
    return write_movielens(tmp_path / "ml")


def write_movielens(folder: Path, users: int = 30, items: int = 40, seed: int = 0) -> Path:
    """Write made-up ratings in GroupLens' layout."""
    rng = random.Random(seed)
    folder.mkdir(parents=True)
    genres = ["unknown", "Action", "Comedy", "Drama", *[f"G{n}" for n in range(15)]]
    (folder / "u.genre").write_text("".join(f"{name}|{at}\n" for at, name in enumerate(genres)), encoding="latin-1")
    lines = []
    for item in range(1, items + 1):
        flags = ["0"] * 19
        flags[1 + item % 3] = "1"
        title = f"Caf\u00e9 Number {item}, The (19{50 + item % 50})"
        lines.append("|".join([str(item), title, "01-Jan-1995", "", "http://example.org", *flags]))
    (folder / "u.item").write_text("\n".join(lines) + "\n", encoding="latin-1")
    people = [f"{user}|{20 + user}|{'MF'[user % 2]}|writer|00000" for user in range(1, users + 1)]
    (folder / "u.user").write_text("\n".join(people) + "\n", encoding="latin-1")
    base, test = [], []
    for user in range(1, users + 1):
        for item in rng.sample(range(1, items + 1), 20):
            rating = min(5, max(1, 3 + (user + item) % 3 - 1 + rng.choice([-1, 0, 1])))
            row = f"{user}\t{item}\t{rating}\t{880000000 + rng.randrange(10**6)}"
            (test if rng.random() < 0.2 else base).append(row)
    (folder / "u1.base").write_text("\n".join(base) + "\n", encoding="utf-8")
    (folder / "u1.test").write_text("\n".join(test) + "\n", encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def tiny_backbone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A seeded random BERT of 4 layers, 32 wide, saved as a local folder with MiniLM's real tokenizer."""
    import torch
    from transformers import BertConfig, BertModel

    from llmrec_peft.backbone.aliases.minilm import MINILM

    embedded = MINILM.embedded()
    assert embedded is not None, "make setup installs the embedded backbone"
    folder = tmp_path_factory.mktemp("tiny-bert")
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=30522,
        hidden_size=32,
        num_hidden_layers=4,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=64,
    )
    BertModel(config, add_pooling_layer=False).save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt"):
        shutil.copy(embedded / name, folder / name)
    return folder


@pytest.fixture(scope="session")
def llmrec() -> Callable[..., subprocess.CompletedProcess[str]]:
    """The real command in a process of its own, started afresh where the environment is to be another."""

    def run(*arguments: object, cwd: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
        if not environment:
            return run_command([str(argument) for argument in arguments], cwd)
        command = [sys.executable, "-m", "llmrec_peft.cli.main", *(str(argument) for argument in arguments)]
        return subprocess.run(
            command,
            cwd=cwd,
            env={**os.environ, "HF_HUB_OFFLINE": "1", "COLUMNS": "200", **environment},
            capture_output=True,
            text=True,
            timeout=280,
            check=False,
        )

    return run


@pytest.fixture(scope="session")
def tiny_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The made-up MovieLens folder that `tiny_run` was trained on; copy it before changing anything."""
    return write_movielens(tmp_path_factory.mktemp("tiny-data") / "ml")


@pytest.fixture(scope="session")
def tiny_run(tiny_data: Path, tiny_backbone: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder: one epoch of LoRA in the tiny backbone; copy it before changing anything."""
    from llmrec_peft.recipe import load_recipe
    from llmrec_peft.workflows.train import train

    overrides = [f"backbone.name={tiny_backbone}", "training.epochs=1", "training.refit=false"]
    recipe = load_recipe("movies", overrides, {"data.path": str(tiny_data)})
    run = tmp_path_factory.mktemp("tiny-run") / "run"
    train(recipe, run, show=False)
    return run


@pytest.fixture(scope="session")
def task_runs(tiny_backbone: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Run folders of other tasks over demo data in the tiny backbone, each trained when first asked for by name:

    ``click`` (taste), ``prompt`` (click by prompts), ``ranking``, ``joint`` (stars, then clicks). Copy one before
    changing anything.
    """
    folder = tmp_path_factory.mktemp("task-runs")
    template = "{% for film in history %}{{ film.title }}; {% endfor %}next {{ item.title }}"
    prompts = (f"views.prompt.template={template}", "views.prompt.max_length=48", "signals.taste=false")
    asked = {
        "click": ("tallrec-movie", "data.expand_histories=false"),
        "prompt": ("tallrec-movie", "data.expand_histories=false", "head.feed=prompt", *prompts),
        "ranking": ("amazon-scientific", "fusion.dim=32"),
        "joint": ("ecommerce", "heads=[rating, {name: click, threshold: 4}]", "adapter.layers=top-1"),
    }

    def run(name: str) -> Path:
        if not (folder / name).exists():
            from llmrec_peft.recipe import load_recipe
            from llmrec_peft.workflows.train import train

            recipe, *overrides = asked[name]
            fixed = ["evaluation.bootstrap=0", "evaluation.collaborative_only=false", "evaluation.blend=false"]
            few = [f"backbone.name={tiny_backbone}", "training.epochs=1", "training.refit=false", *fixed]
            train(load_recipe(recipe, [*few, *overrides], {"data.path": "demo"}), folder / name, show=False)
        return folder / name

    return run
