"""Measure what Ray Serve's own multiplexing does, and what placement by version does in its place.

``python examples/ray_serve/multiplexing.py`` prints three facts; README.md says what follows from them. The models are
bytes and a pause: what is measured is where requests go and what is kept.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import ray
from fleet import LIMIT_S, importable
from ray import serve
from ray.serve.config import RequestRouterConfig
from router import VersionRouter
from waiting import within

from llmrec_peft.cluster.on_ray import running

ASKS, AT_ONCE, MODELS, OTHERS = 400, 64, 3, 12
PAUSE_S, SETTLED_S = 0.02, 3.0
SMALL, LARGE = 1 << 20, 64 << 20


class _Replica:
    """A replica that holds models, each a file of the folder of models."""

    def __init__(self, folder: str) -> None:
        self._folder, self._held = Path(folder), dict[str, int]()
        self._name = serve.get_replica_context().replica_id.unique_id

    @serve.multiplexed(max_num_models_per_replica=MODELS)
    async def _model(self, name: str) -> bytes:
        return (self._folder / name).read_bytes()

    async def ask(self, name: str, multiplexed: bool) -> dict[str, Any]:
        """Answer with a model, after a pause, and say who did so and what it holds."""
        model = await self._model(serve.get_multiplexed_model_id()) if multiplexed else name.encode()
        await asyncio.sleep(PAUSE_S)
        if multiplexed:
            self._held = {each: len(held) for each, held in self._multiplexed().items()}
        return {"replica": self._name, "first": model[:1].decode("latin-1"), "held": self._held}

    def _multiplexed(self) -> dict[str, bytes]:
        """Return the models that Serve keeps for this replica."""
        wrapper = next(value for name, value in vars(self).items() if name.startswith("__serve_multiplex"))
        return dict(wrapper.models)


def main() -> None:
    """Start two replicas of each kind, and measure."""
    logging.getLogger("ray.serve").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        for at, name in enumerate(["hot", "small 1", "small 2", "small 3"]):
            (Path(folder) / name).write_bytes(bytes([65 + at]) * SMALL)
        (Path(folder) / "large").write_bytes(b"L" * LARGE)
        for number in range(OTHERS):
            (Path(folder) / f"other {number}").write_bytes(b"O" * SMALL)
        stack.enter_context(importable())
        with within(LIMIT_S, "Ray to start"):
            stack.enter_context(running(ray, 2))
        stack.callback(serve.shutdown)
        options: dict[str, Any] = {
            "num_replicas": 2,
            "max_ongoing_requests": 100,
            "ray_actor_options": {"num_cpus": 0.25},
        }
        placed = RequestRouterConfig(request_router_class=VersionRouter)
        kind = serve.deployment(_Replica)
        with within(LIMIT_S, "replicas to be healthy"):
            serve.start(proxy_location="Disabled")
            own = serve.run(kind.options(**options).bind(folder), name="own", route_prefix=None)
            ours = serve.run(
                kind.options(**options, request_router_config=placed).bind(folder), name="ours", route_prefix=None
            )
        asyncio.run(_measure(own, ours, Path(folder)))


async def _measure(own: Any, ours: Any, folder: Path) -> None:
    for name, handle, multiplexed in (("Serve's multiplexing", own, True), ("placement by version", ours, False)):
        await _ask(handle, "hot", multiplexed)
        await asyncio.sleep(SETTLED_S)
        found = await _hot(handle, multiplexed, ASKS)
        shares = sorted(Counter(one["replica"] for one in found).values(), reverse=True)
        print(
            f"{ASKS} asks for one hot model, {AT_ONCE} at once, by {name}: {' and '.join(map(str, shares))} by replica"
        )
    for name in ("small 1", "small 2", "small 3", "large"):
        held = (await _ask(own, name, True))["held"]
    print(f"{MODELS} models in a replica at most: {', '.join(held)}, together {sum(held.values()) >> 20} MiB")
    first = (await _ask(own, "hot", True))["first"]
    (folder / "hot").write_bytes(b"Z" * SMALL)
    stale = Counter(one["first"] for one in await _hot(own, True, ASKS))
    print(f"content {first} of an id is replaced by Z; {ASKS} asks after that are answered with {dict(stale)}")
    for number in range(OTHERS):  # they push the model out
        await _ask(own, f"other {number}", True)
    later = Counter(one["first"] for one in await _hot(own, True, ASKS))
    print(f"and {ASKS} asks after {OTHERS} asks for other models with {dict(later)}")


async def _hot(handle: Any, multiplexed: bool, asks: int) -> list[dict[str, Any]]:
    room = asyncio.Semaphore(AT_ONCE)

    async def one() -> dict[str, Any]:
        async with room:
            return await _ask(handle, "hot", multiplexed)

    return await asyncio.gather(*(one() for _ in range(asks)))


async def _ask(handle: Any, name: str, multiplexed: bool) -> dict[str, Any]:
    asked = handle.options(multiplexed_model_id=name) if multiplexed else handle
    answer: dict[str, Any] = await asked.ask.remote(name, multiplexed)
    return answer


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
