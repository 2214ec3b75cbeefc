"""The server's page in Chromium: keys, figures, a try with its evidence, changes after a confirmation, and access."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from loopback_server import served
from page_browser import Seen, chromium
from page_host import EVIL, FIRST, SECOND, THIRD, MadeUpHost

from llmrec_peft.serving.http.app import make_app
from llmrec_peft.serving.refusals import UnavailableError

pytestmark = pytest.mark.trains
__all__ = ["chromium"]
CHANGED = "htmx.trigger(document.body, 'refresh')"
"""What the page's own clock does every few seconds."""
FAULTS = """() => {
  const faults = [];
  for (const field of document.querySelectorAll("input:not([type=hidden])"))
    if (!field.labels.length) faults.push(`no label: ${field.outerHTML}`);
  for (const button of document.querySelectorAll("button, a"))
    if (!button.textContent.trim()) faults.push(`no name: ${button.outerHTML}`);
  let level = 0;
  for (const heading of document.querySelectorAll("body > :not(dialog) :is(h1, h2, h3, h4)")) {
    const next = Number(heading.tagName[1]);
    if (next > level + 1) faults.push(`h${next} follows h${level}`);
    level = next;
  }
  if (document.querySelectorAll("h1").length !== 1) faults.push("not one h1");
  for (const table of document.querySelectorAll("table")) {
    if (!table.caption?.textContent.trim()) faults.push("a table without a caption");
    for (const head of table.querySelectorAll("th"))
      if (!["col", "row"].includes(head.scope)) faults.push(`th without scope: ${head.outerHTML}`);
    for (const row of table.tBodies[0].rows)
      if (row.cells.length !== table.tHead.rows[0].cells.length) faults.push("a row of another length");
  }
  const ids = [...document.querySelectorAll("[id]")].map((one) => one.id);
  for (const id of new Set(ids)) if (ids.filter((one) => one === id).length > 1) faults.push(`two parts are ${id}`);
  for (const meter of document.querySelectorAll("meter")) if (!meter.ariaLabel) faults.push("a meter without a name");
  for (const part of document.querySelectorAll("button, input:not([type=checkbox]), a"))
    if (part.offsetHeight && part.offsetHeight < 24) faults.push(`small: ${part.outerHTML}`);
  for (const box of document.querySelectorAll("body :not(thead, thead *)"))
    if (box.getBoundingClientRect().right > innerWidth + 1) faults.push(`too wide: ${box.outerHTML.slice(0, 99)}`);
  if (document.documentElement.scrollWidth > innerWidth) faults.push(`scrolls to the side: ${innerWidth}`);
  return faults;
}"""


@pytest.fixture
def host() -> MadeUpHost:
    """A server of two made-up tenants."""
    return MadeUpHost()


@pytest.fixture
def origin(host: MadeUpHost) -> Iterator[str]:
    """Where it is served."""
    with served(make_app(host)) as port:  # type: ignore[arg-type]
        yield f"http://127.0.0.1:{port}"


@pytest.fixture
def seen() -> Seen:
    """What the browser did."""
    return Seen()


@pytest.fixture
def opened(chromium: Any, origin: str, seen: Seen) -> Iterator[Callable[..., Any]]:
    """Open the page in a window of a width; at the end nothing may have gone wrong or left this origin."""
    contexts = []

    def open_page(width: int = 1280, scheme: str = "light") -> Any:
        context = chromium.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(20_000)
        page.on("request", lambda request: seen.requests.append(request.url))
        page.on(
            "console", lambda said: seen.complaints.append(said.text) if said.type in ("error", "warning") else None
        )
        page.on("pageerror", lambda error: seen.complaints.append(str(error)))
        page.on("dialog", lambda dialog: (seen.complaints.append(f"dialog: {dialog.message}"), dialog.dismiss()))
        page.goto(origin)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert seen.complaints == []
    assert [url for url in seen.requests if not url.startswith(f"{origin}/")] == []


def enter(page: Any, host: MadeUpHost) -> Any:
    """Type the admin's key, and wait for the figures."""
    page.get_by_label("Key", exact=True).fill(host.keys["admin-key"])
    page.get_by_role("button", name="Open").click()
    page.get_by_role("heading", name="Tenants", exact=True).wait_for()
    return page


def open_tenant(page: Any, name: str = "films") -> Any:
    """Open a tenant's part."""
    page.get_by_role("button", name=name, exact=True).click()
    page.get_by_role("heading", name=f"Tenant {name}").wait_for()
    return page


def confirm(page: Any, button: str) -> str:
    """Press a button of the page, then the one that confirms, and return what was asked."""
    page.get_by_role("button", name=button, exact=True).click()
    dialog = page.get_by_role("dialog")
    asked = str(dialog.inner_text())
    dialog.get_by_role("button", name="Confirm").click()
    return asked


