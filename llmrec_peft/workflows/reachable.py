"""Reachable: whether the Hugging Face Hub can be reached from here, and which base models its cache holds."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

from llmrec_peft.errors import reason_of

if TYPE_CHECKING:
    from llmrec_peft.backbone.alias import BackboneAlias

_SECONDS = 5.0
"""How long an answer is waited for; a name server that does not answer can take minutes to give up."""


@dataclass(frozen=True)
class HubState:
    """Whether the Hub can be reached.

    Attributes:
        reachable: Whether it answered.
        state: The same in words.
    """

    reachable: bool
    state: str


def hub_state(seconds: float = _SECONDS) -> HubState:
    """Ask the Hub's address for its headers once, through the proxies of the environment.

    Any answer counts, also an error: the network is there then.

    Args:
        seconds: How long an answer is waited for.
    """
    from huggingface_hub import constants

    address = constants.ENDPOINT
    if constants.HF_HUB_OFFLINE:
        return HubState(False, "not asked: HF_HUB_OFFLINE is set; models load that are installed or cached")
    failures: list[str] = ["no answer"]

    def ask() -> None:
        import httpx

        try:
            httpx.head(address, timeout=seconds)
            failures.clear()
        except (httpx.HTTPError, httpx.InvalidURL, OSError, RuntimeError, ValueError) as error:
            failures[:] = [reason_of(error)]

    asking = threading.Thread(target=ask, daemon=True)  # looking a name up cannot be told to stop
    asking.start()
    asking.join(seconds)
    if not failures:
        return HubState(True, f"{address} answers")
    return HubState(False, f"{address} cannot be reached ({failures[0]}); models load that are installed or cached")


def is_cached(alias: BackboneAlias) -> bool:
    """Return whether the configuration and the weights of an alias lie in the Hub's cache."""
    from huggingface_hub import try_to_load_from_cache

    names = ("config.json", *alias.weights)
    found = (try_to_load_from_cache(alias.hub_id, name, revision=alias.revision) for name in names)
    return all(isinstance(path, str) for path in found)
