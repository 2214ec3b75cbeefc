"""Load requests: the bytes that a load test sends, made as far as possible before it begins."""

from __future__ import annotations

import json
import ssl
from typing import Any

import httpx

from llmrec_peft.serving.http.load_test.load_plan import LoadPlan
from llmrec_peft.serving.http.load_test.load_schedule import Due


class LoadRequests:
    """Requests for lists of one user each.

    Attributes:
        place: Where they go, as arguments of ``create_connection``.
    """

    def __init__(self, plan: LoadPlan, key: str | None) -> None:
        """Prepare what requests have in common.

        Args:
            plan: What is asked.
            key: Key of the server.
        """
        url = httpx.URL(plan.url)
        secure = url.scheme == "https"
        self.place: dict[str, Any] = {
            "host": url.host,
            "port": url.port or (443 if secure else 80),
            "ssl": ssl.create_default_context() if secure else None,
        }
        lines = [
            f"POST {url.path.rstrip('/')}/v1/recommend HTTP/1.1",
            f"Host: {url.netloc.decode()}",
            *([] if key is None else [f"Authorization: Bearer {key}"]),
            "Content-Type: application/json",
            "Content-Length: ",
        ]
        self._head = "\r\n".join(lines).encode()
        self._tenants = [b'{"k":%d,"tenant":%s,"user_id":' % (plan.k, _json(name)) for name in plan.tenants]
        self._users = [_json(user) + b"}" for user in plan.users]

    def of(self, due: Due) -> bytes:
        """Return the bytes of a request."""
        begin, end = self._tenants[due.tenant], self._users[due.user]
        return b"%s%d\r\n\r\n%s%s" % (self._head, len(begin) + len(end), begin, end)


def _json(text: str) -> bytes:
    return json.dumps(text).encode()
