"""`llmrec export`: the text encoder alone gives the run's vectors in other libraries, or nothing is written."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from llmrec_peft import Recommender
from llmrec_peft.artifact.manifest import read_manifest
from llmrec_peft.backbone.aliases.minilm import MINILM
from llmrec_peft.cli.main import main
from llmrec_peft.errors import InputError
from llmrec_peft.identity import file_digest
from llmrec_peft.workflows import export as module
from llmrec_peft.workflows.export import export

pytest.importorskip("onnxruntime")
pytestmark = pytest.mark.trains

STRONG = {"training.adapter.learning_rate": 0.05}
LORA = {"method": "lora", "layers": "top-2"}


@pytest.fixture(scope="module")
def run(quick_run: Callable[..., Path]) -> Path:
    """A run whose LoRA changes every vector."""
    return quick_run("movies", {**STRONG, "adapter": LORA})


def stored(run: Path) -> tuple[list[str], torch.Tensor]:
    """Texts of a run's items and their stored vectors."""
    recommender = Recommender.from_pretrained(run)
    vectors = recommender.catalogue.vectors
    assert vectors is not None
    return list(recommender.items.texts), vectors.float()


def by_onnxruntime(folder: Path, texts: list[str]) -> torch.Tensor:
    """Vectors as a program without torch and transformers makes them."""
    import onnxruntime
    from tokenizers import Tokenizer

    about = json.loads((folder / "encoder.json").read_text(encoding="utf-8"))
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.enable_truncation(about["reads"]["max_length"])
    tokenizer.enable_padding()
    found = tokenizer.encode_batch([about["reads"]["prompts"]["item"] + text for text in texts])
    given = {"input_ids": [one.ids for one in found], "attention_mask": [one.attention_mask for one in found]}
    session = onnxruntime.InferenceSession(str(folder / about["graph"]["file"]), providers=["CPUExecutionProvider"])
    return torch.from_numpy(session.run(["vectors"], {name: np.array(rows) for name, rows in given.items()})[0])


def test_adapter_that_cannot_be_merged_is_part_of_the_graph(quick_run: Callable[..., Path], tmp_path: Path) -> None:
    run = quick_run("movies", {**STRONG, "adapter": {"method": "prompt"}})
    about = export(run, tmp_path / "encoder", "onnx")
    assert about["adapter"] == {"method": "prompt", "merged": False}
    texts, vectors = stored(run)
    torch.testing.assert_close(by_onnxruntime(tmp_path / "encoder", texts), vectors, rtol=0, atol=1e-5)


def test_safetensors_folder_gives_the_stored_vectors(run: Path, tmp_path: Path) -> None:
    from sentence_transformers import SentenceTransformer

    about = export(run, tmp_path / "encoder", "safetensors")
    texts, vectors = stored(run)
    found = torch.from_numpy(SentenceTransformer(str(tmp_path / "encoder"), device="cpu").encode(texts))
    torch.testing.assert_close(found, vectors, rtol=0, atol=1e-5)
    assert about["check"]["largest_difference"] < 1e-6
    assert about["check"]["stored_vectors"]["cosine_distance_max"] < 1e-5
    assert "graph" not in about
    recorded = read_manifest(run).base["name"]
    assert recorded is not None
    for name in ("encoder.json", "README.md"):
        assert recorded not in (tmp_path / "encoder" / name).read_text(encoding="utf-8"), "a path of this machine"


