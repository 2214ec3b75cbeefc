"""Pytest plugin: `check_adapter_method` for the tests of packages that bring an adapter method."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest


@pytest.fixture(scope="session")
def check_adapter_method() -> Callable[..., Any]:
    """The conformance suite as a function: ``check_adapter_method("my-method", backbone="tiny-bert")``.

    It fails the test with one line for each rule that does not hold, and answers the result otherwise; its
    ``status`` is ``passed``, or ``refused`` where the method declares the pair impossible and it is.
    """

    def check(
        name: str,
        backbone: str = "tiny-bert",
        precision: str | None = None,
        options: dict[str, Any] | None = None,
    ) -> Any:
        from llmrec_peft.testing.suite import check_method

        result = check_method(name, backbone, precision, options)
        if result.status == "failed":
            where = f"{name} on {backbone} in {result.precision}"
            pytest.fail("\n".join([f"{where} fails:", *result.failures()]), pytrace=False)
        return result

    return check
