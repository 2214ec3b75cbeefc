"""Tables of the server's settings, from their schema."""

from __future__ import annotations

from llmrec_peft.options import describe_deep
from llmrec_peft.serving.http.settings import Settings


def settings() -> list[str]:
    """Return a row for each setting that has no fields of its own."""
    rows = describe_deep(Settings)
    blocks = {row["name"].rpartition(".")[0] for row in rows}
    lines = ["| setting | default | what it is |", "| --- | --- | --- |"]
    for row in rows:
        if row["name"] not in blocks:
            default = "" if row["default"] is None else f"`{row['default']}`"
            lines.append(f"| `{row['name']}` | {default} | {row['description']} |")
    return lines
