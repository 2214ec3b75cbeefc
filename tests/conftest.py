"""Fixtures: small real-format data, a tiny seeded backbone with a real tokenizer, trained demo runs."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from forked import run_command
from movielens_files import write_movielens

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the command sets it, before torch is imported
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell without job control starts its background jobs so, and every child inherits it: Ctrl-C would do nothing.
    signal.signal(signal.SIGINT, signal.default_int_handler)
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # the workers share the cores
ROOT = Path(__file__).resolve().parents[1]
pytest_plugins = ("quick_runs", "small_writer", "hub_server", "people_run")
TRAINING_FIXTURES = frozenset(
    (
        *("llmrec", "package", "environment"),  # a Python process
        *("tiny_run", "task_runs", "quick_run", "trained", "minilm_run", "writer_folder", "two_sided", "people_run"),
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
