"""Licence of a base model as its own card on the Hub names it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from llmrec_peft.hub.card_facts import CardBase

if TYPE_CHECKING:
    from huggingface_hub import HfApi

_SECONDS = 10.0
_IDENTIFIER = re.compile(r"[a-z0-9][a-z0-9.+-]{0,60}", re.IGNORECASE | re.ASCII)


def licence_on_hub(base: CardBase, api: HfApi) -> str | None:
    """Ask the Hub for the licence of a base model; one question, of ten seconds at most.

    Args:
        base: The base model.
        api: Client of the Hub.

    Returns:
        Its identifier, such as ``apache-2.0`` or ``llama3.2``; of a licence without one its name. None where the base
        is not on the Hub, says no licence, or cannot be asked for: a card then says that it is unknown.
    """
    from httpx import HTTPError

    if not base.on_hub:
        return None
    try:
        card = api.model_info(base.name, revision=base.revision, timeout=_SECONDS).card_data
    except (HTTPError, OSError, ValueError):  # no network, no such repository, no answer of the Hub
        return None
    if card is None:
        return None
    said = card.get("license")
    if said == "other":
        said = card.get("license_name") or said
    return said if isinstance(said, str) and _IDENTIFIER.fullmatch(said) else None
