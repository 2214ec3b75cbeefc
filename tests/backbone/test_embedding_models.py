"""Embedding models: tiny ones in each published layout give the vectors that sentence-transformers gives."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from llmrec_adapters.lora import Lora, LoraOptions

from llmrec_peft.backbone.embedding_model import read_embedding_model
from llmrec_peft.backbone.load import Backbone, load_backbone
from llmrec_peft.errors import InputError
from llmrec_peft.recipe.sections import BackboneSection

pytest.importorskip("sentence_transformers")

from embedding_folders import (
    E5_PROMPTS,
    GEMMA_PROMPTS,
    QWEN_QUERY,
    TEXTS,
    published,
    save_bert,
    save_decoder,
)

CPU = torch.device("cpu")
LAYOUTS: dict[str, dict[str, Any]] = {
    "minilm": {},
    "bge": {"pooling": "cls"},
    "e5": {"prompts": E5_PROMPTS},
    "not-scaled": {"normalize": False},
    "max": {"pooling": "max", "normalize": False},
    "mean-sqrt": {"pooling": "mean_sqrt_len_tokens", "normalize": False},
    "weighted-mean": {"pooling": "weightedmean"},
    "instructor": {"include_prompt": False, "prompts": E5_PROMPTS, "pooling": "mean"},
    "default-prompt": {"prompts": {"retrieval": "find it: "}, "default_prompt": "retrieval"},
    "one-dense": {"dense": ((48, True, "Tanh"),)},
    "qwen3": {"pooling": "lasttoken", "prompts": {"query": QWEN_QUERY, "document": ""}, "max_length": 80},
    "gemma": {"dense": ((64, False, "Identity"), (32, False, "Identity")), "prompts": GEMMA_PROMPTS, "max_length": 64},
}


@pytest.fixture(scope="module")
def folder_of(tiny_backbone: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Folder of a layout, saved when first asked for; copy it before changing anything."""
    root = tmp_path_factory.mktemp("embedding-models")

    def make(name: str) -> Path:
        folder = root / name
        if not folder.exists():
            if name in ("qwen3", "gemma"):
                save_decoder(folder, gemma=name == "gemma", **LAYOUTS[name])
            else:
                save_bert(tiny_backbone, folder, **LAYOUTS[name])
        return folder

    return make


def load(folder: Path, **fields: Any) -> Backbone:
    return load_backbone(BackboneSection(name=str(folder), precision="fp32", **fields), CPU)


def vectors(
    backbone: Backbone, view: str = "item", model: torch.nn.Module | None = None, **fields: Any
) -> torch.Tensor:
    """Vectors of the texts as the suite makes them: tokens of the view, its reading, padding on the right."""
    reader = backbone.reads(BackboneSection(name="x", **fields))
    tokens = reader.tokenized(TEXTS, 512, view)
    encoder = reader.encoder(model or backbone.model, list(backbone.model.modules()), chunk=4).eval()
    with torch.no_grad():
        return encoder.encode_as(tokens, reader.reading(view))


def near(actual: torch.Tensor, expected: torch.Tensor) -> None:
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", LAYOUTS)
def test_vectors_of_items_and_users_are_those_of_the_published_model(
    name: str, folder_of: Callable[[str], Path]
) -> None:
    folder = folder_of(name)
    backbone = load(folder)
    prompts = LAYOUTS[name].get("prompts", {})
    document = prompts.get("document", prompts.get("passage", prompts.get("retrieval", "")))
    near(vectors(backbone), published(folder, TEXTS, prompt=document))
    near(vectors(backbone, "user"), published(folder, TEXTS, prompt=prompts.get("query", prompts.get("retrieval", ""))))
    assert vectors(backbone).isfinite().all()


@pytest.mark.parametrize("name", ["minilm", "bge", "e5", "qwen3", "gemma"])
def test_an_adapter_inside_changes_vectors_as_the_same_change_of_the_published_model(
    name: str, folder_of: Callable[[str], Path]
) -> None:
    folder = folder_of(name)
    backbone = load(folder)
    bare = vectors(backbone)
    targets = ["q_proj", "v_proj"] if name in ("qwen3", "gemma") else ["query", "value"]
    torch.manual_seed(1)
    method = Lora(LoraOptions(layers="all", targets=targets, rank=4))
    tuned = method.attach(backbone)
    changes = {}
    for path, module in tuned.named_modules():
        if hasattr(module, "lora_B"):
            torch.nn.init.normal_(module.lora_B["default"].weight, std=0.3)
            added = module.lora_B["default"].weight @ module.lora_A["default"].weight * module.scaling["default"]
            changes[path.split("base_model.model.")[-1]] = added.detach()

    def merge(model: torch.nn.Module) -> None:
        for path, added in changes.items():
            model.get_submodule(path).weight.data += added

    assert changes
    prompts = LAYOUTS[name].get("prompts", {})
    adapted = vectors(backbone, model=tuned.eval())
    near(adapted, published(folder, TEXTS, merge, prompt=prompts.get("document", prompts.get("passage", ""))))
    assert not torch.allclose(adapted, bare, atol=1e-3)


