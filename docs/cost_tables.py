"""Tables of what things cost: seconds, memory, and how well memory is predicted."""

from __future__ import annotations

from typing import Any

import committed_results as results
from markdown_table import table_header, table_row


def against_plain_peft() -> list[str]:
    """An epoch here, and with plain peft and transformers' Trainer."""
    report = results.load("train_against_plain_peft.json")
    ours, plain, bare = (report["sides"][side] for side in ("ours", "plain", "bare"))
    return [
        *table_header("side", "seconds an epoch", "once before, s", "peak memory, MiB"),
        _side("ours", ours, f"{ours['seconds_precomputed']:.1f}"),
        _side(f"plain `peft` + `Trainer` (from {plain['timed_steps']} timed steps)", plain),
        _side("bare base model, one forward pass over all texts", bare),
        table_row(
            "plain over ours",
            f"{report['plain_over_ours_seconds']:.0f}",
            "",
            f"{report['plain_over_ours_peak_rss']:.2f}",
        ),
    ]


def _side(name: str, side: dict[str, Any], before: str = "–") -> str:
    return table_row(name, f"{side['seconds_per_epoch']:,.1f}", before, f"{side['peak_rss_mb']:,.0f}")


def epoch_cost() -> list[str]:
    """Seconds an epoch by the number of texts and of interactions."""
    rows = results.rows_of("epoch_cost.json")
    return [
        *table_header("size", "texts", "interactions", "seconds an epoch"),
        *(
            table_row(one["size"], f"{one['texts']:,}", f"{one['interactions']:,}", f"{one['seconds']:.1f}")
            for one in rows
        ),
    ]


def outside_measures() -> list[str]:
    """Figures of benchmark cells over those of a measure that knows nothing of the benchmark."""
    cells = results.load("outside_measures.json")["cells"]
    lines = table_header("figure", "outside measure", *(one["cell"] for one in cells))
    peaks = (f"{one['peak_memory_mb']['ours_over_time']:.4f}" for one in cells)
    lines.append(table_row("peak memory", "`/usr/bin/time -v`", *peaks))
    counts = (f"{one['adapter_parameters']['ours'] / one['adapter_parameters']['peft']:.4f}" for one in cells)
    lines.append(table_row("adapter parameters", "stock `peft`", *counts))
    for kind in cells[0]["latency"]:
        ratios = (f"{one['latency'][kind]['ours_over_by_hand']:.3f}" for one in cells)
        lines.append(table_row(f"median latency of `{kind}`", "a loop by hand", *ratios))
    return lines


STAGES = {
    "read": "read files",
    "prepare": "split, check for leaks",
    "texts": "encode texts",
    "baselines": "baselines",
    "epoch": "an epoch of frozen text and one of the tuned model",
    "validation": "their validation",
    "test": "predict test",
    "report": "figures and intervals",
    "save": "save",
    "load": "load",
    "recommend": "recommend to 500 users",
    "score": "score 20,000 pairs",
}
"""Stages of `benchmarks/growth.py`, in the order of a run."""


def growth() -> list[str]:
    """Processor seconds of every stage as interactions grow, and the exponents."""
    report = results.load("growth.json")
    lines: list[str] = []
    for task, name in (("rating", "ratings"), ("click", "clicks"), ("ranking", "implicit feedback")):
        if task not in report:
            continue
        runs, exponents = report[task]["runs"], report[task]["exponents"]
        lines += ["", *table_header(name, *(f"{run['interactions']:,}" for run in runs), "exponent")]
        for stage, called in STAGES.items():
            seconds = (f"{run['stages'][stage]['seconds']:.2f}" for run in runs)
            lines.append(table_row(called, *seconds, _exponent(exponents[stage])))
        lines.append(table_row("all, s", *(f"{run['seconds']:.0f}" for run in runs), ""))
        lines.append(table_row("peak memory, GiB", *(f"{run['peak_mib'] / 1024:.2f}" for run in runs), ""))
    return lines[1:]


