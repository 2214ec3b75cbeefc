"""The licence of a base model, asked of a server that answers as the Hub does."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from llmrec_peft.hub.base_licence import licence_on_hub
from llmrec_peft.hub.card_facts import CardBase

COMMIT = "1110a243fdf4706b3f48f1d95db1a4f5529b4d41"
CARDS: dict[str, dict[str, Any] | None] = {
    "free": {"license": "apache-2.0"},
    "own": {"license": "other", "license_name": "llama3.2"},
    "nameless": {"license": "other"},
    "silent": {"tags": ["x"]},
    "none": None,
    "odd": {"license": ["mit", "gpl"]},
    "hostile": {"license": "mit\n---\n<script>"},
}


class _Hub(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        name = self.path.split("/")[4]
        if self.path != f"/api/models/owner/{name}/revision/{COMMIT}" or name not in CARDS:
            self.send_error(404)
            return
        body = json.dumps({"id": f"owner/{name}", "sha": COMMIT, "cardData": CARDS[name]}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), _Hub) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def asked(name: str, endpoint: str) -> str | None:
    from huggingface_hub import HfApi

    return licence_on_hub(CardBase(f"owner/{name}", COMMIT), HfApi(endpoint=endpoint, token=False))


@pytest.mark.parametrize(
    ("name", "licence"),
    [
        ("free", "apache-2.0"),
        ("own", "llama3.2"),
        ("nameless", "other"),
        ("silent", None),
        ("none", None),
        ("odd", None),
        ("hostile", None),
        ("absent", None),
    ],
)
def test_the_card_of_the_base_names_its_licence(endpoint: str, name: str, licence: str | None) -> None:
    assert asked(name, endpoint) == licence


def test_without_an_answer_it_is_unknown() -> None:
    assert asked("free", "http://127.0.0.1:9") is None


def test_a_base_that_is_not_on_the_hub_is_not_asked_for(endpoint: str) -> None:
    from huggingface_hub import HfApi

    assert licence_on_hub(CardBase.of({"name": "/models/own", "revision": None}), HfApi(endpoint=endpoint)) is None
