"""The suite of heads passes what is sound and catches each broken rule by the check that is named after it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from llmrec_peft import registry
from llmrec_peft.errors import InputError
from llmrec_peft.testing.plugins import PluginResult, check_head

pytestmark = pytest.mark.trains

Check = Callable[..., list[PluginResult]]


@pytest.fixture
def check(monkeypatch: pytest.MonkeyPatch) -> Iterator[Check]:
    """Run the suite on a class of `broken_heads` with its defaults, registered for this test alone."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent))

    def run(cls: str, module: str = "broken_heads", options: dict | None = None) -> list[PluginResult]:
        entry = EntryPoint("broken", f"{module}:{cls}", "llmrec_peft.heads")
        monkeypatch.setitem(registry.plugins("heads"), "broken", registry.Plugin("heads", "broken", entry))
        return check_head("broken", {} if options is None else options)

    yield run
    for module in ("broken_heads", "broken_imports"):
        sys.modules.pop(module, None)


def failed(results: list[PluginResult]) -> set[str]:
    return {name for result in results for name, outcome in result.checks.items() if not outcome.ok}


@pytest.mark.parametrize("name", sorted(registry.plugins("heads")))
def test_first_party_head_keeps_every_rule_under_every_option(
    name: str, check_task_head: Callable[..., list[PluginResult]]
) -> None:
    results = check_task_head(name)
    declared, *asked = results
    assert declared.status == "passed"
    assert {result.status for result in asked} == {"skipped" if name == "explanation" else "passed"}


@pytest.mark.parametrize("cls", ["Sound", "SoundClick", "SoundRanking"])
def test_sound_head_passes(check: Check, cls: str) -> None:
    results = check(cls)
    assert [line for result in results for line in result.failures()] == []


@pytest.mark.parametrize(
    ("cls", "caught_by"),
    [
        ("Silent", {"says_what_it_is"}),
        ("UndocumentedOption", {"options_are_documented"}),
        ("RequiredOption", {"options_are_documented"}),
        ("TakesAnything", {"options_are_documented"}),
        ("UnknownMetric", {"metric_is_known"}),
        ("WrongDirection", {"metric_is_known"}),
        ("UnknownTask", {"metric_is_known"}),
        ("WrongShape", {"scores_are_sound"}),
        ("NeedsBothVectors", {"scores_are_sound"}),
        ("NotDetached", {"scores_are_sound"}),
        ("LossWithoutLabels", {"loss_is_sound"}),
        ("LossOfEach", {"loss_is_sound"}),
        ("PeeksAtLabels", {"scores_ignore_labels"}),
        ("Restless", {"scoring_is_deterministic"}),
        ("CentredInBatch", {"examples_stand_alone"}),
        ("ModesDiffer", {"modes_agree"}),
        ("WritesIntoBatch", {"inputs_stay_as_they_are"}),
        ("IdlePart", {"gradient_reaches_everything"}),
        ("DeafToUsers", {"gradient_reaches_everything"}),
        ("RawUpsideDown", {"raw_orders_as_scores"}),
        ("KeepsANumberToItself", {"saves_and_loads"}),
        ("AsLargeAsTheData", {"saves_and_loads"}),
        ("CannotBeLoaded", {"saves_and_loads"}),
        ("TakesStarsForClicks", {"labels_are_observed_or_refused"}),
        ("RefusesStars", {"labels_are_observed_or_refused"}),
        ("NoNegatives", {"negatives_are_declared"}),
        ("ReportsTensor", {"report_is_plain"}),
        ("RewardsDisagreement", {"learns"}),
        ("ScoresUpsideDown", {"separation_lowers_loss", "raw_orders_as_scores", "learns"}),
        ("LearnsNothing", {"learns"}),
        ("NotSeeded", {"is_deterministic"}),
        ("CalibratesUpsideDown", {"calibration_keeps_order"}),
        ("CalibratesToSteps", {"calibration_keeps_order"}),
        ("CalibratesToNonsense", {"calibration_keeps_order"}),
        ("RefusesEverything", {"can_be_tried"}),
        ("BuildRaises", {"builds"}),
    ],
)
def test_broken_rule_is_caught_by_its_check(check: Check, cls: str, caught_by: set[str]) -> None:
    results = check(cls)
    assert "failed" in {result.status for result in results}
    assert caught_by <= failed(results), [line for result in results for line in result.failures()]


def test_module_that_imports_torch_is_caught(check: Check) -> None:
    results = check("EagerHead", module="broken_imports")
    assert failed(results) == {"imports_no_torch"}
    assert results[0].failures() == ["imports_no_torch: importing broken_imports imports torch"]


def test_head_that_writes_is_skipped_and_the_reason_is_said(check: Check) -> None:
    declared, skipped = check("Writes")
    assert declared.status == "passed"
    assert (skipped.status, skipped.checks) == ("skipped", {})
    assert "trained and measured by itself" in skipped.why


def test_prompts_of_both_kinds_of_model_are_tried(check: Check) -> None:
    results = check("SoundClick", options={"feed": "prompt"})
    assert [result.setting for result in results] == ["declarations", "prompts of an encoder", "prompts of a decoder"]
    assert failed(results) == set()


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("ratnig", None, "unknown task head 'ratnig': did you mean 'rating'"),
        ("rating", {"los": "mse"}, "unknown field 'head.los': did you mean 'loss'"),
        ("rating", {"loss": "cubic"}, "head.loss"),
    ],
)
def test_wrong_input_is_refused(name: str, options: dict | None, message: str) -> None:
    with pytest.raises(InputError, match=message):
        check_head(name, options)
