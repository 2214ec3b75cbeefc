"""Capacity on paper, `llmrec memory --tenants`, against what an engine takes at four points.

A point is a size of the catalogue and an adapter. A run of it is trained; what the recipe says of it on paper is held
against the run: bytes of its sealed folder, bytes of an adapter in the slab, and private memory of a tenant whose
version is loaded and has answered, in a process of its own with as many tenants as `TENANTS`, each with a run that is
made of the trained one. The figures of `footprint/tenant_bytes.py` for a loaded version are those of the engine's own
count, by which it keeps its budget, at the first three points; the fourth only checks them. A process takes what its C
library makes of that, up to a quarter more or less from one process to the next: so the median of several is told.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from serving.crowd import ROOT, derive, made_recipe, train_quickly
from serving.gauges import private_mb

POINTS: tuple[dict[str, Any], ...] = (
    {"items": 2000, "users": 500, "ratings": 20_000, "adapter": {"method": "lora", "rank": 8}},
    {"items": 500, "users": 2000, "ratings": 20_000, "adapter": {"method": "bottleneck"}},
    {"items": 4000, "users": 1000, "ratings": 40_000, "adapter": {"method": "lora", "rank": 16, "layers": "all"}},
    {"items": 1000, "users": 3000, "ratings": 40_000, "adapter": {"method": "ia3"}},
)
SMALL = ({"items": 200, "users": 100, "ratings": 1000, "adapter": {"method": "lora", "rank": 8}},)
TENANTS = 32
PROCESSES = 5
"""Processes of each point."""
WITHIN = 0.1
TIERS = {
    "adapter": "slab, an adapter",
    "counted": "host, a loaded version as the engine counts it",
    "private": "host, a loaded version as the process grows",
    "disk": "disk, a sealed run",
}
PAPER = {"counted": "private"}
"""Name of a tier's bytes on paper, where it is another one."""


def measure(small: bool) -> dict[str, Any]:
    """Train the runs that are missing, and measure each point in a process of its own."""
    from llmrec_peft.artifact.manifest import FORMAT
    from llmrec_peft.footprint.hosting import hosting

    rows = []
    for point in SMALL if small else POINTS:
        place = ROOT / "runs" / "tenants" / f"capacity-format-{FORMAT}" / f"{point['items']}-{point['users']}"
        run, sizes = place / "trained" / "0", (point["ratings"], point["users"], point["items"])
        recipe = made_recipe(place, *sizes)
        if not run.is_dir():
            train_quickly(recipe, run, "minilm", point["adapter"])
        settings = {"backbone.name": "minilm", "backbone.precision": "fp32", "adapter": point["adapter"]}
        answer = hosting([recipe.changed({**settings, "training.refit": False})], [], 1, False, None, None)
        command = [sys.executable, __file__, str(run), str(4 if small else TENANTS)]
        each = []
        for _ in range(1 if small else PROCESSES):
            told = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
            each.append(json.loads(told.splitlines()[-1]))
        found = {name: round(statistics.median(one[name] for one in each)) for name in TIERS}
        found["private_from"], found["private_to"] = (extreme(one["private"] for one in each) for extreme in (min, max))
        paper = {name: answer["per_tenant"][PAPER.get(name, name)] for name in TIERS}
        ratios = {name: round(paper[name] / found[name], 3) for name in TIERS}
        parts = [name for name in TIERS if name != "counted"]
        total = round(sum(paper[name] for name in parts) / sum(found[name] for name in parts), 3)
        rows.append({**point, "measured": found, "predicted": paper, "ratios": ratios, "total": total})
    worst = max(abs(ratio - 1) for row in rows for ratio in (*row["ratios"].values(), row["total"]))
    told = {"tenants": TENANTS, "processes": 1 if small else PROCESSES}
    return {**told, "within": WITHIN, "worst": round(worst, 3), "points": rows}


def engine_bytes(run: Path, count: int) -> dict[str, int]:
    """Return what a tenant takes in each tier of an engine in this process, in bytes."""
    import tempfile

    from llmrec_peft.run.recommender import Recommender
    from llmrec_peft.serving.engine import Engine

    with tempfile.TemporaryDirectory(prefix="llmrec-capacity-") as work:
        engine = Engine(Path(work) / "store", device="cpu", cache_bytes=0, try_adapters=False)
        disk = sum(path.stat().st_size for path in engine.store.add(run).folder.iterdir())
        user = Recommender.from_pretrained(run, device="cpu").vocabulary.users[0]
        for number in range(count + 1):
            derive(run, Path(work) / str(number), number)
        engine.register("first", Path(work) / "0")
        warm(engine, "first", user)
        before, seated = private_mb(), engine.memory().adapter_bytes
        for number in range(1, count + 1):
            engine.register(str(number), Path(work) / str(number))
            engine.ask(str(number), [user])
        private = 1e6 * (private_mb() - before) / count
        counted = engine.memory().host_bytes / (count + 1)
        for number in range(1, count + 1):
            warm(engine, str(number), user)
        adapter = (engine.memory().adapter_bytes - seated) / count
        engine.close()
    return {"adapter": round(adapter), "private": round(private), "disk": disk, "counted": round(counted)}


def warm(engine: Any, tenant: str, user: str) -> None:
    """Let a tenant answer and encode a text, so that nothing is left to do for the first time."""
    engine.ask(tenant, [user])
    with engine._tier.leased(engine._tenants.route(tenant).main) as snapshot:
        engine._encoder.items(snapshot.version, ["a title of some words"])


def table(found: dict[str, Any]) -> str:
    """Return a row for each point and tier."""
    lines = [
        f"Bytes of one tenant, measured with {found['tenants']} tenants a process; predicted by `llmrec memory"
        f" --tenants`. Worst error of a tier {found['worst']:.1%}, goal {found['within']:.0%}; ▼: farther off. The last"
        f" point set no figure of the formula. Medians of {found['processes']} processes.",
        "",
        "| items | users | adapter | tier | measured, KiB | predicted, KiB | ratio |",
        "| ---: | ---: | --- | --- | ---: | ---: | ---: |",
    ]
    for point in found["points"]:
        adapter = " ".join(str(value) for value in point["adapter"].values())
        for name, said in TIERS.items():
            sizes = [f"{point[kind][name] / 1024:,.0f}" for kind in ("measured", "predicted")]
            cells = [
                f"{point['items']:,}",
                f"{point['users']:,}",
                adapter,
                said,
                *sizes,
                f"{point['ratios'][name]:.3f}{'' if abs(point['ratios'][name] - 1) <= found['within'] else ' ▼'}",
            ]
            if name == "private":
                least, most = (point["measured"][f"private_{end}"] / 1024 for end in ("from", "to"))
                cells[4] += f" ({least:,.0f} to {most:,.0f})"
            lines.append(f"| {' | '.join(cells)} |")
        whole = f"{point['total']:.3f}"
        lines.append(f"| {point['items']:,} | {point['users']:,} | {adapter} | all tiers | | | {whole} |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(json.dumps(engine_bytes(Path(sys.argv[1]), int(sys.argv[2]))))