def said(page: Any, text: str) -> None:
    """Wait until the page has told those who do not see it."""
    page.get_by_role("status").filter(has_text=text).wait_for()


def test_key_opens_the_figures_and_is_kept_in_memory_alone(
    opened: Callable[..., Any], host: MadeUpHost, seen: Seen
) -> None:
    page = enter(opened(), host)
    table = page.get_by_role("table", name="Tenants, what answers them")
    assert table.get_by_role("row").count() == 3
    assert FIRST[:12] in table.inner_text()
    assert page.get_by_label("Key", exact=True).input_value() == ""
    stored = page.evaluate("JSON.stringify([document.cookie, {...localStorage}, {...sessionStorage}, location.href])")
    assert host.keys["admin-key"] not in stored
    assert host.keys["admin-key"] not in page.content()
    assert not any(host.keys["admin-key"] in url for url in seen.requests)
    page.get_by_role("button", name="Forget the key").click()
    page.get_by_label("Key", exact=True).wait_for()
    assert "films" not in page.content()


def test_wrong_key_is_told_and_asked_for_again(opened: Callable[..., Any], host: MadeUpHost, seen: Seen) -> None:
    page = opened()
    page.get_by_label("Key", exact=True).fill("wrong")
    page.keyboard.press("Enter")
    said(page, "The key is unknown, or it has ended.")
    assert page.evaluate("document.activeElement.id") == "key"
    assert [text for text in seen.complaints if "401" not in text] == []
    seen.complaints.clear()  # the browser notes each refusal in its console
    enter(page, host)


def test_try_and_its_evidence_show_titles_as_texts(opened: Callable[..., Any], host: MadeUpHost) -> None:
    page = open_tenant(enter(opened(), host))
    page.get_by_label("User", exact=True).fill("7")
    page.get_by_label("Items", exact=True).fill("3")
    page.get_by_role("button", name="Recommend").click()
    table = page.get_by_role("table", name="Items for user 7")
    table.wait_for()
    assert table.get_by_role("row").count() == 4
    assert table.get_by_text(EVIL, exact=True).is_visible()
    said(page, "3 items for user 7.")
    table.get_by_role("button", name="Explain").first.click()
    page.get_by_role("heading", name=f"Why {EVIL} for user 7").wait_for()
    assert page.get_by_role("table", name="Items of the user's history").get_by_text(EVIL).is_visible()
    assert page.locator("img").count() == 0
    assert host.asked == [("recommend", "films", ["7"], 3, False), ("explain", "films", "7", f"0&{EVIL}")]


def test_script_inside_the_page_does_not_run(opened: Callable[..., Any], host: MadeUpHost, seen: Seen) -> None:
    page = enter(opened(), host)
    page.evaluate(
        """() => {
          const script = document.createElement("script");
          script.textContent = "window.ran = true";
          document.body.append(script);
          document.body.insertAdjacentHTML("beforeend", "<img src=data:, onerror='window.ran = true'>");
        }"""
    )
    page.wait_for_timeout(300)
    assert page.evaluate("window.ran") is None
    assert len([text for text in seen.complaints if "Content Security Policy" in text]) == 2
    seen.complaints.clear()


def test_swap_trial_and_rollback_ask_for_confirmation(opened: Callable[..., Any], host: MadeUpHost) -> None:
    page = open_tenant(enter(opened(), host))
    page.get_by_label("Run folder").fill("runs/second")
    page.get_by_label("Percent of users; below 100").fill("5")
    page.get_by_role("button", name="Swap").click()
    page.get_by_role("dialog").get_by_role("button", name="Cancel").click()
    page.get_by_role("dialog").wait_for(state="hidden")
    assert page.evaluate("document.activeElement.id") == "swap-send", "the focus is where it was"
    assert host.asked == []
    asked = confirm(page, "Swap")
    assert "Let another run answer the users of films?" in asked
    assert "runs/second" in asked
    said(page, "answers 5 % of them on trial")
    page.get_by_label("Percent of users; 100 ends").fill("25")
    assert SECOND[:12] in confirm(page, "Set")
    said(page, "answers 25 % of them on trial")
    confirm(page, "End the trial")
    said(page, f"Version {FIRST[:12]} answers the users of films.")
    page.get_by_label("Run folder").fill("runs/third")
    confirm(page, "Swap")
    said(page, f"Version {THIRD[:12]} answers")
    assert FIRST[:12] in confirm(page, "Roll back")
    said(page, f"Version {FIRST[:12]} answers")
    confirm(page, "Pin")
    said(page, "The versions of films stay in memory.")
    assert [call[0] for call in host.asked] == ["swap", "weight", "rollback", "swap", "rollback", "pin"]


