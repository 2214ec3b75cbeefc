"""Hostile texts: bodies that are no requests, and names that look like others or like paths."""

from __future__ import annotations

BODIES: dict[str, bytes] = {
    "nothing": b"",
    "blanks": b"   ",
    "no JSON": b"{",
    "a word": b"tenant",
    "NaN": b'{"tenant": "a", "user_id": "1", "k": NaN}',
    "Infinity": b'{"tenant": "a", "user_id": "1", "k": -Infinity}',
    "a name twice": b'{"tenant": "a", "user_id": "1", "tenant": "b"}',
    "a name twice, once in escapes": b'{"tenant": "a", "user_id": "1", "\\u0074enant": "b"}',
    "half a character": b'{"tenant": "a", "user_id": "\\ud800"}',
    "no UTF-8": b'{"tenant": "a", "user_id": "\xff"}',
    "a mark of byte order": b'\xef\xbb\xbf{"tenant": "a", "user_id": "1"}',
    "UTF-16": '{"tenant": "a", "user_id": "1"}'.encode("utf-16"),
    "a long number": b'{"tenant": "a", "user_id": "1", "k": ' + b"9" * 5000 + b"}",
    "a large number": b'{"tenant": "a", "user_id": "1", "k": ' + b"9" * 4000 + b"}",
    "a number that is infinite": b'{"tenant": "a", "user_id": "1", "k": 1e999}',
    "an array": b"[]",
    "null": b"null",
    "a number as text": b'{"tenant": "a", "user_id": "1", "k": "3"}',
    "a number as id": b'{"tenant": "a", "user_id": 1}',
    "true as number": b'{"tenant": "a", "user_id": "1", "k": true}',
    "an unknown field": b'{"tenant": "a", "user_id": "1", "model": "x"}',
    "an unknown field with a control character": b'{"tenant": "a", "\\u001b[2J": "1"}',
    "fields without end": b'{"tenant": "a", ' + b", ".join(b'"%d": 0' % at for at in range(20_000)) + b"}",
    "an empty id": b'{"tenant": "a", "user_id": ""}',
    "a control character in an id": b'{"tenant": "a", "user_id": "\\u0000"}',
    "a line end in an id": b'{"tenant": "a", "user_id": "1\\n"}',
    "a path as tenant": b'{"tenant": "../b", "user_id": "1"}',
    "a tenant in wide letters": '{"tenant": "\uff41", "user_id": "1"}'.encode(),
    "a tenant and a line end": b'{"tenant": "a\\n", "user_id": "1"}',
    "arrays in each other": b"[" * 100_000 + b"]" * 100_000,
    "objects in each other": b'{"a":' * 10_000 + b"1" + b"}" * 10_000,
}
"""None of them is a request of any path."""

LIKENESSES = (
    "\uff11",
    "\u0661",
    "1\u200d",
    "1\u200b",
    "\u202e1",
    "1\u0301",
    "1 ",
    " 1",
    "01",
    "1.0",
    "\u2460",
    "1\u00ad",
)
"""Ids that look like the id ``1``, or are it after some normalization."""

PATHS = (
    "..",
    "%2e%2e",
    "%2e%2e%2f%2e%2e%2fetc%2fpasswd",
    "a%2f..%2fb",
    "a%00",
    "%00",
    "%ff%fe",
    "%c0%ae%c0%ae",
    "a;b",
    "a%0d%0aX-Injected:%201",
    "a%20",
    "%ef%bd%81",
    "a%cc%81",
    "a" * 65,
    "a" * 20_000,
    ".a",
    "-a",
    "%7B%7D",
    "%3Cscript%3E",
    "a%2ejson",
)
"""What stands in a path where a tenant's name belongs."""
