"""Writer: likelihoods are the model's, and a text is the same with and without stored keys, whatever adapter is in."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from llmrec_peft import registry
from llmrec_peft.backbone.load import Backbone, load_backbone
from llmrec_peft.backbone.output_embedding import output_table
from llmrec_peft.errors import InputError
from llmrec_peft.recipe.sections import BackboneSection
from llmrec_peft.testing.adapters.backbones import make_tiny
from llmrec_peft.writing.writer import Example, Writer

CPU = torch.device("cpu")
ADAPTERS: list[tuple[str, dict[str, Any]]] = [
    ("none", {}),
    ("lora", {"layers": "all"}),
    ("prompt", {"num_virtual_tokens": 5}),
    ("prefix", {"num_virtual_tokens": 5}),
]


@pytest.fixture
def backbone(tiny_decoder: Path) -> Backbone:
    """A fresh tiny decoder."""
    return load_backbone(BackboneSection(name=str(tiny_decoder), precision="fp32"), CPU)


def with_adapter(backbone: Backbone, name: str, options: dict[str, Any]) -> Writer:
    plugin = registry.get("adapters", name)
    torch.manual_seed(0)
    model = plugin(plugin.Config(**options)).attach(backbone)
    for key, parameter in model.named_parameters():
        if parameter.requires_grad and ("lora_B" in key or "prompt" in key):
            torch.nn.init.normal_(parameter, std=0.3)
    return Writer(backbone, model.eval())


@pytest.mark.parametrize(("name", "options"), ADAPTERS, ids=[name for name, _ in ADAPTERS])
def test_stored_keys_change_nothing_of_what_is_written(name: str, options: dict[str, Any], backbone: Backbone) -> None:
    writer = with_adapter(backbone, name, options)
    ids = list(writer.prompt("Why this film?"))
    whole, written, cache = list(ids), [], None
    fed = ids
    with torch.no_grad():
        for _ in range(12):
            token, cache = writer._next(fed, len(whole), cache)
            anew, _ = writer._next(whole, len(whole), None)
            assert token == anew
            written.append(token)
            whole, fed = [*whole, token], [token]
    assert len(set(written)) > 2  # a text that repeats one token would prove little


def test_adapter_changes_what_is_written(backbone: Backbone) -> None:
    plain = Writer(backbone).write("Why this film?", max_tokens=8)
    for name, options in ADAPTERS[1:]:
        assert with_adapter(backbone, name, options).write("Why this film?", max_tokens=8) != plain, name
        backbone.detach()
        assert Writer(backbone).write("Why this film?", max_tokens=8) == plain


@pytest.mark.parametrize(("name", "options"), ADAPTERS, ids=[name for name, _ in ADAPTERS])
def test_losses_are_those_of_each_answer_by_itself(name: str, options: dict[str, Any], backbone: Backbone) -> None:
    writer = with_adapter(backbone, name, options)
    texts = [("Why?", "It is dark."), ("Tell me why this film was picked.", "Long and slow, but warm at heart.")]
    examples = [Example(writer.prompt(asked), writer.answer(said, 30)) for asked, said in texts]
    with torch.no_grad():
        together, counts = writer.losses(examples)
        for at, example in enumerate(examples):
            ids = torch.tensor([[*example.prompt, *example.answer]])
            states = writer.model(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state
            logits = states[0] @ output_table(writer.backbone).T
            log = torch.log_softmax(logits.float(), -1)
            start = len(example.prompt)
            alone = -sum(float(log[start - 1 + n, token]) for n, token in enumerate(example.answer))
            assert float(together[at]) == pytest.approx(alone, rel=1e-4)
            assert int(counts[at]) == len(example.answer)


def test_answer_ends_unless_it_was_cut(backbone: Backbone) -> None:
    writer = Writer(backbone)
    whole = writer.answer("It is dark.", 30)
    assert whole[-1] == writer.end
    cut = writer.answer("It is dark and long and slow and warm.", 4)
    assert len(cut) == 4
    assert writer.end not in cut


def test_lead_is_part_of_the_answer(backbone: Backbone) -> None:
    writer = Writer(backbone)
    text = writer.write("Why?", "We picked it because", max_tokens=5)
    assert text.startswith("We picked it because")
    assert text != writer.write("Why?", max_tokens=5)


def test_untied_output_embedding_is_the_stored_one(tmp_path: Path) -> None:
    folder = make_tiny("tiny-llama", tmp_path)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    tensors = load_file(folder / "model.safetensors")
    table = torch.randn(config["vocab_size"], 32)
    save_file({**tensors, "lm_head.weight": table}, folder / "model.safetensors", {"format": "pt"})
    assert not config.get("tie_word_embeddings")
    backbone = load_backbone(BackboneSection(name=str(folder), precision="fp32"), CPU)
    torch.testing.assert_close(output_table(backbone), table)


def test_what_cannot_write_is_refused(tiny_backbone: Path, backbone: Backbone) -> None:
    encoder = load_backbone(BackboneSection(name=str(tiny_backbone)), CPU)
    with pytest.raises(InputError, match="is an encoder and cannot write: give a decoder"):
        Writer(encoder)
    with pytest.raises(InputError, match="too many for the window of 512"):
        Writer(backbone).write("why " * 600)


@pytest.mark.trains
@pytest.mark.slow
def test_real_decoder_goes_on_from_the_lead_with_a_whole_sentence() -> None:
    from llmrec_peft.heads.explanation import INSTRUCTION
    from llmrec_peft.writing.entities import Names
    from llmrec_peft.writing.facts import Facts
    from llmrec_peft.writing.generation import generate

    writer = Writer(load_backbone(BackboneSection(name="smollm2"), CPU))
    facts = Facts("Das Boot", "Das Boot (1981). Genres: Action, Drama, War.", ("Trainspotting", "The Godfather"))
    found = generate(writer, facts, Names(["Toy Story"]), INSTRUCTION, facts.lead())
    assert not found.template
    assert found.text.startswith(
        "You liked Trainspotting and The Godfather. We picked Das Boot for you because of its "
    )
    assert found.text.endswith(".")
    assert len(found.text) > len(facts.lead()) + 5
    assert found.check.unsupported == ()
