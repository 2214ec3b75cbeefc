"""The report of made-up timed rows: baselines first, means over seeds, losers marked, failures with their reason."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from llmrec_peft.benchmark.markdown_report import as_markdown
from llmrec_peft.benchmark.matrix import Matrix
from llmrec_peft.benchmark.report import assemble, read_report, write_report
from llmrec_peft.benchmark.table_files import as_csv, as_parquet
from llmrec_peft.errors import InputError
from llmrec_peft.identity import values_digest

TASK = {"recipe": "movies", "label": "films"}
MATRIX = Matrix.from_plain(
    {"name": "tiny", "recipes": [TASK], "backbones": ["minilm"], "adapters": ["lora"], "seeds": [1, 2]}, "m.yaml"
)
SIZES = (16, "all", True)
CODES = ("ab", "ab", "cd")
DATES = ("2026-01-01", "2026-01-02", "2026-01-03")
LATENCY = {"p50_ms": 8.0, "p95_ms": 9.0, "n": 5}


def row(adapter: str, seed: int, test: float, status: str = "ok", reason: str | None = None) -> dict[str, Any]:
    axes = {"recipe": "films", "backbone": "minilm", "adapter": adapter, "precision": "fp32", "seed": seed}
    head = {
        "axes": axes,
        "key": values_digest([adapter, seed])[:16],
        "status": status,
        "reason": reason,
        "recipe": {"seed": seed},
    }
    if status != "ok":
        return head
    named = {"after": test, "before": 1.0, "global_mean": 1.2, "bias": 0.95}
    figures = {name: {"rmse": figure} for name, figure in named.items()}
    return {
        **head,
        "accuracy": {
            "metric": "rmse",
            "lower_is_better": True,
            "slice": "items_with_0_ratings",
            "n": 1234,
            "baselines": ["global_mean", "bias"],
            "best_baseline": "bias",
            "valid": {**figures, "after": {"rmse": test - 0.1}},
            "test": figures,
            "slices": {},
        },
        "parameters": {"adapter": 24_576, "trainable": 30_000, "total": 10**6},
        "adapter_bytes": 2048,
        "steps": {
            "forward": LATENCY,
            "step": {**LATENCY, "p50_ms": 16.0},
            "step_with_trunk": None,
            "step_over_forward": 2.0,
            "step_with_trunk_over_forward": None,
        },
        "answers": {"pairs": 10, "known_pairs": LATENCY, "new_text": LATENCY},
        "peak_memory_mb": {"rss": 512.0, "cuda": None},
        "date": "2026-01-02",
        "seconds": {"train": 3.0, "cell": 5.0},
        "hardware": {"cuda": None, "processor": "A chip", "cores": 2, "threads": 2, "memory_gb": 8.0},
        "versions": {"llmrec-peft": "0", "torch": "2", "transformers": "5", "peft": "0"},
    }


ROWS = [
    row("lora", 1, 0.90),
    row("lora", 2, 0.92),
    row("ia3", 1, 0.96),
    row("oft", 1, 0.0, "failed", "over 5 s"),
    row("dora", 1, 0.0, "refused", "cannot train on int8 | weights"),
    row("dora", 2, 0.0, "refused", "cannot train on int8 | weights"),
]


def lines(rows: list[dict[str, Any]]) -> list[list[str]]:
    text = as_markdown(assemble(MATRIX, rows))
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")]


def test_markdown_gives_baselines_then_means_and_marks_what_loses() -> None:
    table = lines(ROWS)
    assert len({len(line) for line in table}) == 1, "every line has every column"
    names = [line[0] for line in table[2:]]
    assert names == ["*global mean*", "*bias* (best baseline)", "*before: frozen text, linear head*", "lora", "ia3"]
    of = {line[0]: line for line in table}
    assert of["*bias* (best baseline)"][-1] == "0.9500 ± 0.0000"
    assert of["lora"][-2:] == ["0.8100 ± 0.0141", "0.9100 ± 0.0141"]
    assert of["lora"][1:6] == ["1, 2", "24,576", "2.0", "16.0 (9.0)", "2.00"]
    assert of["ia3"][-1] == "0.9600 ▼"


def test_what_was_not_measured_stands_below_with_its_reason() -> None:
    text = as_markdown(assemble(MATRIX, ROWS))
    assert "- oft, seed 1: failed: over 5 s\n" in text
    assert "- dora, seed 1, 2: refused: cannot train on int8 \\| weights\n" in text


def test_a_higher_metric_is_better_where_it_is_one_of_those() -> None:
    rows = [row("lora", 1, 0.90), row("ia3", 1, 1.30)]
    for one in rows:
        accuracy = one["accuracy"]
        accuracy["metric"] = "auc"
        for part in ("valid", "test"):
            accuracy[part] = {model: {"auc": figures["rmse"]} for model, figures in accuracy[part].items()}
    of = {line[0]: line[-1] for line in lines(rows)}
    assert of["lora"].endswith("▼")
    assert not of["ia3"].endswith("▼")


def test_csv_has_a_line_a_cell() -> None:
    read = list(csv.DictReader(io.StringIO(as_csv(ROWS))))
    assert [(one["adapter"], one["seed"], one["status"]) for one in read] == [
        (one["axes"]["adapter"], str(one["axes"]["seed"]), one["status"]) for one in ROWS
    ]
    assert (read[0]["test_after"], read[0]["best_baseline"], read[0]["beats_best_baseline"]) == ("0.9", "bias", "True")
    assert read[2]["beats_best_baseline"] == "False"
    assert (read[3]["reason"], read[3]["test_after"]) == ("over 5 s", "")
    assert float(read[0]["step_over_forward"]) == pytest.approx(2.0)


def test_parquet_has_a_typed_column_for_each_of_the_csv() -> None:
    table = pq.read_table(pa.BufferReader(as_parquet(ROWS)))
    assert table.schema.names == as_csv(ROWS).partition("\n")[0].split(",")
    of = {name: table.schema.field(name).type for name in table.schema.names}
    assert (of["adapter"], of["seed"], of["trainable_parameters"]) == (pa.string(), pa.int64(), pa.int64())
    assert (of["test_after"], of["peak_cuda_mb"], of["reason"]) == (pa.float64(), pa.float64(), pa.string())
    assert table["beats_best_baseline"].to_pylist() == [True, True, False, None, None, None]


def test_values_of_an_axis_without_a_common_type_are_texts() -> None:
    rows = [
        {**one, "axes": {**one["axes"], "data.train_size": size}} for one, size in zip(ROWS[:3], SIZES, strict=True)
    ]
    table = pq.read_table(pa.BufferReader(as_parquet(rows)))
    assert table["data.train_size"].to_pylist() == [str(size) for size in SIZES]
    rows = [{**ROWS[0], "axes": {**ROWS[0]["axes"], "seed": 2**80}}]
    assert pq.read_table(pa.BufferReader(as_parquet(rows)))["seed"].to_pylist() == [2.0**80]


def test_five_files_are_written_and_the_json_says_on_what_and_from_what(tmp_path: Path) -> None:
    write_report(assemble(MATRIX, ROWS), tmp_path)
    tables = {"results.csv", "results.parquet", "results.json"}
    assert {path.name for path in tmp_path.iterdir()} == {*tables, "report.md", "report.html"}
    report = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))
    assert report["matrix"]["seeds"] == [1, 2]
    assert report["hardware"] == [ROWS[0]["hardware"]]
    assert [one.get("hardware") for one in report["rows"]] == [0, 0, 0, None, None, None]
    assert report["date"] == "2026-01-02", "the day of the measurement, whenever the report is written"
    assert [one["status"] for one in report["rows"]] == ["ok", "ok", "ok", "failed", "refused", "refused"]
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert "A chip, 2 cores" in text
    assert as_markdown(read_report(tmp_path / "results.json")) == text, "written again from what is committed"
    assert as_markdown(read_report(tmp_path)) == text, "a folder stands for its results.json"


def test_totals_follow_from_the_rows() -> None:
    lora, ia3 = assemble(MATRIX, ROWS)["totals"]
    assert (lora["runs"], lora["metric"], lora["beats_best_baseline"]) == (2, "rmse", True)
    assert lora["test"] == {"mean": pytest.approx(0.91), "spread": pytest.approx(0.02 / 2**0.5)}
    assert (ia3["test"]["spread"], ia3["beats_best_baseline"]) == (None, False)


def test_a_figure_that_is_not_finite_is_no_figure(tmp_path: Path) -> None:
    rows = [row("lora", 1, float("nan")), row("ia3", 1, 0.9)]
    write_report(assemble(MATRIX, rows), tmp_path)
    again = read_report(tmp_path)
    assert again["rows"][0]["accuracy"]["test"]["after"]["rmse"] is None
    (lora,) = (line for line in as_markdown(again).splitlines() if line.startswith("| lora"))
    assert lora.endswith("– |")


def test_rows_of_other_code_are_marked_and_the_newest_code_is_named() -> None:
    dated = [{**one, "date": date, "code": code * 32} for one, date, code in zip(ROWS[:3], DATES, CODES, strict=True)]
    report = assemble(MATRIX, dated)
    of = {line[0]: line for line in lines(dated)}
    assert "lora ‡" in of
    assert "ia3" in of
    text = as_markdown(report)
    assert "- Code: " + "cd" * 32 in text.replace("\n  ", " ")
    assert "‡ Measured by other code: films minilm lora fp32 seed 1" in text


def test_rows_that_the_runner_calls_stale_are_not_the_newest_code() -> None:
    rows = [{**ROWS[0], "code": "ab" * 32, "stale": True, "date": "2026-02-01"}, {**ROWS[2], "code": "cd" * 32}]
    assert "lora ‡" in {line[0] for line in lines(rows)}


def test_a_table_has_the_latencies_that_its_cells_have() -> None:
    measured = {
        "latency_ms": {"candidates": 7, "score_1": {"p50": 1.5, "p95": 2.5, "p99": 3.0, "n": 9}, "score_32": None},
        "tokens_per_s": 4321.0,
        "seconds": {"train": 3.0, "cell": 5.0, "best": 1.25},
    }
    new = {key: value for key, value in ROWS[0].items() if key != "steps"} | measured
    header, _, *body = lines([new])
    of = dict(zip(header, body[-1], strict=True))
    assert of["score one user, ms p50 (p95)"] == "1.5 (2.5)"
    assert (of["tokens/s"], of["best epoch after, s"]) == ("4,321", "1.2")
    assert "step, ms p50 (p95)" not in of, "a column that nothing fills is left out"
    assert not [name for name in of if name.startswith(("new text", "10 pairs"))], "their names of earlier reports"
    read = next(iter(csv.DictReader(io.StringIO(as_csv([new])))))
    assert (read["score_1_p95_ms"], read["tokens_per_s"], read["seconds_best"]) == ("2.5", "4321.0", "1.25")
    assert (read["candidates"], read["score_32_p95_ms"]) == ("7", "")


def test_a_report_without_any_measured_cell_is_a_report() -> None:
    text = as_markdown(assemble(MATRIX, ROWS[3:]))
    assert "- oft, seed 1: failed: over 5 s\n" in text
    assert "No cell was measured." in text


@pytest.mark.parametrize("text", ["", "{", "[]", "[" * 100_000, '{"name": "x"}', '{"name": NaN, "name": 1}'])
def test_what_is_no_report_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "r.json").write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=r"r\.json"):
        read_report(tmp_path / "r.json")


@pytest.mark.parametrize("value", [None, True, -1, 1e308, "1", [], {"p50": 1}])
@pytest.mark.parametrize("name", ["peak_memory_mb", "seconds", "latency_ms", "steps", "answers", "throughput"])
def test_measures_that_are_no_numbers_are_not_shown(name: str, value: Any, tmp_path: Path) -> None:
    blocks = {"peak_memory_mb": "rss", "seconds": "train", "latency_ms": "score_1", "throughput": "users_per_s"}
    rows = json.loads(json.dumps(ROWS[:3]))
    rows[0][name] = {blocks.get(name, "step"): value}
    write_report(assemble(MATRIX, rows), tmp_path)
    (tmp_path / "report.html").unlink()
    write_report(read_report(tmp_path), tmp_path)
    assert "lora" in (tmp_path / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("place", "value", "words"),
    [
        (("rows", 0, "status"), "good", "rows.0.status"),
        (("rows", 0, "axes"), {}, "recipe"),
        (("rows", 0, "axes", "seed"), [1], "seed"),
        (("rows", 0, "accuracy", "metric"), "<b>", "rows.0.accuracy.metric"),
        (("rows", 0, "accuracy", "test", "a | b"), {"rmse": 1.0}, "rows.0.accuracy.test"),
        (("rows", 3, "reason"), None, "needs a `reason`"),
        (("rows", 0, "hardware"), 7, "hardware is 7"),
        (("rows", 0, "accuracy", "test"), {}, "test has no rmse of after"),
        (("rows", 0, "accuracy", "best_baseline"), "before", "not among the baselines"),
        (("rows", 0, "accuracy", "slice"), "all", "rows.0.accuracy.slice"),
        (("rows", 0, "parameters", "total"), -1, "rows.0.parameters"),
        (("rows", 0, "axes", "recipe"), "books", "books"),
        (("rows",), [], "rows"),
        (("date",), "today", "date"),
        (("commit",), "<script>", "commit"),
        (("hardware", 0), {"processor": "x"}, "hardware"),
        (("comparisons",), [{"first": {}, "against": "x", "model": "a", "metric": "b"}], "comparisons"),
        (("matrix",), {"name": "x"}, "recipes"),
    ],
)
def test_a_report_of_another_form_is_refused_in_one_line(
    place: tuple[Any, ...], value: Any, words: str, tmp_path: Path
) -> None:
    report = json.loads(json.dumps(assemble(MATRIX, ROWS)))
    inner = report
    for part in place[:-1]:
        inner = inner[part]
    inner[place[-1]] = value
    (tmp_path / "r.json").write_text(json.dumps(report), encoding="utf-8")
    with pytest.raises(InputError, match=r"r\.json: .*") as refused:
        read_report(tmp_path / "r.json")
    assert words in str(refused.value)


def test_folders_of_data_are_named_by_their_last_names_alone() -> None:
    rows = [row("lora", 1, 0.9), row("lora", 2, 0.9)]
    paths = ({"path": "/home/ann/secret/films", "graph": "C:\\ann\\graph"}, {"path": "demo", "graph": None})
    for one, data in zip(rows, paths, strict=True):
        one["recipe"]["data"] = {**data, "reader": "movielens"}
    report = assemble(MATRIX, rows)
    written = [one["recipe"]["data"] for one in report["rows"]]
    assert written[0] == {"path": "films", "graph": "graph", "reader": "movielens"}
    assert written[1] == {"path": "demo", "graph": None, "reader": "movielens"}
    assert rows[0]["recipe"]["data"]["path"] == "/home/ann/secret/films", "the rows themselves stay as they are"
