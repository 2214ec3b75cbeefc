"""Sites: the tensors of an adapter's file in PEFT's layout, by the module that they belong to."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from llmrec_peft.plugins import SavedTensors

_PREFIX = "base_model.model."


def tensors_by_site(saved: SavedTensors, *parts: str) -> dict[str, dict[str, Tensor]]:
    """Return the tensors ``base_model.model.SITE.PART`` of a file by site and part.

    Args:
        saved: The file's tensors.
        parts: Ends of names, such as ``ia3_l``.

    Returns:
        Tensors in fp32, in which PEFT computes an adapter whatever the base's number format is.
    """
    found: dict[str, dict[str, Tensor]] = {}
    for name in saved:
        for part in parts:
            if name.startswith(_PREFIX) and name.endswith(f".{part}"):
                site = name[len(_PREFIX) : -len(part) - 1]
                found.setdefault(site, {})[part] = saved[name].float()
    return found
