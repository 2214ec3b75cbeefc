"""Serve two tenants from two replicas, kill one replica while requests come, and say what became of them.

``python examples/ray_serve/run.py`` trains two small runs of made-up films the first time; ``--run NAME=RUN`` serves
runs of your own. Nothing is opened to other machines.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from fleet import Fleet, deployed, started

import llmrec_peft

DEMO = Path(".demo")
ASKERS = 4


def main() -> None:
    """Run the example."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--run", action="append", default=[], metavar="NAME=RUN", help="a tenant; may be repeated")
    parser.add_argument("--replicas", type=int, default=2, help="replicas that answer (2)")
    parser.add_argument("--asks", type=int, default=400, help="requests of each part (400)")
    parser.add_argument("--host-bytes", type=int, help="bytes of versions in a replica's memory (no bound)")
    given = parser.parse_args()
    runs = dict(pair.split("=", 1) for pair in given.run) or demo_runs()
    with tempfile.TemporaryDirectory(prefix="llmrec-fleet-") as folder:
        state = Path(folder)
        with started(state, given.replicas, given.host_bytes) as fleet:
            for name, run in runs.items():
                print(f"tenant {name} is answered by version {fleet.register(name, Path(run))[:12]}")
            show("all replicas", asked(fleet, list(runs), given.asks))
            show("one replica is killed", asked(fleet, list(runs), given.asks, kill=True))
            larger = deployed(state, 2 * given.replicas, given.host_bytes)
            show("twice the replicas", asked(larger, list(runs), given.asks))


def demo_runs() -> dict[str, str]:
    """Return two small runs of made-up films, trained from two seeds if they are not there."""
    runs = {}
    for seed in (1, 2):
        run = DEMO / f"ray-{seed}"
        if not (run / "manifest.json").is_file():
            print(f"training {run}, once")
            recipe = llmrec_peft.load_recipe("movies", {"seed": seed, "training.epochs": 2}, data="demo")
            llmrec_peft.train(recipe, run=run, overwrite=True, quiet=True)
        runs[f"films {seed}"] = str(run)
    return runs


def asked(fleet: Fleet, tenants: list[str], asks: int, kill: bool = False) -> list[tuple[str, str]]:
    """Ask from several threads, send an event with every ask, and check that none is missing.

    Returns:
        Tenant and replica of each answer.
    """
    found: list[tuple[str, str]] = []
    acknowledged: list[tuple[str, str]] = []
    half = threading.Event()

    def one(number: int) -> None:
        tenant = tenants[number % len(tenants)]
        user = str(1 + number % 30)
        found.append((tenant, fleet.ask(tenant, [user], 5)[0]["replica"]))
        name = f"{time.monotonic_ns()}-{number}"
        fleet.keep(tenant, [{"user_id": user, "item_id": "1", "label": 1.0, "event_id": name}])
        acknowledged.append((tenant, name))
        if len(found) > asks // 2:
            half.set()

    begun = time.monotonic()
    with ThreadPoolExecutor(ASKERS) as pool:
        rest = [pool.submit(one, number) for number in range(asks)]
        if kill:
            half.wait(60)
            os.kill(fleet.answers.process.remote("any").result(timeout_s=60), signal.SIGKILL)
        for each in rest:
            each.result()
    seconds = time.monotonic() - begun
    kept = {(tenant, name) for tenant in tenants for name in fleet.records.kept.remote(tenant).result(timeout_s=60)}
    lost = set(acknowledged) - kept
    print(f"{asks} asks in {seconds:.1f} s; {len(acknowledged)} events acknowledged, {len(lost)} of them lost")
    if lost:
        sys.exit("an acknowledged event is lost")
    return found


def show(title: str, found: list[tuple[str, str]]) -> None:
    """Print which replica answered whom how often."""
    counted = Counter(found)
    replicas = sorted({replica for _, replica in found})
    print(f"\n{title}: {len(replicas)} replicas answered")
    for tenant in sorted({tenant for tenant, _ in found}):
        print(f"  {tenant}: " + ", ".join(f"{replica} {counted[tenant, replica]}" for replica in replicas))


if __name__ == "__main__":
    main()
