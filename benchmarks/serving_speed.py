"""Time `Recommender.recommend` for one user after loading, now and at an earlier commit, in one run.

    python benchmarks/serving_speed.py --before 02d4623 --data data

The `movies` recipe on MovieLens-100K (`--data`), and made-up runs of two recipes whose catalogues are widened to the
sizes of CoLLM's MovieLens-1M and of IISAN's Scientific. The earlier commit is checked out into a temporary folder and
runs in a child process with the same packages; both children take turns, so that a busy machine slows both. What is
compared: seconds of one `recommend([user], k=10)`, the memory that requests add to a loaded run, and whether both give
the same items.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import statistics
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RESULTS = Path(__file__).parent / "results" / "serving_speed.json"
REAL = "ratings of MovieLens-100K, 1,682 items"
CASES = {
    "rankings with histories, 20,825 items": ("amazon-scientific", 20_825, ()),
    "clicks with histories, 3,255 items": ("collm-ml-1m", 3255, ()),
}
"""Recipe, items of the catalogue, and settings of the made-up runs."""
CHILD = """
import json, resource, sys, time
import numpy as np
import torch
torch.set_num_threads(1)
try:
    from llmrec_peft.run.recommender import Recommender
except ModuleNotFoundError:
    from llmrec_peft.recommender import Recommender

def resident():
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * resource.getpagesize() / 2**20

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

recommender = Recommender.from_pretrained(sys.argv[1])
users = list(recommender.vocabulary.users)[:50]
answers = {}
loaded = resident()
high = peak()
for line in sys.stdin:
    at = int(line)
    started = time.perf_counter()
    (answer,) = recommender.recommend([users[at % len(users)]], k=10)
    seconds = time.perf_counter() - started
    told = {"seconds": seconds, "above_mb": max(0.0, peak() - max(high, loaded)), "loaded_mb": loaded}
    told["items"] = [[item.item_id, item.score] for item in answer.items]
    print(json.dumps(told), flush=True)
"""


def main() -> None:
    """Make the runs, ask both commits in turns, print and keep the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--before", default="02d4623", help="commit that is compared with the working tree")
    parser.add_argument("--repeats", type=int, default=15, help="requests of each kind")
    parser.add_argument("--data", type=Path, help=f"folder that holds ml-100k and ml-100k-kg, for {REAL!r}")
    parser.add_argument("--case", nargs="*", choices=[REAL, *CASES], help="cases to measure; all by default")
    parser.add_argument("--run", nargs="*", type=Path, default=[], help="further run folders to ask, as they are")
    parser.add_argument("--no-result", action="store_true", help="print only")
    asked = parser.parse_args()
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="llmrec-serving-speed-") as work:
        before = Path(work) / "before"
        subprocess.run(["git", "worktree", "add", "-q", "--detach", str(before), asked.before], cwd=ROOT, check=True)
        register(before)
        try:
            runs = {str(run): run.resolve() for run in asked.run}
            cases = asked.case or [*([REAL] if asked.data else []), *CASES]
            for name in [*cases, *runs]:
                if name in runs:
                    run = runs[name]
                elif name == REAL:
                    data = asked.data.resolve()
                    settings = (f"data.graph={data / 'ml-100k-kg'}", "evaluation.bootstrap=0")
                    run = trained(before, Path(work) / "movies", "movies", str(data / "ml-100k"), settings)
                else:
                    run = widened(before, Path(work), *CASES[name])
                found[name] = compared(before, run, asked.repeats)
                figures = found[name]
                before_ms, now_ms = (1000 * figures[when]["seconds"] for when in ("before", "now"))
                print(
                    f"{name}: {before_ms:.1f} ms before, {now_ms:.2f} ms now, {figures['faster']:.0f} times; above the"
                    f" loaded run {figures['before']['above_mb']:.0f} and {figures['now']['above_mb']:.0f} MiB; same"
                    f" items {figures['same_items']:.0%}",
                    flush=True,
                )
        finally:
            subprocess.run(["git", "worktree", "remove", "--force", str(before)], cwd=ROOT, check=True)
    if not asked.no_result:
        from llmrec_peft.artifact.hardware import hardware, versions

        report = {
            "date": datetime.date.today().isoformat(),
            "before": asked.before,
            "hardware": hardware("cpu"),
            "versions": versions(),
            "cases": found,
        }
        RESULTS.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