def test_real_model_gives_the_stored_vectors_in_other_libraries(quick_run: Callable[..., Path], tmp_path: Path) -> None:
    """MiniLM as it is published, with a prompt; its own length of 256 tokens is above that of the recipe's texts."""
    from sentence_transformers import SentenceTransformer

    changes = {"backbone.name": "minilm", "backbone.prompts.item": "a film: ", "views.item.max_length": 16}
    run = quick_run("movies", {**changes, "data.train_size": 256, "adapter": {**LORA, "layers": "top-1"}})
    texts, vectors = stored(run)
    by_library = {
        "onnx": by_onnxruntime,
        "safetensors": lambda folder, some: torch.from_numpy(SentenceTransformer(str(folder)).encode(some)),
    }
    for kind, encode in by_library.items():
        out = tmp_path / kind
        about = export(run, out, kind)  # type: ignore[arg-type]
        torch.testing.assert_close(encode(out, texts[:32]).cpu(), vectors[:32], rtol=0, atol=1e-5)
        assert about["reads"] == {**about["reads"], "prompts": {"item": "a film: ", "user": "", "prompt": ""}}
        assert about["reads"]["max_length"] == 16
        assert about["check"]["largest_difference"] < about["check"]["bound"] == 1e-4
        assert (about["run"], about["base"]["name"]) == (read_manifest(run).digest, MINILM.hub_id)
        assert json.loads((out / "encoder.json").read_text(encoding="utf-8")) == about
        assert {name: file_digest(out / name) for name in about["files"]} == about["files"]
        written = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}
        assert written == {*about["files"], "encoder.json", "README.md"}


@pytest.mark.parametrize(
    ("changes", "kind", "said"),
    [
        ({"adapter": {"method": "prefix"}}, "safetensors", "prefix adapters are no change of weights"),
        ({"signals": {"collaborative": {}}, "adapter": {"method": "none"}}, "onnx", "reads no texts of items"),
    ],
)
def test_what_cannot_be_exported_is_refused_and_nothing_written(
    changes: dict[str, Any], kind: Any, said: str, quick_run: Callable[..., Path], tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=said):
        export(quick_run("movies", changes), tmp_path / "encoder", kind)
    assert not list(tmp_path.iterdir())


def test_decoder_is_refused_for_onnx_before_it_is_loaded(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from llmrec_peft.backbone.facts import BackboneFacts

    monkeypatch.setattr(module, "known_facts", lambda *_: BackboneFacts("llama", "decoder", 8, 2, False))
    monkeypatch.setattr(module, "tuned_weights", lambda *_: pytest.fail("loaded"))
    with pytest.raises(InputError, match="--format onnx is for encoders, and the base is a decoder"):
        export(run, tmp_path / "encoder", "onnx")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("error", [2e-4, float("nan")])
def test_other_vectors_than_the_runs_are_not_written(
    error: float, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = module._by_folder
    monkeypatch.setattr(module, "_by_folder", lambda *given: right(*given) + error)
    with pytest.raises(InputError, match=r"was not written: its vectors differ by (0\.0002|nan) from"):
        export(run, tmp_path / "encoder", "safetensors")
    assert not list(tmp_path.iterdir())


def test_merged_run_is_exported_too_and_a_folder_is_never_replaced(run: Path, tmp_path: Path) -> None:
    from llmrec_peft.workflows.merge_into_base import IntoBase, merge_into_base

    merge_into_base(run, tmp_path / "merged", IntoBase(show=False))
    about = export(tmp_path / "merged", tmp_path / "encoder", "safetensors")
    assert about["adapter"]["method"] == "none"
    assert about["check"]["stored_vectors"]["cosine_distance_max"] < 1e-5
    with pytest.raises(InputError, match="encoder exists already: --out names another folder"):
        export(run, tmp_path / "encoder", "safetensors")


def test_command_says_how_far_vectors_are(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = str(tmp_path / "encoder")
    assert _code(["export", str(run), "--format", "safetensors", "--out", out]) == 0
    said = capsys.readouterr().out
    assert "texts: vectors differ by " in said
    assert f"text encoder (safetensors): {out}" in " ".join(said.split())
    assert _code(["export", str(run), "--format", "safetensors", "--out", f"{out}2", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["reads"]["pooling"] == "mean"
    assert _code(["export", str(run), "--format", "gguf", "--out", f"{out}3"]) == 2


def _code(arguments: list[str]) -> int:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    return int(ended.value.code or 0)
