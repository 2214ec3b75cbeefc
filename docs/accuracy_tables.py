"""Tables of accuracy: ratings, clicks, rankings."""

from __future__ import annotations

import statistics

import committed_results as results
from committed_results import BEST, Benchmark
from figure_text import MARK, METRICS, MODELS, interval, spread
from markdown_table import table_header, table_row

from llmrec_peft.benchmark.noise import paired_over_runs


def six_rows() -> list[str]:
    """The README's table: a row a data set."""
    heads, page = results.benchmarks("clicks-and-rankings"), "docs/results.md"
    cold = results.benchmarks("movies-cold-items")["tuned"]
    rows: list[tuple[str, str, Benchmark, str]] = [
        ("stars, MovieLens-100K", "ratings", results.benchmarks("movies-u1")["movies-u1"], "rmse"),
        ("stars, films that nobody has rated", "films-that-nobody-has-rated", cold, "rmse"),
        ("likes, TALLRec, 256 training records", "clicks-and-rankings", heads["tallrec-256"], "auc"),
        ("the same, asked as prompts to SmolLM2", "clicks-and-rankings", heads["tallrec-256-smollm2"], "auc"),
        ("likes, MovieLens-1M as used by CoLLM", "clicks-and-rankings", heads["collm-train+valid"], "auc"),
        ("the same, within each user", "clicks-and-rankings", heads["collm-train+valid"], "uauc"),
        ("next purchase, Amazon Industrial & Scientific", "clicks-and-rankings", heads["scientific"], "hr@10"),
    ]
    columns = ("data", "metric", "best baseline", "collaborative only", "this model", "minus best baseline", "adapter")
    lines = table_header(*columns, "better?")
    for name, anchor, row, metric in rows:
        better = row.beats_best_baseline(metric)
        answer = ("yes" if row.significantly(metric) else "not significantly") if better else "no"
        lines.append(
            table_row(
                f"[{name}]({page}#{anchor})",
                METRICS[metric],
                f"{row.mean(BEST, metric):.4f}",
                spread(row.test[row.collaborative_only][metric]) if row.collaborative_only else "–",
                f"**{spread(row.test['after'][metric])}**" + ("" if better else f" {MARK}"),
                interval(row.minus_best_baseline(metric)),
                f"{row.adapter_parameters:,}",
                answer,
            )
        )
    return lines


def ratings_u1() -> list[str]:
    """Every model on MovieLens-100K's official split."""
    row = results.benchmarks("movies-u1")["movies-u1"]
    return [*table_header("model", "validation RMSE", "test RMSE"), *_ratings(row, MODELS)]


def classical() -> list[str]:
    """The Bayesian factorization machine on the same split, beside the tuned model."""
    rows = results.load("classical.json")["rows"]
    lines = table_header("model, MovieLens-100K u1", "test RMSE")
    for variant in dict.fromkeys(row["variant"] for row in rows):
        lines.append(table_row(f"myFM, {variant}", spread([row["rmse"] for row in rows if row["variant"] == variant])))
    ours = results.benchmarks("movies-u1")["movies-u1"].test["after"]["rmse"]
    return [*lines, table_row("**this package, tuned**", spread(ours))]


def classical_sentence() -> list[str]:
    """What the classical model reaches beside ours, as a sentence for the README."""
    by_variant: dict[str, list[float]] = {}
    for row in results.load("classical.json")["rows"]:
        by_variant.setdefault(row["variant"], []).append(row["rmse"])
    spelled = [f"{spread(values)} ({variant})" for variant, values in by_variant.items()]
    ours = results.benchmarks("movies-u1")["movies-u1"].test["after"]["rmse"]
    return [
        "A strong classical model that reads no text, a Bayesian factorization machine (myFM), is about as good on",
        f"MovieLens-100K: RMSE {'; '.join(spelled)};",
        f"this model {spread(ours)}. No paired interval was computed.",
    ]


def ratings_u1_differences() -> list[str]:
    """Paired differences of the tuned model to models without a part, with the wider interval of each."""
    row = results.benchmarks("movies-u1")["movies-u1"]
    names = ("without_adapter", "without_text", "without_graph", "biased_mf")
    lines = table_header("tuned minus …", *(f"seed {at + 1}" for at in range(len(row.comparisons["bias"]))))
    for name in names:
        cells = (interval(one) for one in row.comparisons[name])
        lines.append(table_row(MODELS[name].removeprefix("tuned, "), *cells))
    return lines


def against_plain_peft() -> list[str]:
    """The same LoRA trained here and with plain `peft` and `Trainer`: test RMSE and training time of each."""
    rows = results.load("accuracy_against_plain_peft.json")["rows"]
    lines = table_header("side", "test RMSE", "training, minutes")
    for name in rows[0]["ours"]["baselines"]:
        lines.append(table_row(f"*{MODELS[name]}*", spread([row["ours"]["baselines"][name] for row in rows]), ""))
    lowest = min(
        statistics.mean(row["ours"]["baselines"][name] for row in rows) for name in rows[0]["ours"]["baselines"]
    )
    for side, label in (("plain", "plain `peft` + `Trainer`"), ("ours", "**this package**")):
        minutes = statistics.mean(row[side]["seconds"] for row in rows) / 60
        errors = [row[side]["rmse"] for row in rows]
        mark = "" if statistics.mean(errors) < lowest else f" {MARK}"
        lines.append(table_row(label, spread(errors) + mark, f"{minutes:.1f}"))
    ours, plain = ({str(row["seed"]): row[side]["rmse"] for row in rows} for side in ("ours", "plain"))
    return [*lines, table_row("this package minus plain", paired_over_runs(ours, plain).written, "")]