def register(checkout: Path) -> None:
    """Give a checkout the metadata by which its plugins are found, as an installation would."""
    project = tomllib.loads((checkout / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    groups = {"console_scripts": project["scripts"], **project["entry-points"]}
    lines: list[str] = []
    for group, named in groups.items():
        lines += [f"[{group}]", *(f"{name} = {value}" for name, value in named.items())]
    folder = checkout / f"llmrec_peft-{project['version']}.dist-info"
    folder.mkdir()
    (folder / "entry_points.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    metadata = f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    (folder / "METADATA").write_text(metadata, encoding="utf-8")


def environment(checkout: Path) -> dict[str, str]:
    """Environment in which a checkout's packages come first."""
    path = os.pathsep.join(str(checkout / part) for part in ("", "adapters", "recipes"))
    return {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}


def trained(before: Path, run: Path, recipe: str, data: str, settings: tuple[str, ...]) -> Path:
    """A run of one epoch, trained at the earlier commit: both commits read the same folder."""
    quick = ("training.epochs=1", "training.refit=false", "evaluation.bootstrap=0", "evaluation.ablations=[]")
    changes = [part for one in (*quick, "evaluation.collaborative_only=false", *settings) for part in ("--set", one)]
    command = [sys.executable, "-m", "llmrec_peft.cli.main", "train", recipe, "--data", data, "--out", str(run)]
    where = {"env": environment(before), "cwd": before}
    subprocess.run([*command, *changes, "--quiet"], check=True, stdout=subprocess.DEVNULL, **where)
    return run


def widened(before: Path, work: Path, recipe: str, items: int, settings: tuple[str, ...]) -> Path:
    """A run of made-up data with copies of its items up to a number of them."""
    run = trained(before, work / f"{recipe}-{items}", recipe, "demo", settings)
    subprocess.run([sys.executable, "-c", WIDEN, str(run), str(items)], env=environment(before), check=True, cwd=before)
    return run


WIDEN = """
import json, sys
from pathlib import Path
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from safetensors import safe_open
from llmrec_peft.artifact.manifest import make_manifest, write_json
from llmrec_peft.artifact.tensors import read_tensors, write_tensors

run, wanted = Path(sys.argv[1]), int(sys.argv[2])
vocabulary = pq.read_table(run / "vocabulary.parquet")
items = pq.read_table(run / "items.parquet")
known = items.num_rows
place = np.arange(wanted) % known

def wider(path):
    with safe_open(path, "pt") as opened:
        kept = opened.metadata() or {}
    texts = {name: value for name, value in kept.items() if name not in ("format", "version")} or None
    tensors = read_tensors(path)
    for name, tensor in tensors.items():
        if tensor.ndim and len(tensor) == known + 1:
            rows = torch.from_numpy(np.concatenate([[0], 1 + place]))
            torch.manual_seed(0)
            copied = tensor[rows].clone()
            if copied.is_floating_point():
                copied[known + 1 :] += 0.01 * torch.randn_like(copied[known + 1 :])
            tensors[name] = copied
    write_tensors(path, tensors, texts)

for name in ("signals.safetensors", "item_vectors.safetensors"):
    wider(run / name)
ids = [f"made-{number}" for number in range(wanted - known)]
rows = items.take(pa.array(place))
rows = rows.set_column(rows.column_names.index("item_id"), "item_id", pa.array(items["item_id"].to_pylist() + ids))
pq.write_table(rows, run / "items.parquet")
kinds, names = vocabulary["kind"].to_pylist(), vocabulary["id"].to_pylist()
pq.write_table(pa.table({"kind": kinds + ["item"] * len(ids), "id": names + ids}), run / "vocabulary.parquet")
manifest = json.loads((run / "manifest.json").read_text())
write_json(run / "manifest.json", make_manifest(run, manifest["base"], manifest["version"]).model_dump(mode="json"))
"""


def compared(before: Path, run: Path, repeats: int) -> dict[str, Any]:
    """Ask both commits for the same users in turns."""
    children = {
        name: subprocess.Popen(
            [sys.executable, "-c", CHILD, str(run)],
            env=environment(checkout),
            cwd=checkout,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for name, checkout in (("before", before), ("now", ROOT))
    }
    answers: dict[str, list[dict[str, Any]]] = {name: [] for name in children}
    for at in range(repeats + 1):
        for name, child in children.items():
            assert child.stdin is not None and child.stdout is not None  # noqa: S101 - pipes were asked for
            child.stdin.write(f"{at}\n")
            child.stdin.flush()
            answers[name].append(json.loads(child.stdout.readline()))
    for child in children.values():
        child.communicate()
    found: dict[str, Any] = {}
    for name, told in answers.items():
        found[name] = {
            "first_seconds": round(told[0]["seconds"], 5),
            "seconds": round(statistics.median(one["seconds"] for one in told[1:]), 6),
            "loaded_mb": round(told[0]["loaded_mb"], 1),
            "above_mb": round(told[-1]["above_mb"], 1),
        }
    found["faster"] = round(found["before"]["seconds"] / found["now"]["seconds"], 1)
    pairs = zip(answers["before"], answers["now"], strict=True)
    same = [[item for item, _ in one["items"]] == [item for item, _ in other["items"]] for one, other in pairs]
    found["same_items"] = sum(same) / len(same)
    return found


if __name__ == "__main__":
    main()
