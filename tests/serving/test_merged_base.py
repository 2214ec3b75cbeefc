"""A merged run is served wherever it was moved: its base is found beside it, and is the recorded one."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from spoiled import change_tensors
from tiered_engines import FILM, USERS

from llmrec_peft import Recommender
from llmrec_peft.serving.engine import Engine
from llmrec_peft.serving.refusals import RefusedVersionError
from llmrec_peft.serving.sealed_store import SealedStore
from llmrec_peft.workflows.merge_into_base import IntoBase, merge_into_base

pytestmark = pytest.mark.trains


@pytest.fixture(scope="module")
def made(quick_run: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A merged run whose adapter changes every vector."""
    strong = {"training.adapter.learning_rate": 0.05, "adapter": {"method": "lora", "layers": "top-2"}}
    out = tmp_path_factory.mktemp("merged") / "run"
    merge_into_base(quick_run("movies", strong), out, IntoBase(show=False))
    return out


@pytest.fixture
def merged(made: Path, tmp_path: Path) -> Iterator[Path]:
    """A copy of it elsewhere, while nothing lies where it was made."""
    hidden = made.rename(made.with_name("hidden"))
    yield Path(shutil.copytree(hidden, tmp_path / "moved"))
    hidden.rename(made)


def test_moved_run_reads_new_texts_and_so_it_does_after_a_restart(merged: Path, tmp_path: Path) -> None:
    alone = Recommender.from_pretrained(merged, device="cpu")
    alone.add_items([FILM])
    items = [FILM["item_id"]] * len(USERS)
    known = alone.score(USERS, items).tolist()
    with Engine(tmp_path / "store", device="cpu") as engine:
        engine.register("films", merged)
        engine.add_items("films", [FILM])
        assert engine.score("films", USERS, items).values == pytest.approx(known, abs=1e-5)
        digest = engine.standing("films").main.version
    with Engine(tmp_path / "store", device="cpu") as engine:
        engine.register("films", tmp_path / "store" / digest)
        engine.add_items("films", [FILM])
        assert engine.score("films", USERS, items).values == pytest.approx(known, abs=1e-5)


def test_copy_points_to_the_base_of_the_folder_that_was_taken_in_last(merged: Path, tmp_path: Path) -> None:
    store = SealedStore(tmp_path / "store")
    sealed = store.add(merged)
    assert (sealed.folder / "base").readlink() == (merged / "base").resolve()
    inode = (sealed.folder / "recipe.yaml").stat().st_ino
    store.add(merged)
    assert (sealed.folder / "recipe.yaml").stat().st_ino == inode, "it was not copied again"
    away = merged.rename(tmp_path / "away")
    assert store.add(away) == sealed
    assert (sealed.folder / "base").readlink() == (away / "base").resolve()
    assert store.add(sealed.folder) == sealed, "a copy can be taken in by its own store"
    assert (sealed.folder / "base").readlink() == (away / "base").resolve()


def test_base_beside_the_run_that_was_changed_is_refused(merged: Path, tmp_path: Path) -> None:
    change_tensors(merged / "base" / "model.safetensors", lambda tensors: {n: 2.0 * t for n, t in tensors.items()})
    with Engine(tmp_path / "store", device="cpu") as engine:
        with pytest.raises(RefusedVersionError, match="weights_sha256 is"):
            engine.register("films", merged)
        assert engine.tenants == ()
