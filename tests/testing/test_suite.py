"""The conformance suite passes what is sound and catches each broken rule by the check that is named after it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from llmrec_peft import registry
from llmrec_peft.errors import InputError
from llmrec_peft.testing.adapters.suite import CellResult, check_method

pytestmark = pytest.mark.trains

Check = Callable[[str], CellResult]


@pytest.fixture
def check(monkeypatch: pytest.MonkeyPatch) -> Check:
    """Run the suite on a class of `broken_methods`, registered for this test alone."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent))

    def run(cls: str) -> CellResult:
        entry = EntryPoint("broken", f"broken_methods:{cls}", "llmrec_peft.adapters")
        monkeypatch.setitem(registry.plugins("adapters"), "broken", registry.Plugin("adapters", "broken", entry))
        return check_method("broken", "tiny-bert")

    yield run
    sys.modules.pop("broken_methods", None)


@pytest.mark.parametrize("cls", ["Sound", "RemembersState"])
def test_sound_method_passes(check: Check, cls: str) -> None:
    result = check(cls)
    assert result.failures() == []
    assert result.status == "passed"
    assert result.parameters == 2 * 2 * 8 * (32 + 32)  # two layers, query and value, rank 8


@pytest.mark.parametrize(
    ("cls", "caught_by"),
    [
        ("NotIdentity", {"starts_as_declared"}),
        ("FalselyNoIdentity", {"starts_as_declared"}),
        ("WritesIntoBase", {"base_is_unchanged"}),
        ("TrainsTheBase", {"trains_what_it_declares", "base_is_unchanged", "parameter_formula_holds"}),
        ("IdleParameter", {"trains_what_it_declares", "parameter_formula_holds"}),
        ("WrongCount", {"parameter_formula_holds"}),
        ("LowestTooHigh", {"lowest_layer_is_true"}),
        ("LowestTooLow", {"lowest_layer_is_true"}),
        ("ForgetsState", {"resume_is_exact"}),
        ("LosesTensor", {"loading_brings_it_back"}),
        ("SavesPickle", {"writes_two_files"}),
        ("LoadsAnything", {"damage_is_refused"}),
        ("UnknownToPeft", {"stock_peft_loads_it"}),
        ("NotSeeded", {"is_deterministic"}),
        ("LearnsNothing", {"loss_falls"}),
        ("MixesWithoutItsScale", {"mixing"}),
        ("MixesHalfOfItself", {"mixing"}),
        ("MixesNothing", {"mixing"}),
        ("MergesWrongly", {"merges_as_declared"}),
        ("MergesInSilence", {"merges_as_declared"}),
        ("RefusesWhatWorks", {"refused_is_impossible"}),
        ("AttachRaises", {"refused_is_impossible"}),
    ],
)
def test_broken_rule_is_caught_by_its_check(check: Check, cls: str, caught_by: set[str]) -> None:
    result = check(cls)
    assert result.status == "failed"
    failed = {name for name, outcome in result.checks.items() if not outcome.ok}
    assert caught_by <= failed, result.failures()


def test_true_refusal_counts_as_refused(check: Check) -> None:
    result = check("Impossible")
    assert result.status == "refused", result.failures()
    assert "RuntimeError" in result.checks["refused_is_impossible"].note


@pytest.mark.parametrize(
    ("backbone", "precision", "options", "message"),
    [
        ("tiny-brt", None, None, "did you mean 'tiny-bert'"),
        ("tiny-bert", "fp8", None, "precision: 'fp8' is none of fp32, bf16, int8, nf4"),
        ("tiny-bert", None, {"rnak": 4}, "unknown field 'adapter.rnak': did you mean 'rank'"),
    ],
)
def test_wrong_input_is_refused(backbone: str, precision: str | None, options: dict | None, message: str) -> None:
    with pytest.raises(InputError, match=message):
        check_method("lora", backbone, precision, options)
