"""A browser on a page of ours: Chromium of the distribution, with all that it asked for and complained of."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

MISSING = "the page is not tested in a browser: there is no Chromium (apt-get install chromium) or no playwright"


@dataclass
class Seen:
    """What a browser did.

    Attributes:
        requests: Addresses that it asked for.
        complaints: Errors and warnings of its console, scripts that failed, and dialogs that scripts opened.
    """

    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)


@pytest.fixture(scope="module")
def chromium() -> Iterator[object]:
    """The distribution's Chromium; the test is skipped where there is none, and says so."""
    executable = shutil.which("chromium") or shutil.which("chromium-browser")
    if executable is None:
        pytest.skip(MISSING)
    sync_api = pytest.importorskip("playwright.sync_api", reason=MISSING)
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox"])
        yield browser
        browser.close()
