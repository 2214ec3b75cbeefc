"""The suite of signals passes what is sound and catches each broken rule by the check that is named after it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from llmrec_peft import registry
from llmrec_peft.errors import InputError
from llmrec_peft.testing.plugins import PluginResult, check_signal

pytestmark = pytest.mark.trains

Check = Callable[..., list[PluginResult]]


@pytest.fixture
def check(monkeypatch: pytest.MonkeyPatch) -> Iterator[Check]:
    """Run the suite on a class of `broken_signals` with its defaults, registered for this test alone."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent))

    def run(cls: str, module: str = "broken_signals", options: dict | None = None) -> list[PluginResult]:
        entry = EntryPoint("broken", f"{module}:{cls}", "llmrec_peft.signals")
        monkeypatch.setitem(registry.plugins("signals"), "broken", registry.Plugin("signals", "broken", entry))
        return check_signal("broken", {} if options is None else options)

    yield run
    for module in ("broken_signals", "broken_imports"):
        sys.modules.pop(module, None)


def failed(results: list[PluginResult]) -> set[str]:
    return {name for result in results for name, outcome in result.checks.items() if not outcome.ok}


@pytest.mark.parametrize("name", sorted(registry.plugins("signals")))
def test_first_party_signal_keeps_every_rule_under_every_option(
    name: str, check_signal: Callable[..., list[PluginResult]]
) -> None:
    results = check_signal(name)
    proved = {result.setting for result in results if result.status == "passed"}
    assert {"declarations", "ratings"} <= proved, "what a signal refuses, it does not refuse everywhere"


def test_features_keep_every_rule_on_columns_of_both_sides(check_signal: Callable[..., list[PluginResult]]) -> None:
    results = check_signal("features", {"users": ["gender", "age"], "items": ["genres", "brand", "year", "price"]})
    assert {result.status for result in results} == {"passed"}
    assert {result.status for result in check_signal("features")} == {"passed"}, "by what it says in tried_with"


def test_sound_signal_passes(check: Check) -> None:
    results = check("Sound")
    assert [line for result in results for line in result.failures()] == []
    assert [result.setting for result in results] == ["declarations", "ratings", "rankings"]


@pytest.mark.parametrize(
    ("cls", "caught_by"),
    [
        ("UndocumentedOption", {"options_are_documented"}),
        ("TakesAnything", {"options_are_documented"}),
        ("TooWide", {"outputs_are_sound"}),
        ("NotFiniteForTheUnknown", {"outputs_are_sound"}),
        ("SaysNothing", {"outputs_are_sound"}),
        ("ReadsUndeclared", {"outputs_are_sound"}),
        ("Restless", {"asking_is_deterministic"}),
        ("LeaksTheLabel", {"labels_are_not_read"}),
        ("CentredInBatch", {"examples_stand_alone"}),
        ("ItemsKnowWhoAsks", {"both_ways_agree"}),
        ("UsersKnowWhatIsAsked", {"both_ways_agree"}),
        ("CrossInOffset", {"both_ways_agree"}),
        ("CrossDiffers", {"candidates_agree"}),
        ("CountsPadding", {"padding_changes_nothing"}),
        ("EmptyHistoryIsNothing", {"padding_changes_nothing"}),
        ("WritesIntoBatch", {"inputs_stay_as_they_are"}),
        ("NotSeeded", {"is_deterministic"}),
        ("CarriesNothing", {"carries_the_label"}),
        ("LearnsTheAnswerByHeart", {"carries_the_label"}),
        ("IdlePart", {"gradient_reaches_its_parts"}),
        ("PenaltyOfEach", {"penalty_is_a_scalar"}),
        ("ReportsTensor", {"report_is_plain"}),
        ("FoldsAway", {"folding_keeps_what_is_said"}),
        ("KeepsInteractions", {"folding_forgets_interactions"}),
        ("KeepsRows", {"folding_forgets_interactions"}),
        ("KeepsMatrix", {"folding_forgets_interactions"}),
        ("KeepsANumberToItself", {"saves_and_loads"}),
        ("AnswersByLearningParts", {"saves_and_loads"}),
        ("NeedsTheData", {"saves_and_loads"}),
        ("RemembersOtherwise", {"remembers_what_it_folded"}),
        ("FollowsByLearning", {"remembers_what_it_folded"}),
        ("RefusesEverything", {"can_be_tried"}),
        ("BuildRaises", {"builds"}),
    ],
)
def test_broken_rule_is_caught_by_its_check(check: Check, cls: str, caught_by: set[str]) -> None:
    results = check(cls)
    assert "failed" in {result.status for result in results}
    assert caught_by <= failed(results), [line for result in results for line in result.failures()]


def test_module_that_imports_torch_is_caught(check: Check) -> None:
    results = check("EagerSignal", module="broken_imports")
    assert failed(results) == {"imports_no_torch"}


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("txt", None, "unknown signal 'txt': did you mean 'text'"),
        ("text", {"dropuot": 0.1}, "unknown field 'signal.dropuot': did you mean 'dropout'"),
        ("history", {"pooling": "sum"}, "signal.pooling"),
    ],
)
def test_wrong_input_is_refused(name: str, options: dict | None, message: str) -> None:
    with pytest.raises(InputError, match=message):
        check_signal(name, options)