def test_a_recipe_gives_the_prompts_that_files_do_not_name(folder_of: Callable[[str], Path]) -> None:
    folder = folder_of("minilm")
    backbone = load(folder)
    given = {"prompts": {"item": "passage: ", "user": "query: "}}
    near(vectors(backbone, **given), published(folder, TEXTS, prompt="passage: "))
    near(vectors(backbone, "user", **given), published(folder, TEXTS, prompt="query: "))
    by_name = {"prompt_names": {"item": "query"}}
    e5 = folder_of("e5")
    near(vectors(load(e5), **by_name), published(e5, TEXTS, prompt_name="query"))
    near(vectors(load(e5), prompts={"item": ""}), published(e5, TEXTS, prompt=""))
    with pytest.raises(InputError, match=r"backbone\.prompt_names\.item: the model has no prompt 'title'"):
        load(e5, prompt_names={"item": "title"})


def test_older_folders_name_pooling_by_switches_and_lengths_apart(
    folder_of: Callable[[str], Path], copied: Callable[[Path], Path]
) -> None:
    folder = copied(folder_of("bge"))
    old = {"word_embedding_dimension": 32, "pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(old))
    (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 9, "do_lower_case": False}))
    backbone = load(folder)
    near(vectors(backbone), published(folder, TEXTS))
    reader = backbone.reads(BackboneSection())
    assert (reader.pooling, reader.length(512)) == ("cls", 9)
    assert max(reader.tokenized(TEXTS, 512).lengths(torch.arange(6).numpy())) == 9


def test_texts_are_lower_cased_where_the_files_say_so(
    folder_of: Callable[[str], Path], copied: Callable[[Path], Path]
) -> None:
    folder = copied(folder_of("qwen3"))  # its tokenizer tells cases apart
    (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 80, "do_lower_case": True}))
    lower = vectors(load(folder))
    near(lower, published(folder, TEXTS, prompt=""))
    assert not torch.allclose(lower, vectors(load(folder_of("qwen3"))), atol=1e-3)


def test_what_a_recipe_changes_is_said(folder_of: Callable[[str], Path]) -> None:
    from llmrec_peft.recipe.sections import ViewsSection

    views = ViewsSection.model_validate({"item": {"template": "x"}, "user": {"template": "y", "max_length": 512}})
    backbone = load(folder_of("e5"))
    plain = backbone.reads(BackboneSection())
    assert plain.notes_on(views, user=True, prompt=False) == [
        "backbone.prompts.item: texts are read after 'passage: '",
        f"views.item.max_length: 24, the tokens that {folder_of('e5')} was made for",
        "backbone.prompts.user: texts are read after 'query: '",
        f"views.user.max_length: 24, the tokens that {folder_of('e5')} was made for",
    ]
    other = backbone.reads(BackboneSection(pooling="cls", normalize=False))
    assert other.notes == (
        "backbone.pooling: cls, where the model's own files say mean",
        "backbone.normalize: vectors are not scaled to length 1, unlike the model's own files say",
    )
    assert other.plain() != plain.plain()
    assert plain.plain()["prompts"] == {"item": "passage: ", "user": "query: ", "prompt": ""}


def test_texts_that_are_cut_are_counted_after_their_prompt_and_by_the_models_own_length(
    folder_of: Callable[[str], Path], minilm: Backbone
) -> None:
    reader = load(folder_of("e5")).reads(BackboneSection())
    assert (reader.cap, reader.prompts["item"]) == (24, "passage: ")
    count = len(reader.backbone.tokenize(["passage: a a a a"], None)[0])
    fits, cut = " ".join(["a"] * (4 + 24 - count)), " ".join(["a"] * (5 + 24 - count))
    texts = ["", fits, cut, fits, cut]
    assert reader.count_cut(texts, reader.tokenized(texts, 512), 512) == 2
    assert reader.count_cut(texts, reader.tokenized(texts, 23), 23) == 4
    own = minilm.reads(BackboneSection())
    long = ["word " * 300, "word"]
    assert own.count_cut(long, own.tokenized(long, 512), 512) == 1


