"""The server's page without a browser: who sees what, what forms take, and that no text of others becomes markup."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from page_host import BIDI, BROKEN, EVIL, FIRST, SECOND, MadeUpHost, made_up_tenant
from starlette.testclient import TestClient

from llmrec_peft.serving.http.app import make_app
from llmrec_peft.serving.http.page.forms import versions_of
from llmrec_peft.serving.http.page.rendering import POLICY
from llmrec_peft.serving.http.page.static_files import static_files

STATIC = Path(__file__).parents[3] / "llmrec_peft/serving/http/page/static"
FRAGMENTS = ("board", "figures", "tenants", "tenants/films", "tenants/films/versions")


@pytest.fixture
def host() -> MadeUpHost:
    """A server of two made-up tenants."""
    return MadeUpHost()


@pytest.fixture
def client(host: MadeUpHost) -> TestClient:
    """A client without a key."""
    return TestClient(make_app(host))  # type: ignore[arg-type]


def key(host: MadeUpHost, name: str = "admin-key") -> dict[str, str]:
    """Return the header of a key."""
    return {"Authorization": f"Bearer {host.keys[name]}"}


@pytest.fixture
def change(client: TestClient, host: MadeUpHost) -> Callable[..., Any]:
    """Send a form of a tenant."""

    def sent(what: str, by: str = "admin-key", **fields: Any) -> Any:
        return client.post(f"/page/tenants/films/{what}", data=fields, headers=key(host, by))

    return sent


def seen(host: MadeUpHost) -> str:
    """Return what a form says of the versions that its reader saw."""
    return versions_of(host.tenant("films"))


def test_shell_holds_nothing_of_any_tenant_and_needs_no_key(client: TestClient) -> None:
    answer = client.get("/")
    assert answer.status_code == 200
    assert answer.headers["content-security-policy"] == POLICY
    assert "films" not in answer.text
    assert "<style" not in answer.text
    assert not re.search(r"<script(?![^>]* src=\"/static/)|\son\w+=|\sstyle=", answer.text)


def test_policy_allows_nothing_inside_a_page_and_nothing_from_elsewhere() -> None:
    assert "unsafe" not in POLICY
    assert "http" not in POLICY
    assert POLICY.startswith("default-src 'none'; script-src 'self'; style-src 'self';")


@pytest.mark.parametrize("fragment", FRAGMENTS)
def test_fragments_need_a_key(client: TestClient, fragment: str, host: MadeUpHost) -> None:
    assert client.get(f"/page/{fragment}").status_code == 401
    assert client.get(f"/page/{fragment}", headers=key(host)).status_code == 200


def test_static_files_are_those_of_the_list_alone(client: TestClient) -> None:
    for name in ("views.py", "htmx-SOURCE.txt", "..%2frouter.py", "%2e%2e/router.py", "PAGE.CSS", ""):
        assert client.get(f"/static/{name}").status_code == 404, name


def test_static_files_are_kept_for_good_only_under_the_digest_of_their_content(client: TestClient) -> None:
    addresses = re.findall(r'"(/static/[^"]+)"', client.get("/").text)
    assert len(addresses) == 5
    for address in addresses:
        answer = client.get(address)
        assert "immutable" in answer.headers["cache-control"]
        assert hashlib.sha256(answer.content).hexdigest().startswith(address.rpartition("=")[2])
        assert client.get(address.partition("?")[0]).headers["cache-control"] == "no-cache"
        assert answer.headers["x-content-type-options"] == "nosniff"


def test_htmx_is_the_file_that_its_source_note_names_and_comes_with_its_licence() -> None:
    note = (STATIC / "htmx-SOURCE.txt").read_text(encoding="utf-8")
    assert hashlib.sha256((STATIC / "htmx.min.js").read_bytes()).hexdigest() in note
    version = re.search(r"htmx (\d+\.\d+\.\d+)", note)
    assert version is not None
    assert f'version:"{version[1]}"'.encode() in (STATIC / "htmx.min.js").read_bytes()
    assert "Permission to use, copy, modify" in (STATIC / "htmx-LICENSE.txt").read_text(encoding="utf-8")
    assert "htmx-LICENSE.txt" in static_files()


def test_admin_sees_all_tenants_and_memory(client: TestClient, host: MadeUpHost) -> None:
    board = client.get("/page/board", headers=key(host)).text
    assert 'id="open-films"' in board
    assert 'id="open-books"' in board
    assert "Memory by tier" in board
    assert "64.0 MiB" in board
    assert "75 % of 4" in board, "lists found"
    assert 'value="67108864"' in board, "the bar of the slab"


def test_tenants_key_sees_its_own_tenant_and_figures_alone(client: TestClient, host: MadeUpHost) -> None:
    board = client.get("/page/board", headers=key(host, "films-key")).text
    assert 'id="open-films"' in board
    assert "books" not in board
    assert "Memory by tier" not in board
    assert "10.00" in board, "its own requests"
    assert "20.0 ms" in board, "its own 99th centile"


@pytest.mark.parametrize("tenant", ["books", "nobody"])
@pytest.mark.parametrize(
    "what", ["", "/versions", "/try", "/explain", "/swap", "/weight", "/rollback", "/pin", "/reload"]
)
def test_foreign_and_unknown_tenants_are_refused_alike(
    client: TestClient, host: MadeUpHost, tenant: str, what: str
) -> None:
    call = client.get if what in ("", "/versions") else client.post
    answer = call(f"/page/tenants/{tenant}{what}", headers=key(host, "films-manager"))
    assert answer.status_code == 403
    assert tenant not in answer.text
    assert host.asked == []


def test_keys_without_a_scope_get_neither_its_form_nor_its_action(
    client: TestClient, host: MadeUpHost, change: Callable[..., Any]
) -> None:
    asker, writer = (
        client.get("/page/tenants/films", headers=key(host, by)).text for by in ("films-key", "films-writer")
    )
    assert 'id="try"' in asker
    assert 'id="swap"' not in asker
    assert 'id="try"' not in writer
    assert change("rollback", "films-key", expected=seen(host)).status_code == 403
    assert change("try", "films-writer", user_id="7").status_code == 403
    assert 'id="swap"' in client.get("/page/tenants/films", headers=key(host, "films-manager")).text


@pytest.mark.parametrize(
    ("address", "fields"),
    [
        ("tenants", None),
        ("tenants/books", None),
        ("tenants/films/try", {"user_id": EVIL}),
        ("tenants/films/explain", {"user_id": EVIL, "item_id": EVIL}),
    ],
)
def test_texts_of_others_are_shown_as_they_are(
    client: TestClient, address: str, fields: dict[str, str] | None, host: MadeUpHost
) -> None:
    headers = key(host)
    url = f"/page/{address}"
    answer = client.get(url, headers=headers) if fields is None else client.post(url, data=fields, headers=headers)
    assert answer.status_code == 200
    assert "&lt;img src=x onerror=alert(1)&gt;" in answer.text
    assert "<img" not in answer.text
    assert "<script" not in answer.text
    assert 'href="javascript' not in answer.text


def test_characters_that_turn_the_direction_of_reading_are_written_out(change: Callable[..., Any]) -> None:
    answer = change("try", user_id="7\u2067")
    assert "Heat \\u202e(1995)" in answer.text
    assert "user 7\\u2067." in answer.text
    shown = re.sub(r'type="hidden"[^>]*', "", answer.text)
    assert not set("\u202e\u2067") & set(shown)


def test_ids_come_back_from_hidden_fields_as_they_were(change: Callable[..., Any], host: MadeUpHost) -> None:
    answer = change("try", user_id="a'b\"&\u202ec", k="2")
    found = re.findall(r'name="item_id" value="([^"]*)"', answer.text)
    assert len(found) == 2
    assert found[1] == f"1&amp;{BIDI}"
    assert 'name="user_id" value="a&#39;b&#34;&amp;\u202ec"' in answer.text
    assert host.asked == [("recommend", "films", ["a'b\"&\u202ec"], 2, False)]


def test_explanation_shows_signed_contributions_of_each_kind_with_bars(
    change: Callable[..., Any], host: MadeUpHost
) -> None:
    text = change("explain", user_id="7", item_id="1").text
    assert host.asked == [("explain", "films", "7", "1")]
    assert text.count("<caption>") == 3
    for shown in ("+3.5000", "+0.5000", "−0.2500", "(rated 5)", "+0.1250"):
        assert shown in text
    bars = re.findall(r'x="([\d.]+)" y="2" width="([\d.]+)"', text)
    assert bars[:2] == [("50.0", "0.0"), ("50.0", "50.0")], "the largest has a whole half; a constant has no bar"
    assert bars[2] == ("25.0", "25.0"), "what speaks against the item lies left of the middle"


def test_changes_pass_what_was_typed_and_show_what_answers_now(change: Callable[..., Any], host: MadeUpHost) -> None:
    tried = change("swap", expected=seen(host), run="runs/second", percent="5", keep_items="true", digest="")
    assert host.asked[-1] == ("swap", "films", "runs/second", 0.05, None, True)
    assert "on trial, 5 % of users" in tried.text
    assert tried.headers["hx-trigger"] == "refresh"
    change("weight", expected=seen(host), version=SECOND, percent="25")
    assert host.asked[-1] == ("weight", "films", SECOND, 0.25)
    change("rollback", expected=seen(host))
    assert host.asked[-1] == ("rollback", "films", False)
    assert host.tenant("films").trial is None
    change("pin", expected=seen(host), pinned="true")
    assert host.asked[-1] == ("pin", "films", True)


def test_reload_is_offered_where_a_load_failed(client: TestClient, host: MadeUpHost) -> None:
    assert 'id="reload"' not in client.get("/page/tenants/films", headers=key(host)).text
    assert 'id="reload"' in client.get("/page/tenants/books", headers=key(host)).text
    data = {"expected": versions_of(host.tenant("books"))}
    answer = client.post("/page/tenants/books/reload", data=data, headers=key(host))
    assert host.asked == [("reload", "books")]
    assert "The versions of books were loaded." in answer.text
    assert 'id="reload"' not in answer.text


def test_change_is_refused_if_the_versions_are_not_those_that_were_shown(
    change: Callable[..., Any], host: MadeUpHost
) -> None:
    shown = seen(host)
    change("swap", expected=shown, run="runs/second", percent="100")
    answer = change("swap", expected=shown, run="runs/third", percent="100")
    assert answer.status_code == 409
    assert "open the tenant again" in answer.json()["error"]["message"]
    assert host.tenant("films").main.version == SECOND


@pytest.mark.parametrize(
    ("what", "fields", "named"),
    [
        ("try", {"user_id": ""}, "user_id"),
        ("try", {"user_id": "7", "k": "0"}, "k"),
        ("try", {"user_id": "7", "k": "101"}, "k"),
        ("try", {"user_id": "7", "k": EVIL}, "k"),
        ("try", {"user_id": "7", "more": "1"}, "more"),
        ("try", {"user_id": "7" * 513}, "user_id"),
        ("swap", {"run": "runs/second", "percent": "0"}, "percent"),
        ("swap", {"run": "runs/second", "percent": "nan"}, "percent"),
        ("swap", {"run": "runs/second", "digest": "12"}, "digest"),
        ("weight", {"version": FIRST, "percent": "101"}, "percent"),
        ("pin", {}, "pinned"),
    ],
)
def test_wrong_fields_are_refused_by_name(
    change: Callable[..., Any], host: MadeUpHost, what: str, fields: dict[str, str], named: str
) -> None:
    given = fields if what == "try" else {**fields, "expected": seen(host)}
    answer = change(what, **given)
    assert answer.status_code == 422
    assert answer.json()["error"]["message"].startswith(f"'{named}': ")
    assert EVIL not in answer.text
    assert host.asked == []


@pytest.mark.parametrize(
    ("body", "content_type", "status"),
    [
        (b"user_id=7&user_id=8", "application/x-www-form-urlencoded", 400),
        (b"user_id=%ff", "application/x-www-form-urlencoded", 400),
        (b"user_id=\xff", "application/x-www-form-urlencoded", 400),
        (b"user_id", "application/x-www-form-urlencoded", 400),
        (b"&".join(b"a%d=1" % at for at in range(17)), "application/x-www-form-urlencoded", 400),
        (b"", "application/x-www-form-urlencoded", 422),
        (b'{"user_id": "7"}', "application/json", 415),
        (b"user_id=7", "text/plain", 415),
    ],
)
def test_bodies_that_are_no_form_are_refused(
    client: TestClient, body: bytes, content_type: str, status: int, host: MadeUpHost
) -> None:
    headers = {**key(host), "Content-Type": content_type}
    assert client.post("/page/tenants/films/try", content=body, headers=headers).status_code == status


def test_of_many_tenants_those_with_failures_and_the_busiest_are_shown(client: TestClient, host: MadeUpHost) -> None:
    host.known.update({f"idle-{at}": made_up_tenant(f"idle-{at}") for at in range(200)})
    host.known["late"] = made_up_tenant("late", conditions=BROKEN)
    board = client.get("/page/board", headers=key(host)).text
    shown = re.findall(r'id="open-([^"]+)"', board)
    assert len(shown) == 100
    assert shown[:4] == ["books", "late", "films", "idle-0"]
    assert "103 further tenants are not shown" in board
    assert "Versions of idle-150" in client.get("/page/tenant?tenant=idle-150", headers=key(host)).text


def contrast(one: str, other: str) -> float:
    """Return the contrast of two colours as WCAG 2 defines it."""

    def luminance(colour: str) -> float:
        parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def test_contrast_is_enough_in_light_and_dark() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    style = (STATIC / "page.css").read_text(encoding="utf-8")
    schemes = re.findall(r":root \{(.*?)\}", style, re.DOTALL)
    assert len(schemes) == 2
    for scheme in schemes:
        colours = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", scheme))
        for paper in ("paper", "panel"):
            for ink in ("ink", "soft", "warn"):
                assert contrast(colours[ink], colours[paper]) >= 4.5, (ink, paper)
            for line in ("edge", "strong", "against", "focus"):
                assert contrast(colours[line], colours[paper]) >= 3, (line, paper)
        assert contrast(colours["on-strong"], colours["strong"]) >= 4.5


def test_trouble_and_failed_versions_are_told(client: TestClient, host: MadeUpHost) -> None:
    host.figures = replace(host.figures, ready=False, trouble=f"disk full {EVIL}")
    board = client.get("/page/board", headers=key(host)).text
    assert "Not ready: disk full &lt;img" in board
    assert "answers: head.safetensors: &lt;img" in board
    assert "0.25 failed" not in board, "the reason of a failed load goes first"
    detail = client.get("/page/tenants/books", headers=key(host)).text
    assert "5 times" in detail
    assert "It is not tried again" in detail
