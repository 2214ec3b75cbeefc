"""Pytest plugin: the suite as fixtures, for the tests of packages with adapter methods, heads or signals."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from llmrec_peft.testing.plugins import PluginResult


@pytest.fixture(scope="session")
def check_adapter_method() -> Callable[..., Any]:
    """Return the conformance suite as a function: ``check_adapter_method("my-method", backbone="tiny-bert")``.

    It fails the test with one line for each rule that does not hold, and returns the result otherwise, whose
    ``status`` is ``passed``, or ``refused`` if the method declares the combination impossible and it is.
    """

    def check(
        name: str,
        backbone: str = "tiny-bert",
        precision: str | None = None,
        options: dict[str, Any] | None = None,
    ) -> Any:
        from llmrec_peft.testing.adapters.suite import check_method

        result = check_method(name, backbone, precision, options)
        if result.status == "failed":
            where = f"{name} on {backbone} in {result.precision}"
            pytest.fail("\n".join([f"{where} fails:", *result.failures()]), pytrace=False)
        return result

    return check


@pytest.fixture(scope="session")
def check_task_head() -> Callable[..., list[PluginResult]]:
    """Return the suite of heads as a function: ``check_task_head("my-head")``, or with ``options={...}``.

    Without options the defaults are tested and, one by one, every other choice of each option. It fails the test
    with one line for each rule that does not hold, and returns the results otherwise.
    """

    def check(name: str, options: dict[str, Any] | None = None) -> list[PluginResult]:
        from llmrec_peft.testing.plugins import check_head

        return _passed(check_head(name, options))

    return check


@pytest.fixture(scope="session")
def check_signal() -> Callable[..., list[PluginResult]]:
    """Return the suite of signals as a function: ``check_signal("my-signal")``, with ``options={...}`` as for heads."""

    def check(name: str, options: dict[str, Any] | None = None) -> list[PluginResult]:
        from llmrec_peft.testing.plugins import check_signal as run

        return _passed(run(name, options))

    return check


def _passed(results: Sequence[PluginResult]) -> list[PluginResult]:
    lines = [f"{result.title}: {line}" for result in results if result.status == "failed" for line in result.failures()]
    if lines:
        pytest.fail("\n".join(lines), pytrace=False)
    return list(results)