def _exponent(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def growth_large() -> list[str]:
    """The same stages over ten million ratings, and over a million items."""
    report = results.load("growth.json")
    runs = [report[name] for name in ("large", "many_items") if name in report]
    lines = table_header("stage", *(_size(run) for run in runs))
    for stage, called in STAGES.items():
        cells = (f"{one['seconds']:.1f} s, {one['peak_mib'] / 1024:.1f} GiB" for one in _stages(runs, stage))
        lines.append(table_row(called, *cells))
    whole = (f"{run['seconds']:,.0f} s, {run['peak_mib'] / 1024:.1f} GiB" for run in runs)
    return [*lines, table_row("all, and its peak memory", *whole)]


def _stages(runs: list[dict[str, Any]], stage: str) -> list[dict[str, float]]:
    return [run["stages"][stage] for run in runs]


def _size(run: dict[str, Any]) -> str:
    what = "ratings" if run["task"] == "rating" else "interactions"
    return f"{run['interactions']:,} {what}, {run['users']:,} users, {run['items']:,} items"


def kbit_memory() -> list[str]:
    """Memory of training on 4-bit weights, with and without peft's preparation."""
    ways = {
        "plain": "as `llmrec` loads it",
        "prepared": "`prepare_model_for_kbit_training` without recomputation",
        "prepared+checkpointing": "… as it is by default, recomputing",
    }
    lines = table_header("backbone, nf4", "way", "weights, MiB", "peak of training, MiB", "loss after 8 steps")
    for one in results.rows_of("kbit_memory.json"):
        name = ways.get(one["way"], one["way"])
        peak, loss = f"{one['peak_mb_of_training']:.0f}", f"{one['last_loss']:.4f}"
        lines.append(table_row(one["backbone"], name, f"{one['weights_mb']:.1f}", peak, loss))
    return lines


def wrapping() -> list[str]:
    """A training step here against the same written by hand with peft."""
    columns = ("backbone", "ms a step, ours", "ms a step, by hand", "median ratio", "ratio of each round")
    lines = table_header(*columns)
    for name, one in results.load("wrapping.json")["backbones"].items():
        ours, by_hand = one["milliseconds"]["ours"], one["milliseconds"]["by hand"]
        rounds = ", ".join(f"{ratio:.3f}" for ratio in one["ours_over_by_hand_of_each_round"])
        label = f"{name}, {one['layers']}, {one['texts']} texts, {one['pairs_of_steps']} pairs"
        lines.append(table_row(label, f"{ours:.1f}", f"{by_hand:.1f}", f"{one['ours_over_by_hand']:.3f}", rounds))
    return lines


def memory() -> list[str]:
    """Measured memory of training beside what `llmrec memory` predicts."""
    columns = ("backbone", "method", "precision", "texts × tokens", "measured, MiB", "predicted, MiB", "ratio")
    lines = table_header(*columns, "not used to calibrate")
    for cell in results.memory_cells():
        settings = cell["set"]
        quantization, adapter = settings["backbone.quantization"], settings["adapter"]
        layers = f" {adapter['layers']}" if "layers" in adapter else ""
        recomputed = ", recomputed" if settings.get("training.gradient_checkpointing") else ""
        lines.append(
            table_row(
                settings["backbone.name"],
                f"{adapter['method']}{layers}{recomputed}",
                settings["backbone.precision"] if quantization == "none" else quantization,
                f"{settings['training.items_per_batch']} × {settings['views.item.max_length']}",
                f"{cell['measured_mib']:.0f}",
                f"{cell['predicted_mib']:.0f}",
                f"{cell['ratio']:.3f}",
                "yes" if cell["held_out"] else "",
            )
        )
    return lines


def soak() -> list[str]:
    """What became of the inputs of the last `make soak`, by subject."""
    report = results.load("soak.json")
    lines = table_header("input", "tried", "accepted", "refused in one line", "tracebacks", "hangs", "broken promises")
    total = {**report["total"], "subject": "all"}
    counts = [{**row, **{name: len(row[name]) for name in ("tracebacks", "hangs", "broken")}} for row in report["rows"]]
    for row in (*counts, total):
        names = ("inputs", "accepted", "refused", "tracebacks", "hangs", "broken")
        lines.append(table_row(row["subject"].replace("_", " "), *(f"{row[name]:,}" for name in names)))
    return lines


def ranking_speed() -> list[str]:
    """The ten best of a catalogue by each kind of index."""
    names = {"rank_targets": "ranks of all items, as evaluation computes them"}
    names |= {"run": "evaluation of a trained run, its histories read"}
    lines = table_header("way", "build, s", "search, s", "share of the ten best", "peak memory, GiB")
    for one in results.rows_of("ranking_speed.json"):
        build = f"{one['build_seconds']:.2f}" if "build_seconds" in one else ""
        share = f"{one.get('recall@10', 1.0):.4g}"
        name = names.get(one["way"], f"`{one['way']}`")
        lines.append(table_row(name, build, f"{one['seconds']:.1f}", share, f"{one['peak_rss_gb']:.2f}"))
    return lines


def serving_speed() -> list[str]:
    """One `recommend` of one user, before and after users and items were scored as candidates."""
    lines = table_header("run", "before, ms", "after, ms", "times as fast", "memory above the loaded run, MiB")
    for name, case in results.load("serving_speed.json")["cases"].items():
        before, now = case["before"], case["now"]
        memory = f"{before['above_mb']:.0f} → {now['above_mb']:.0f}"
        milliseconds = (f"{1000 * one['seconds']:.1f}" for one in (before, now))
        lines.append(table_row(name, *milliseconds, f"{case['faster']:.0f}", memory))
    return lines


def prepare_speed() -> list[str]:
    """Reading and rendering 100,000 users and items, before and after columns were read at once."""
    lines = table_header("what is read", "before, s", "after, s", "times as fast", "with the data's digest")
    for name, case in results.load("prepare_speed.json")["cases"].items():
        seconds = (f"{case[when]['prepare_seconds']:.2f}" for when in ("before", "after"))
        lines.append(
            table_row(name, *seconds, f"{case['times_as_fast']:.1f}", f"{case['times_as_fast_with_digest']:.1f}")
        )
    return lines


def checks_cost() -> list[str]:
    """Processor time of training, loading and serving, before and after their inputs were checked."""
    lines = table_header("what", "before", "after", "after over before", "limit")
    for name, case in results.load("checks_cost.json")["cases"].items():
        limit = "" if case["limit"] is None else f"{case['limit']:.2f}"
        lines.append(table_row(name, _time(case["before"]), _time(case["now"]), f"{case['ratio']:.3f}", limit))
    return lines


def _time(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds >= 1 else f"{1000 * seconds:.2f} ms"
