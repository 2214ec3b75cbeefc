"""Router: Ray Serve sends a request to the replica on which the version that it names has its place."""

from __future__ import annotations

from collections import Counter
from typing import Any

from placement import FACTOR, Ring
from ray.serve.request_router import PendingRequest, ReplicaID, RequestRouter, RunningReplica


class VersionRouter(RequestRouter):
    """Chooses replicas by `Ring`; the first argument of every request names a version.

    Loads are the requests under way that this process sent. Several processes that send requests have loads of their
    own, and the same ring.
    """

    def initialize_state(self, factor: float = FACTOR) -> None:
        """Take the arguments of ``request_router_kwargs``."""
        self._factor, self._ring, self._loads = factor, Ring(()), Counter[str]()

    def update_replicas(self, replicas: list[RunningReplica]) -> None:
        """Make another ring if other replicas run."""
        super().update_replicas(replicas)
        names = sorted(one.replica_id.unique_id for one in replicas)
        if names != self._ring.replicas:
            self._ring = Ring(names)
            self._loads = Counter({name: self._loads[name] for name in names})

    async def choose_replicas(
        self, candidate_replicas: list[RunningReplica], pending_request: PendingRequest | None = None
    ) -> list[list[RunningReplica]]:
        """Return the replica that has room for the request, then the others in the order of the version."""
        if pending_request is None or not pending_request.args:
            return [candidate_replicas]
        pending_request.routing_context.should_backoff = True  # wait between two rounds, if no replica takes it
        version = str(pending_request.args[0])
        by_name = {one.replica_id.unique_id: one for one in candidate_replicas}
        first = self._ring.place(version, self._loads, self._factor)
        names = dict.fromkeys((first, *self._ring.order(version)))
        return [[by_name[name]] for name in names if name in by_name]

    def on_request_routed(self, pending_request: PendingRequest, replica_id: ReplicaID, result: Any) -> None:
        """Count a request."""
        self._loads[replica_id.unique_id] += 1

    def on_request_completed(self, replica_id: ReplicaID, internal_request_id: str) -> None:
        """Count a request no longer; the replica may be gone."""
        if self._loads[replica_id.unique_id] > 0:
            self._loads[replica_id.unique_id] -= 1