def test_a_model_without_such_files_is_read_as_before(tiny_backbone: Path, minilm: Backbone) -> None:
    reader = load(tiny_backbone).reads(BackboneSection())
    assert (reader.pooling, reader.normalize, reader.cap) == ("mean", True, None)
    assert set(reader.prompts.values()) == {""}
    own = minilm.reads(BackboneSection())
    assert (own.pooling, own.normalize, own.cap) == ("mean", True, 256)
    assert own.notes == ()


def test_cls_pooling_in_a_decoder_is_refused(folder_of: Callable[[str], Path]) -> None:
    with pytest.raises(InputError, match=r"backbone\.pooling: cls .* mean or last-token"):
        load(folder_of("qwen3"), pooling="cls")


BAD: dict[str, tuple[str, Any, str]] = {
    "cnn": ("modules.json", {1: {"type": "sentence_transformers.models.CNN"}}, "CNN in this place cannot be run"),
    "own-code": ("modules.json", {1: {"type": "modeling_mine.Pool"}}, "'modeling_mine.Pool' is Python code"),
    "router": ("modules.json", {0: {"type": "sentence_transformers.models.Router"}}, "begins with Router"),
    "outside": ("modules.json", {1: {"path": "../1_Pooling"}}, "is not a folder inside it"),
    "two-modes": ("1_Pooling/config.json", {"pooling_mode": ["cls", "mean"]}, "pooling 'cls + mean' cannot be run"),
    "unknown-mode": ("1_Pooling/config.json", {"pooling_mode": "attention"}, "'attention' cannot be run"),
    "activation": ("2_Dense/config.json", {"activation_function": "os.system"}, "'os.system' cannot be run"),
    "module": ("2_Dense/config.json", {"activation_function": "torch.nn.Module"}, "cannot be run, only Identity"),
    "tokens": ("2_Dense/config.json", {"module_input_name": "token_embeddings"}, "'token_embeddings' cannot be run"),
    "residual": ("2_Dense/config.json", {"use_residual": True}, "use_residual cannot be run"),
    "width": ("2_Dense/config.json", {"in_features": 31}, "in_features is 31, but the vectors before it have width 32"),
    "task": ("sentence_bert_config.json", {"transformer_task": "text-generation"}, "'text-generation' cannot be run"),
    "default": ("config_sentence_transformers.json", {"default_prompt_name": "x"}, "'x' is none of its prompts"),
    "sparse": ("config_sentence_transformers.json", {"model_type": "CrossEncoder"}, "makes no vectors of texts"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_run_is_refused_by_name(
    name: str, folder_of: Callable[[str], Path], copied: Callable[[Path], Path]
) -> None:
    folder = copied(folder_of("one-dense"))
    file, changes, expected = BAD[name]
    content = json.loads((folder / file).read_text())
    if isinstance(content, list):
        for at, change in changes.items():
            content[at] |= change
    else:
        content |= changes
    (folder / file).write_text(json.dumps(content))
    with pytest.raises(InputError) as caught:
        load(folder)
    assert expected in str(caught.value)
    assert file in str(caught.value)


def test_dense_weights_are_looked_at(folder_of: Callable[[str], Path], copied: Callable[[Path], Path]) -> None:
    from safetensors.torch import load_file, save_file

    folder = copied(folder_of("one-dense"))
    path = folder / "2_Dense" / "model.safetensors"
    good = load_file(path)
    weight = good["linear.weight"]
    for wrong, expected in (
        ({"linear.weight": weight}, "tensor bias is missing"),
        ({**good, "linear.weight": weight[:, 1:].contiguous()}, "has shape"),
        ({**good, "linear.weight": torch.full_like(weight, torch.inf)}, "NaN or infinity"),
        ({**good, "linear.weight": weight.long()}, "not numbers with a fraction"),
    ):
        save_file(wrong, path)
        with pytest.raises(InputError, match=expected):
            load(folder)
    path.unlink()
    (folder / "2_Dense" / "pytorch_model.bin").write_bytes(b"a pickle")
    with pytest.raises(InputError, match="pickled weights are not loaded"):
        load(folder)


def test_files_that_change_answers_are_named(folder_of: Callable[[str], Path]) -> None:
    found = read_embedding_model(folder_of("one-dense"))
    assert found is not None
    assert set(found.files) == {
        "modules.json",
        "1_Pooling/config.json",
        "2_Dense/config.json",
        "2_Dense/model.safetensors",
        "3_Normalize/config.json",
        "config_sentence_transformers.json",
        "sentence_bert_config.json",
    }


@pytest.fixture
def copied(tmp_path: Path) -> Callable[[Path], Path]:
    """Copy a folder, so that it can be changed."""
    import shutil

    return lambda folder: Path(shutil.copytree(folder, tmp_path / folder.name))