def test_refusals_are_told_in_a_sentence(opened: Callable[..., Any], host: MadeUpHost, seen: Seen) -> None:
    page = open_tenant(enter(opened(), host))
    page.get_by_label("Run folder").fill("runs/none")
    confirm(page, "Swap")
    said(page, "The server refused. It says: runs/none: is no run folder")
    host.refusal = UnavailableError("films", f"no room {EVIL}", 2.5)
    page.get_by_label("User", exact=True).fill("7")
    page.get_by_role("button", name="Recommend").click()
    said(page, f"The server cannot answer at the moment. It says: tenant 'films': no room {EVIL} Try again in 3 s.")
    assert page.locator("img").count() == 0
    assert [text for text in seen.complaints if "400" not in text and "503" not in text] == []
    seen.complaints.clear()


def test_figures_follow_without_moving_focus_or_what_is_typed(opened: Callable[..., Any], host: MadeUpHost) -> None:
    page = open_tenant(enter(opened(), host))
    user = page.get_by_label("User", exact=True)
    user.fill("half of an i")
    before = page.locator("#figures").inner_text()
    rows = page.locator("#tenants table").element_handle()
    page.evaluate(CHANGED)
    page.wait_for_function("(before) => document.getElementById('figures').innerText !== before", arg=before)
    page.wait_for_function("(rows) => !rows.isConnected", arg=rows)
    assert user.input_value() == "half of an i"
    assert page.evaluate("document.activeElement.id") == "try-user"


def test_table_stays_while_somebody_stands_in_it(opened: Callable[..., Any], host: MadeUpHost) -> None:
    page = enter(opened(), host)
    button = page.get_by_role("button", name="films", exact=True)
    button.focus()
    held = button.element_handle()
    with page.expect_response("**/page/tenants") as answered:
        page.evaluate(CHANGED)
    answered.value.finished()
    page.wait_for_timeout(300)
    assert held.evaluate("(one) => one.isConnected && one === document.activeElement")


def test_hidden_page_asks_for_nothing(opened: Callable[..., Any], host: MadeUpHost, seen: Seen) -> None:
    page = opened()
    page.clock.install()
    enter(page, host)
    page.evaluate("Object.defineProperty(document, 'visibilityState', {value: 'hidden', configurable: true})")
    before = len(seen.requests)
    page.clock.run_for(20_000)
    assert len(seen.requests) == before
    page.evaluate("Object.defineProperty(document, 'visibilityState', {value: 'visible'})")
    with page.expect_response("**/page/figures"):
        page.clock.run_for(6_000)


def test_keyboard_alone_reaches_a_recommendation_and_a_change(opened: Callable[..., Any], host: MadeUpHost) -> None:
    page = opened()

    def tab_to(name: str) -> None:
        for _ in range(60):
            page.keyboard.press("Tab")
            if page.evaluate("document.activeElement.id") == name:
                return
        raise AssertionError(f"no way to {name}")

    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    tab_to("key")
    page.keyboard.type(host.keys["admin-key"])
    page.keyboard.press("Enter")
    said(page, "The figures are shown.")
    assert page.evaluate("document.activeElement.id") == "board"
    tab_to("open-films")
    page.keyboard.press("Enter")
    page.locator("#tenant-title:focus").wait_for()
    tab_to("try-user")
    page.keyboard.type("7")
    page.keyboard.press("Enter")
    said(page, "items for user 7")
    tab_to("why-1")
    page.keyboard.press("Space")
    page.locator("#why-title:focus").wait_for()
    tab_to("pin-send")
    page.keyboard.press("Enter")
    page.get_by_role("dialog").wait_for()
    page.keyboard.press("Escape")
    page.get_by_role("dialog").wait_for(state="hidden")
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    said(page, "The versions of films stay in memory.")
    assert [call[0] for call in host.asked] == ["recommend", "explain", "pin"]


@pytest.mark.parametrize("width", [320, 360, 800, 1024, 1280])
def test_page_is_accessible_and_never_scrolls_to_the_side(
    opened: Callable[..., Any], host: MadeUpHost, width: int
) -> None:
    page = opened(width, "dark" if width == 800 else "light")
    assert page.evaluate(FAULTS) == []
    open_tenant(enter(page, host))
    page.get_by_label("Run folder").fill("runs/second")
    page.get_by_label("Percent of users; below 100").fill("5")
    confirm(page, "Swap")
    said(page, "on trial")
    page.get_by_label("User", exact=True).fill("7")
    page.get_by_role("button", name="Recommend").click()
    page.get_by_role("button", name="Explain").first.click()
    page.get_by_role("heading", name="Why").wait_for()
    assert page.evaluate(FAULTS) == []
    table = page.get_by_role("table", name="Tenants, what answers them")
    assert table.get_by_role("columnheader").count() == 9, "a card is still a table for a screen reader"
    assert table.get_by_role("cell").count() == 16