def ratings_cold_items() -> list[str]:
    """Films without ratings: the adapter beside the frozen model with settings of its own."""
    variants = results.benchmarks("movies-cold-items")
    baselines = ("global_mean", "item_mean", "bias", "biased_mf", "user_mean")
    names = {name: MODELS[name] for name in (*baselines, "before")}
    lines = [*table_header("model", "validation RMSE", "test RMSE"), *_ratings(variants["none"], names)]
    lines += _ratings(variants["none"], {"after": "frozen text, user vectors (`adapter.method=none`)"})
    return [*lines, *_ratings(variants["tuned"], {"after": "**tuned** (LoRA in the top two layers)"})]


def ratings_cold_items_difference() -> list[str]:
    """Tuned minus frozen over all splits."""
    lines = table_header("", "difference [95 % interval]")
    return [*lines, table_row("tuned minus frozen", interval(results.tuned_minus_frozen()))]


def _ratings(row: Benchmark, names: dict[str, str]) -> list[str]:
    shown = [name for name in names if name in row.test]
    lines = []
    for name in shown:
        mark = _mark(row, "rmse", name) if name in ("before", "after") or name.startswith("without") else ""
        valid = f"{statistics.mean(row.valid[name]['rmse']):.4f}"
        lines.append(table_row(names[name], valid, spread(row.test[name]["rmse"]) + mark))
    return lines


def clicks_and_rankings() -> list[str]:
    """Every benchmark of clicks and rankings: baselines, alone, and blended with the best baseline."""
    columns = ("benchmark", "metric", "best baseline", "collaborative only", "published", "this model")
    lines = table_header(*columns, "minus best baseline", "blended with it", "adapter")
    for name, row in results.benchmarks("clicks-and-rankings").items():
        for metric in (metric for metric in METRICS if metric in row.test["after"]):
            best = spread(row.test[BEST][metric])
            without_text = spread(row.test[row.collaborative_only][metric]) if row.collaborative_only else "–"
            after, blend = (spread(row.test[one][metric]) + _mark(row, metric, one) for one in ("after", "blend"))
            apart = interval(row.against["after", metric])
            cells = [name, METRICS[metric], best, without_text, _published(row, metric), f"**{after}**", apart, blend]
            lines.append(table_row(*cells, f"{row.adapter_parameters:,}"))
    return lines


def taste_settings() -> list[str]:
    """The shipped click recipe with one setting changed at a time, on validation."""
    by_setting: dict[str, list[float]] = {}
    for row in results.load("taste-settings.json")["rows"]:
        by_setting.setdefault(row["axes"]["group"], []).append(row["accuracy"]["valid"]["after"]["auc"])
    lines = table_header("TALLRec, 256 records", "validation AUC, seeds 1 to 3", "minus shipped")
    shipped = statistics.mean(by_setting["shipped"])
    for setting, values in by_setting.items():
        difference = "" if setting == "shipped" else f"{statistics.mean(values) - shipped:+.4f}"
        lines.append(table_row(setting, spread(values), difference))
    return lines


def new_items() -> list[str]:
    """Rankings of items that training never saw."""
    models = {"text_cosine": "untrained text similarity", "collaborative_only": "collaborative only"}
    models |= {"after": "this model", "blend": "blended with the best baseline"}
    lines = table_header("benchmark", "cases", *(f"{name}, HR@10" for name in models.values()))
    for name, row in results.benchmarks("clicks-and-rankings").items():
        if not row.new_items_count or "hr@10" not in row.new_items["after"]:
            continue
        frozen = statistics.mean(row.new_items["text_cosine"]["hr@10"])
        cells = []
        for model in models:
            own = row.new_items.get(model, {}).get("hr@10")
            if not own:
                cells.append("–")
                continue
            loses = model in ("after", "blend") and statistics.mean(own) <= frozen
            cells.append(spread(own) + (f" {MARK}" if loses else ""))
        lines.append(table_row(name, f"{row.new_items_count:,}", *cells))
    return lines


def _published(row: Benchmark, metric: str) -> str:
    """What the literature reports; figures without a metric belong to the benchmark's first one."""
    first = next(name for name in METRICS if name in row.test["after"])
    cells = []
    for model, entry in row.published.items():
        figure = entry["figures"].get(metric, entry["figures"].get("primary") if metric == first else None)
        if figure is not None:
            cells.append(f"{model} {figure:.3f}" + (f" ({entry['source']})" if entry.get("source") else ""))
    return ", ".join(cells) or "–"


def _mark(row: Benchmark, metric: str, model: str) -> str:
    return "" if row.beats_best_baseline(metric, model) else f" {MARK}"
