"""Plugins: the suite of a task head or a signal, for each choice of its options."""

from __future__ import annotations

import functools
import time
import types
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Union, get_args, get_origin

from llmrec_peft import registry
from llmrec_peft.errors import InputError
from llmrec_peft.options import Options, validated
from llmrec_peft.testing.outcome import Outcome, failures, raised, tried

Kind = Literal["head", "signal"]
Checks = Mapping[str, Callable[[Any], Outcome | None]]
NOT_MEASURED = {"writing": "a head that writes is trained and measured by itself, not by scores of pairs"}
"""Tasks whose heads the suite skips, and why."""


@dataclass
class PluginResult:
    """Results of the suite for one head or signal with one choice of options.

    Attributes:
        kind: ``head`` or ``signal``.
        name: Registered name.
        options: Options other than the defaults.
        setting: Setting of the test: prompts of a decoder, ratings, rankings, ...
        status: ``passed``; ``refused`` if these options are refused in one line; ``skipped``; ``failed``.
        checks: Outcome of each check.
        why: Why it was refused or skipped.
        seconds: Duration.
        tracebacks: Tracebacks of checks that raised.
    """

    kind: Kind
    name: str
    options: dict[str, Any] = field(default_factory=dict)
    setting: str = ""
    status: str = "failed"
    checks: dict[str, Outcome] = field(default_factory=dict)
    why: str = ""
    seconds: float = 0.0
    tracebacks: dict[str, str] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """The plugin, its options and its setting in words."""
        options = ", ".join(f"{name}={value}" for name, value in self.options.items())
        return f"{self.kind} {self.name}" + "".join(f" ({told})" for told in (options, self.setting) if told)

    def plain(self) -> dict[str, Any]:
        """Return the fields as plain values."""
        return {
            "plugin": self.kind,
            "name": self.name,
            "options": self.options,
            "setting": self.setting,
            "status": self.status,
            **({"why": self.why} if self.why else {}),
            "seconds": round(self.seconds, 1),
            "checks": {name: outcome.plain() for name, outcome in self.checks.items()},
        }

    def failures(self) -> list[str]:
        """Return one line for each check that failed."""
        return failures(self.checks)

    def run(self, checks: Checks, subject: Any) -> None:
        """Run every check on a subject; set the outcomes and the status."""
        for name, check in checks.items():
            outcome, text = tried(functools.partial(check, subject))
            if outcome is not None:
                self.checks[name] = outcome
            if text:
                self.tracebacks[name] = text
        self.status = "passed" if all(outcome.ok for outcome in self.checks.values()) else "failed"


def check_head(name: str, options: Mapping[str, Any] | None = None) -> list[PluginResult]:
    """Run every check of one task head.

    Args:
        name: Registered head.
        options: The head's options; None for the defaults and, one by one, every other choice of each option
            that has a few.

    Raises:
        InputError: For an unknown head or option.
    """
    from llmrec_peft.testing.declarations import DECLARED, HEAD_DECLARED, TASKS
    from llmrec_peft.testing.heads.bench import HeadBench, settings_of
    from llmrec_peft.testing.heads.checks import BEHAVIOUR
    from llmrec_peft.testing.heads.learning import LEARNING

    head = registry.get("heads", name)
    if getattr(head, "task", None) in NOT_MEASURED:
        skipped = PluginResult("head", name, status="skipped", why=NOT_MEASURED[head.task])
        return [_declared("head", name, head, DECLARED), skipped]
    declared = _declared("head", name, head, {**DECLARED, **HEAD_DECLARED})
    results = [declared]
    if "options_are_documented" in _failed(declared) or head.task not in TASKS:
        return results  # nothing can be built or asked
    for chosen in choices(head, options):
        result = PluginResult("head", name, chosen)
        config = _config(result, head.Config, chosen, options is not None)
        if config is None:
            results.append(result)
            continue
        for setting in settings_of(head(config)):
            result = PluginResult("head", name, chosen, setting)
            results.append(result)
            _timed(result, functools.partial(_run_on, result, HeadBench(head, config, setting), BEHAVIOUR | LEARNING))
    return _with_proof(results)


