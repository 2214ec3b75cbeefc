"""`python -m llmrec_peft.testing --kind`: heads and signals by the command, and wrong uses of it."""

from __future__ import annotations

import json

import pytest

from llmrec_peft import registry
from llmrec_peft.testing import __main__ as command
from llmrec_peft.testing.adapters.suite import CellResult
from llmrec_peft.testing.outcome import Outcome
from llmrec_peft.testing.plugins import PluginResult, variations


@pytest.mark.trains
def test_one_head_shows_every_check_and_says_what_passed(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["rating", "--kind", "head"]) == 0
    shown = capsys.readouterr()
    assert "separation_lowers_loss" in shown.out
    assert "head rating (loss=huber): passed" in shown.err


@pytest.mark.trains
def test_chosen_options_are_tried_alone(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["text", "--kind", "signal", "--set", "users=false", "--set", "dropout=0.2", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["setting"] for row in rows] == ["declarations", "ratings", "rankings"]
    assert rows[1]["options"] == {"users": False, "dropout": 0.2}
    assert rows[1]["checks"]["carries_the_label"]["ok"]


def test_all_means_every_kind_unless_one_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[tuple[str, str]] = []

    def plugin(kind: str) -> object:
        def check(name: str, options: dict | None) -> list[PluginResult]:
            ran.append((kind, name))
            return [PluginResult("head", name, status="passed")]

        return check

    def method(name: str, backbone: str, precision: str) -> CellResult:
        ran.append(("adapters", name))
        return CellResult(name, backbone, "encoder", precision, "passed")

    monkeypatch.setattr(command, "check_head", plugin("heads"))
    monkeypatch.setattr(command, "check_signal", plugin("signals"))
    monkeypatch.setattr(command, "check_method", method)
    assert command.main(["--all", "--backbone", "tiny-bert", "--json"]) == 0
    expected = {(kind, name) for kind in ("adapters", "heads", "signals") for name in registry.plugins(kind)}
    assert set(ran) == expected
    ran.clear()
    assert command.main(["--all", "--kind", "head", "--kind", "signal", "--json"]) == 0
    assert {kind for kind, _ in ran} == {"heads", "signals"}


def test_broken_rule_ends_with_exit_code_one_and_a_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = PluginResult("head", "rating", checks={"learns": Outcome(False, note="does not")})
    monkeypatch.setattr(command, "check_head", lambda name, options: [broken])
    assert command.main(["rating", "--kind", "head"]) == 1
    assert "head rating: failed (0.0 s)\n  learns: does not\n" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["ratign", "--kind", "head"], "unknown task head 'ratign': did you mean 'rating'?"),
        (["text", "--kind", "signal", "--set", "dropuot=1"], "unknown field 'signal.dropuot': did you mean 'dropout'?"),
        (["text", "--kind", "signal", "--set", "dropout"], "write it as field=value"),
    ],
)
def test_wrong_input_is_one_line(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(arguments) == 2
    told = capsys.readouterr().err
    assert told.startswith("error: ")
    assert message in told
    assert told.count("\n") == 1


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["rating", "--all"],
        ["rating", "--kind", "head", "--kind", "signal"],
        ["rating", "--kind", "head", "--backbone", "minilm"],
        ["lora", "--set", "rank=4"],
        ["--all", "--kind", "head", "--set", "loss=mae"],
        ["rating", "--kind", "haed"],
    ],
)
def test_wrong_use_is_said_with_the_usage(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        command.main(arguments)
    assert stopped.value.code == 2
    assert "usage:" in capsys.readouterr().err


def test_variations_are_each_other_choice_of_one_option() -> None:
    found = list(variations(registry.get("heads", "click").Config))
    assert {"feed": "prompt"} in found
    assert {"positive_weight": "balanced"} in found, "a word beside numbers"
    assert {"loss": "bce"} not in found, "the default is no variation"
    assert all(len(change) == 1 for change in found)
    assert {"text": False} not in found
    assert list(variations(registry.get("signals", "text").Config)) == [{"users": False}]
