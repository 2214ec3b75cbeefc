"""Requests made up from the OpenAPI schema, right and wrong ones: no failure, and nobody gets to another's tenant.

The short form makes up two dozen requests for each operation and caller; with ``LLMREC_SOAK`` set, some hundreds.
"""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from running_server import Running, running
from schemathesis import Case, GenerationMode
from schemathesis.core.transport import Response
from schemathesis.schemas import APIOperation
from schemathesis.specs.openapi import checks

EXAMPLES = 200 if os.environ.get("LLMREC_SOAK") else 12
MANY = {"requests": "1000000/second", "texts": "1000000/second", "explanations": "1000000/second"}
OPEN = {"/", "/healthz", "/readyz", "/metrics", "/openapi.json"}
CONFORMS = [
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
]
pytestmark = pytest.mark.timeout(7_200 if os.environ.get("LLMREC_SOAK") else 300)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, rivals: list[Path]) -> Iterator[Running]:
    """A server with two tenants."""
    runs = {"a": rivals[0], "b": rivals[1]}
    with running(tmp_path_factory.mktemp("fuzz") / "state", runs, quotas=MANY) as served:
        yield served


class Fuzzing:
    """Requests of one caller.

    Attributes:
        statuses: How often each status came, by operation.
    """

    def __init__(self, served: Running, key: str | None) -> None:
        self._schema = schemathesis.openapi.from_url(f"{served.url}/openapi.json")
        self._url = served.url
        self._headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        self._session = requests.Session()
        self.statuses: dict[str, Counter[int]] = {}

    def cases(self, tenant: str) -> Iterator[tuple[APIOperation[Any, Any, Any], GenerationMode, Any]]:
        """Operations, with strategies for requests about a tenant."""
        for found in self._schema.get_all_operations():
            operation = found.ok()
            names = {parameter.name for parameter in operation.iter_parameters()}
            place = "path_parameters" if "{tenant}" in operation.path else "query"
            fixed: dict[str, Any] = {place: {"tenant": tenant}} if "tenant" in names else {}
            for mode in GenerationMode:
                yield operation, mode, operation.as_strategy(mode, **fixed).map(lambda case: about(case, tenant))

    def send(self, case: Case) -> Response:
        """Send a request; no answer is a failure, and each is as the schema says."""
        answer = case.call(self._url, self._session, self._headers)
        self.statuses.setdefault(case.operation.label, Counter())[answer.status_code] += 1
        assert answer.status_code < 500 or (answer.status_code == 503 and "retry-after" in answer.headers), answer.text
        case.validate_response(answer, checks=CONFORMS)
        return answer


def about(case: Case, tenant: str) -> Case:
    """Let a request be about a tenant, where its body says whom it is about, and mend what the schema cannot say."""
    body = case.body
    if not isinstance(body, dict) or "tenant" not in body:
        return case
    case.body = body = {**body, "tenant": tenant}
    if case.path == "/v1/recommend":  # one user or several
        absent = ("user_id", "user_ids") if body.get("user_id") is None else ("user_ids",)
        case.body = {name: value for name, value in body.items() if name not in absent}
        if body.get("user_id") is None:
            case.body["user_ids"] = body.get("user_ids") or ["1"]
    if isinstance(body.get("item_ids"), list) and isinstance(body.get("user_ids"), list):  # as many of both
        for name in ("user_ids", "item_ids"):
            case.body[name] = body[name][: min(len(body["user_ids"]), len(body["item_ids"]))]
    return case


def tried(mode: GenerationMode, strategy: Any, attempt: Callable[[Case], None]) -> None:
    """Make up requests, the same ones each time; an operation that takes nothing has no wrong ones."""
    limited = settings(
        max_examples=EXAMPLES,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    with contextlib.suppress(*([Unsatisfiable] if mode is GenerationMode.NEGATIVE else [])):
        limited(given(case=strategy)(attempt))()


def test_a_tenants_own_requests_never_make_the_server_fail(served: Running) -> None:
    fuzzing = Fuzzing(served, served.new_key("a", "ask", "write", "manage"))

    def attempt(case: Case) -> None:
        assert fuzzing.send(case).status_code != 401

    for _, mode, strategy in fuzzing.cases("a"):
        tried(mode, strategy, attempt)
    reached = [label for label, statuses in fuzzing.statuses.items() if statuses[200]]
    assert {"POST /v1/recommend", "POST /v1/events", "GET /v1/events", "GET /v1/tenants/{tenant}"} <= set(reached)


def test_another_tenants_key_gets_what_it_would_get_if_there_were_no_such_tenant(served: Running) -> None:
    fuzzing = Fuzzing(served, served.new_key("b", "ask", "write", "manage"))

    def attempt(case: Case) -> None:
        foreign = fuzzing.send(case)
        if names_tenant(case):
            assert foreign.status_code in (400, 403, 405, 413, 415, 422)
            unknown = fuzzing.send(renamed(case, "nobody"))
            assert (foreign.status_code, foreign.content) == (unknown.status_code, unknown.content)

    with served.client() as admin:
        before = admin.events("a")
    for operation, mode, strategy in fuzzing.cases("a"):
        if operation.path in OPEN:
            continue
        tried(mode, strategy, attempt)
        if mode is GenerationMode.POSITIVE and ("{tenant}" in operation.path or operation.method == "post"):
            assert fuzzing.statuses[operation.label][403] > 0, operation.label
    with served.client() as admin:
        assert admin.events("a") == before


def test_without_a_key_nothing_but_open_paths_is_answered(served: Running) -> None:
    fuzzing, bodies = Fuzzing(served, None), set()

    def attempt(case: Case) -> None:
        answer = fuzzing.send(case)
        if not (case.path in OPEN and answer.status_code == 200):
            assert answer.status_code == 401
            bodies.add(answer.content)

    for _, mode, strategy in fuzzing.cases("a"):
        tried(mode, strategy, attempt)
    assert len(bodies) == 1


def names_tenant(case: Case) -> bool:
    """Whether a request is about the tenant."""
    if "{tenant}" in case.path:
        return True
    return any(isinstance(part, dict) and part.get("tenant") == "a" for part in (case.body, case.query))


def renamed(case: Case, tenant: str) -> Case:
    """The same request about another name."""
    other = case.operation.Case(
        method=case.method,
        path_parameters={**case.path_parameters, **({"tenant": tenant} if "{tenant}" in case.path else {})},
        headers=case.headers,
        query={**case.query, **({"tenant": tenant} if "tenant" in case.query else {})},
        body=case.body,
        media_type=case.media_type,
    )
    return about(other, tenant)
