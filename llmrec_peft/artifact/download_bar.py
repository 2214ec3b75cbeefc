"""Progress bar of a download, which ends one that is longer than it may be."""

from __future__ import annotations

import sys
from typing import Any

from llmrec_peft.errors import InputError


def bounded_bar(file: str, limit: int) -> type[Any]:
    """Return a class of progress bars for `huggingface_hub.hf_hub_download`, which counts the bytes as they come.

    The client compares sizes after a download; a server may say one size and send without end. No bar is drawn where
    stderr is a file.

    Args:
        file: What is loaded, for the message.
        limit: Bytes that it can have; the download ends with an `InputError` where more come.
    """
    from huggingface_hub.utils.tqdm import tqdm

    class Bounded(tqdm):
        """Counts bytes, those of an earlier try included."""

        def __init__(self, *args: Any, **settings: Any) -> None:
            settings["disable"] = not sys.stderr.isatty()
            self.loaded = int(settings.get("initial") or 0)
            super().__init__(*args, **settings)  # type: ignore[no-untyped-call]

        def update(self, n: float | None = 1) -> Any:
            """Count further bytes."""
            self.loaded += int(n or 0)
            if self.loaded > limit:
                raise InputError(f"{file}: more than the {limit:,} bytes that such a file can have were sent")
            return super().update(n)

    return Bounded