def check_signal(name: str, options: Mapping[str, Any] | None = None) -> list[PluginResult]:
    """Run every check of one signal, under a head of ratings and under a ranking head.

    Args:
        name: Registered signal.
        options: The signal's options; None for the defaults and, one by one, every other choice of each option
            that has a few.

    Raises:
        InputError: For an unknown signal or option.
    """
    from llmrec_peft.testing.declarations import DECLARED
    from llmrec_peft.testing.signals.bench import SETTINGS, SignalBench
    from llmrec_peft.testing.signals.checks import BEHAVIOUR
    from llmrec_peft.testing.signals.folding import FOLDING

    signal = registry.get("signals", name)
    declared = _declared("signal", name, signal, DECLARED)
    results = [declared]
    if "options_are_documented" in _failed(declared):
        return results
    for chosen in choices(signal, options):
        for setting in SETTINGS:
            result = PluginResult("signal", name, chosen, setting)
            results.append(result)
            config = _config(result, signal.Config, chosen, options is not None)
            if config is None:
                break
            bench = SignalBench(signal, config, setting)
            _timed(result, functools.partial(_run_on, result, bench, BEHAVIOUR | FOLDING))
    return _with_proof(results)


def choices(plugin: Any, options: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    """Return the options to test a plugin with: the given ones, or its defaults (`tried_with`) and their variations."""
    if options is not None:
        return [dict(options)]
    base = dict(getattr(plugin, "tried_with", {}))
    return [base, *({**base, **change} for change in variations(plugin.Config))]


def variations(options: type[Options]) -> Iterator[dict[str, Any]]:
    """Yield each other choice of every option that has few: true and false, or words."""
    for name, info in options.model_fields.items():
        default = info.get_default(call_default_factory=True)
        for choice in _choices(info.annotation):
            if choice != default:
                yield {name: choice}


def _choices(annotation: Any) -> list[Any]:
    if annotation is bool:
        return [False, True]
    if get_origin(annotation) is Literal:
        return list(get_args(annotation))
    if get_origin(annotation) in (Union, types.UnionType):
        return [choice for part in get_args(annotation) for choice in _choices(part)]
    return []


def _declared(kind: Kind, name: str, plugin: Any, checks: Checks) -> PluginResult:
    """Check what a plugin declares, before anything is built."""
    result = PluginResult(kind, name, setting="declarations")
    _timed(result, functools.partial(result.run, checks, plugin))
    return result


def _config(result: PluginResult, options: type[Options], chosen: dict[str, Any], asked: bool) -> Options | None:
    """Return the chosen options; None if a variation of a single option is refused because of the others."""
    try:
        return validated(options, chosen, result.kind)
    except InputError as error:
        if asked:
            raise
        _refused(result, error)
        return None


def _run_on(result: PluginResult, bench: Any, checks: Checks) -> None:
    """Build once, so that impossible options are distinguished from broken ones, and run the checks."""
    try:
        bench.fresh()
    except InputError as error:
        _refused(result, error)
        return
    except Exception as error:  # noqa: BLE001 - a stranger's plugin may raise anything
        result.checks["builds"] = raised(error)
        return
    result.run(checks, bench)


def _refused(result: PluginResult, error: InputError) -> None:
    message = str(error)
    one_line = "\n" not in message.strip() and bool(message.strip())
    result.checks["refusal_is_one_line"] = Outcome(one_line, note="" if one_line else "the refusal is not one line")
    result.status, result.why = "refused" if one_line else "failed", message


def _with_proof(results: list[PluginResult]) -> list[PluginResult]:
    """Return the results; if everything was refused, nothing is proved, and the first refusal counts as failed."""
    tried_out = [result for result in results if result.setting != "declarations" or result.status == "failed"]
    if all(result.status == "refused" for result in tried_out) and tried_out:
        first = tried_out[0]
        note = f"refused under all options that were tried; give others, or say them in tried_with ({first.why})"
        first.status, first.checks["can_be_tried"] = "failed", Outcome(False, note=note)
    return results


def _timed(result: PluginResult, work: Callable[[], None]) -> None:
    started = time.monotonic()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        work()
    result.seconds = time.monotonic() - started


def _failed(result: PluginResult) -> set[str]:
    return {name for name, outcome in result.checks.items() if not outcome.ok}
