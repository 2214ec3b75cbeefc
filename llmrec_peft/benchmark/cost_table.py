"""Cost table: cost and accuracy of each adapter, one line per adapter, for each recipe, backbone and precision."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from llmrec_peft.benchmark.cells import row_of, titled
from llmrec_peft.benchmark.costs import ADAPTER, ADAPTER_KIB, CUDA, RSS, at, earlier_latency, latency
from llmrec_peft.benchmark.grouping import Group
from llmrec_peft.benchmark.item_slices import SLICES
from llmrec_peft.benchmark.markdown import LOSES, NOTHING, spread, table
from llmrec_peft.benchmark.provenance import OTHER_CODE, by_other_code, current_code
from llmrec_peft.benchmark.rows import Row
from llmrec_peft.printable import for_markdown

_OWN_TABLE = ("recipe", "backbone", "precision")
_TIMED = {"score_1": "score one user", "new_item_1": "new item", "recommend_1": "recommend to one user"}
"""Latencies in the table, of those that cells have."""
LEGEND = (
    "Accuracy is the mean over seeds ± the standard deviation between them. A step is an optimizer step over the same"
    " texts as the frozen forward, timed in turns with it in one process; *stored* replays the states below the"
    " adapter. Memory is the peak of the process that trains (resident, or allocated on the accelerator)."
    f" {LOSES}: no better on the test part than the best baseline, which is chosen on validation."
)


def cost_tables(rows: Sequence[Row]) -> list[str]:
    """Make one table per recipe, backbone and precision: baselines first, then one line for each of the other axes."""
    lines: list[str] = []
    for title in dict.fromkeys(_title(row["axes"]) for row in rows):
        lines += [f"## {for_markdown(title)}", "", *_table([row for row in rows if _title(row["axes"]) == title]), ""]
    return lines


def _title(axes: Mapping[str, Any]) -> str:
    return " · ".join(str(axes[axis]) for axis in _OWN_TABLE if axis in axes)


def _name(axes: Mapping[str, Any]) -> str:
    """Return the name that distinguishes a line from the others of its table."""
    return titled({axis: value for axis, value in row_of(axes).items() if axis not in _OWN_TABLE}) or "tuned"


def _table(rows: Sequence[Row]) -> list[str]:
    """Return the lines of one table, without columns that nothing fills."""
    good = [row for row in rows if row["status"] == "ok"]
    metric = good[0]["accuracy"]["metric"].upper() if good else "accuracy"
    pairs = next((row["answers"]["pairs"] for row in good if at(row, "answers", "pairs")), "known")
    first = ["adapter", "seeds", "parameters"]
    last = [f"valid {metric}", f"test {metric}{_where(good[0]['accuracy']) if good else ''}"]
    measures = _measures(str(pairs))
    blanks = [""] * (len(first) + len(measures) - 1)
    body: list[list[str]] = []
    missing = []
    reference = Group({}, tuple(_one_a_seed(good)))
    current = current_code(good)
    for model in [*(good[0]["accuracy"]["baselines"] if good else []), *(["before"] if good else [])]:
        name = "before: frozen text, linear head" if model == "before" else model.replace("_", " ")
        best = " (best baseline)" if model in reference.best_baselines else ""
        figures = [spread(reference.values(part, model, reference.accuracy["metric"])) for part in ("valid", "test")]
        body.append([f"*{for_markdown(name)}*{best}", *blanks, *figures])
    for name in dict.fromkeys(_name(row["axes"]) for row in rows):
        own = [row for row in rows if _name(row["axes"]) == name]
        done = [row for row in own if row["status"] == "ok"]
        if done:
            other = f" {OTHER_CODE}" if any(by_other_code(row, current) for row in done) else ""
            body.append([for_markdown(name) + other, *_figures(done, list(measures.values()))])
        reasons = dict.fromkeys((row["status"], row["reason"]) for row in own if row["status"] != "ok")
        for status, reason in reasons:
            seeds = [str(row["axes"]["seed"]) for row in own if (row["status"], row["reason"]) == (status, reason)]
            missing.append("- " + for_markdown(f"{name}, seed {', '.join(seeds)}: {status}: {reason}"))
    columns = [*first, *measures, *last]
    kept = [place for place in range(len(columns)) if any(row[place] not in ("", NOTHING) for row in body)]
    lines = table([columns[place] for place in kept], [[row[place] for place in kept] for row in body]) if body else []
    return [*lines, *([""] if body and missing else []), *missing]


def _measures(pairs: str) -> dict[str, Callable[[Sequence[Row]], str]]:
    """Return the columns of a table between parameters and accuracy, each with what computes its cell."""
    return {
        "file, KiB": _mean(ADAPTER_KIB.of, ADAPTER_KIB.form),
        "step, ms p50 (p95)": _latency(lambda row, part: at(row, "steps", "step", f"{part}_ms")),
        "step ÷ frozen forward": _mean(lambda row: at(row, "steps", "step_over_forward"), ".2f"),
        "… stored": _mean(lambda row: at(row, "steps", "step_with_trunk_over_forward"), ".2f"),
        "new text, ms p50 (p95)": _latency(lambda row, part: earlier_latency(row, "new_text", part)),
        f"{pairs} pairs, ms": _mean(lambda row: earlier_latency(row, "known_pairs", "p50"), ".2f"),
        **{
            f"{words}, ms p50 (p95)": _latency(lambda row, part, asked=asked: latency(row, asked, part))  # type: ignore[misc]
            for asked, words in _TIMED.items()
        },
        "users/s": _mean(lambda row: at(row, "throughput", "users_per_s"), ",.0f"),
        "tokens/s": _mean(lambda row: at(row, "tokens_per_s"), ",.0f"),
        "best epoch after, s": _mean(lambda row: at(row, "seconds", "best"), ",.1f"),
        "peak, MiB": _mean(RSS.of, RSS.form),
        "GPU peak, MiB": _mean(CUDA.of, CUDA.form),
    }


def _mean(of: Callable[[Row], float | None], form: str) -> Callable[[Sequence[Row]], str]:
    def written(rows: Sequence[Row]) -> str:
        values = [value for value in map(of, rows) if value is not None]
        return format(statistics.mean(values), form) if values else NOTHING

    return written


def _latency(of: Callable[[Row, str], float | None]) -> Callable[[Sequence[Row]], str]:
    """Return what writes a median with its 95th percentile; a dash unless all runs have both."""

    def written(rows: Sequence[Row]) -> str:
        means = []
        for part in ("p50", "p95"):
            values = [value for row in rows if (value := of(row, part)) is not None]
            if len(values) < len(rows):
                return NOTHING
            means.append(statistics.mean(values))
        return f"{means[0]:.1f} ({means[1]:.1f})"

    return written


def _figures(rows: Sequence[Row], measures: Sequence[Callable[[Sequence[Row]], str]]) -> list[str]:
    """Return the cells of an adapter's line after its name."""
    group = Group({}, tuple(rows))
    metric = group.accuracy["metric"]
    return [
        ", ".join(str(row["axes"]["seed"]) for row in rows),
        ADAPTER.written(group),
        *(written(rows) for written in measures),
        spread(group.values("valid", "after", metric)),
        spread(group.values("test", "after", metric)) + (f" {LOSES}" if group.loses("after", metric) else ""),
    ]


def _one_a_seed(rows: Sequence[Row]) -> list[Row]:
    """Return the first row of each seed: baselines and `before` are the same in all cells of a seed."""
    return list({row["axes"]["seed"]: row for row in reversed(rows)}.values())[::-1]


def _where(accuracy: Mapping[str, Any]) -> str:
    name = accuracy["slice"]
    return f", {SLICES[name]} (n {accuracy['n']:,})" if name else f" (n {accuracy['n']:,})"
