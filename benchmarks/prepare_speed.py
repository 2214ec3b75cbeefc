"""Seconds and memory of `prepare` on 100,000 items, 100,000 users and 200,000 interactions, against an earlier commit.

    python benchmarks/prepare_speed.py --before 8c5c54e

The data is made up (items with title, year and genres, users with age and gender), so that reading files counts for
nothing. The earlier commit runs from a temporary git worktree. Each measurement is a process of its own, before and
after by turns; the processor time of the fastest of several counts. `digest` is `Prepared.digest`, which every run
takes once; it has to be the same value on both sides.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
RESULTS = Path(__file__).parent / "results" / "prepare_speed.json"
TARGET = 5.0
"""How many times as fast as before it should be at least."""
TEMPLATE = "{{ title }} ({{ year }}){% if genres %}. {{ genres | join(', ') }}{% endif %}"
TWICE = "some pairs twice"
CASES: dict[str, dict[str, Any]] = {
    "item texts": {},
    f"item texts, {TWICE}": {},
    "item texts, user texts, histories": {
        "signals.history": {},
        "views.user.template": "{{ user.age }} years, {{ user.gender }}",
    },
}
GENRES = ("Action", "Drama", "Comedy", "Crime", "Noir", "War")


def main() -> None:
    """Measure both commits in each case and write the summary."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--before", default="8c5c54e", metavar="REF", help="commit to compare with")
    parser.add_argument("--rows", type=int, default=100_000, help="users, and items; twice as many interactions")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--case", choices=CASES, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.case:
        print(json.dumps(_measured(given.case, given.rows)))
        return
    with _worktree(given.before) as before:
        cases = {case: _compared(case, before, given.rows, given.repeats) for case in CASES}
    commit = _git("rev-parse", "--short", given.before)
    _write(given.out, {"before": commit, "rows": given.rows, "target": TARGET, "cases": cases})


def _compared(case: str, before: Path, rows: int, repeats: int) -> dict[str, Any]:
    """The fastest of several measurements of each side, and how they compare."""
    found: dict[str, list[dict[str, Any]]] = {"before": [], "after": []}
    for _ in range(repeats):
        for side, root in (("before", before), ("after", ROOT)):
            found[side].append(_child(case, root, rows))
    best = {side: min(runs, key=lambda run: float(run["prepare_seconds"])) for side, runs in found.items()}
    digests = {run.pop("digest") for runs in found.values() for run in runs}
    seconds = {
        side: (run["prepare_seconds"], run["prepare_seconds"] + run["digest_seconds"]) for side, run in best.items()
    }
    report = {
        **best,
        "times_as_fast": round(seconds["before"][0] / seconds["after"][0], 2),
        "times_as_fast_with_digest": round(seconds["before"][1] / seconds["after"][1], 2),
        "same_digest": len(digests) == 1,
    }
    print(
        f"{case}: prepare {seconds['before'][0]:.2f} s → {seconds['after'][0]:.2f} s,"
        f" {report['times_as_fast']} times as fast ({report['times_as_fast_with_digest']} with the digest, which is"
        f" {'the same' if report['same_digest'] else 'ANOTHER'}); peak memory"
        f" {best['before']['peak_rss_mb']:.0f} → {best['after']['peak_rss_mb']:.0f} MB"
    )
    return report


def _child(case: str, root: Path, rows: int) -> dict[str, Any]:
    """Measure one side in a process of its own, its packages taken from a checkout."""
    paths = [root, root / "adapters", root / "recipes", *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, paths)), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, __file__, "--case", case, "--rows", str(rows)]
    done = subprocess.run(command, env=environment, cwd=root, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"{root}: {done.stderr.strip().splitlines()[-1]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def _measured(case: str, rows: int) -> dict[str, Any]:
    """Prepare made-up data once, in this process."""
    import llmrec_peft.experiment.prepare as room
    from llmrec_peft.data.dataset import without_duplicates
    from llmrec_peft.recipe import load_recipe

    dataset = made_up(rows, twice=case.endswith(TWICE))
    room.read_dataset = lambda section: without_duplicates(dataset)  # type: ignore[assignment]
    changes = {"data.path": "demo", "data.split": "random", "views.item.template": TEMPLATE, **CASES[case]}
    recipe = load_recipe("movies", changes=changes)
    started = time.process_time()
    found: Any = room.prepare(recipe)
    prepared_at = time.process_time()
    digest = (found[1] if isinstance(found, tuple) else found).digest  # earlier commits gave the recipe beside it
    return {
        "prepare_seconds": round(prepared_at - started, 3),
        "digest_seconds": round(time.process_time() - prepared_at, 3),
        "peak_rss_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
        "digest": digest,
    }


def made_up(rows: int, twice: bool, seed: int = 0) -> Any:
    """Made-up ratings of so many users and items, twice as many interactions, on request a hundred pairs twice."""
    from llmrec_peft.data.dataset import RecDataset
    from llmrec_peft.data.tables import interactions_table, table

    rng = np.random.default_rng(seed)
    ids = [str(index) for index in range(rows)]
    items = {
        "item_id": ids,
        "title": [f"Made Up Film {index}" for index in range(rows)],
        "year": [1950 + index % 70 for index in range(rows)],
        "genres": [rng.permutation(GENRES)[: 1 + index % 3].tolist() for index in range(rows)],
    }
    users = {
        "user_id": ids,
        "age": [10 + index % 70 for index in range(rows)],
        "gender": ["MF"[at % 2] for at in range(rows)],
    }
    meeting = rng.permutation(2 * rows)  # each user meets two items, one 31 places behind the other
    user = meeting % rows
    item = (user * 7919 + meeting // rows * 31) % rows
    if twice:  # some records say anew what others say of the same pair
        first, again = rng.choice(2 * rows, (2, 100), replace=False)
        user[again], item[again] = user[first], item[first]
    stars = rng.integers(1, 6, 2 * rows).astype(float).tolist()
    told = interactions_table([ids[at] for at in user], [ids[at] for at in item], stars, list(range(2 * rows)))
    return RecDataset("made up", told, table(items), table(users), (1.0, 5.0))


@contextmanager
def _worktree(reference: str) -> Iterator[Path]:
    """A checkout of an earlier commit, with the plugins that it registered itself."""
    with tempfile.TemporaryDirectory() as parent:
        folder = Path(parent) / "before"
        _git("worktree", "add", "--detach", str(folder), reference)
        try:
            groups = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]["entry-points"]
            lines = [
                f"[{group}]\n" + "".join(f"{k} = {v}\n" for k, v in plugins.items())
                for group, plugins in groups.items()
            ]
            registered = folder / "llmrec_peft-0.dist-info"
            registered.mkdir()
            (registered / "METADATA").write_text(
                "Metadata-Version: 2.1\nName: llmrec-peft\nVersion: 0\n", encoding="utf-8"
            )
            (registered / "entry_points.txt").write_text("\n".join(lines), encoding="utf-8")
            yield folder
        finally:
            _git("worktree", "remove", "--force", str(folder))


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(done.stderr.strip().splitlines()[-1])
    return done.stdout.strip()


def _write(path: Path, report: dict[str, Any]) -> None:
    from llmrec_peft.artifact.hardware import hardware, versions

    command = f"python benchmarks/prepare_speed.py --before {report['before']}"
    head = {
        "command": command,
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "hardware": hardware("cpu"),
    }
    path.write_text(json.dumps({**head, "versions": versions(), **report}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
