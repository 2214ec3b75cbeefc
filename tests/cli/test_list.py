"""`llmrec list adapters`: the matrix is what the conformance suite proved, and declarations where it did not run."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from llmrec_adapters.lora import Lora

from llmrec_peft import registry
from llmrec_peft.cli import adapter_matrix
from llmrec_peft.testing import results

Command = Callable[..., subprocess.CompletedProcess[str]]


def cell(status: str, kind: str = "encoder", merged: bool | None = None) -> dict:
    checks = {} if merged is None else {"merges_as_declared": {"ok": merged}}
    return {"status": status, "kind": kind, "checks": checks}


@pytest.fixture
def shipped(monkeypatch: pytest.MonkeyPatch) -> Callable[[dict], dict]:
    """The matrix of LoRA's capabilities, given what its package carries."""

    def matrix(cells: dict) -> dict:
        monkeypatch.setattr(adapter_matrix, "shipped_results", lambda _: cells)
        return adapter_matrix.matrix_of("lora", Lora.capabilities)

    return matrix


def test_without_results_everything_is_declared(shipped: Callable[[dict], dict]) -> None:
    matrix = shipped({})
    assert set(matrix["encoder"].values()) == set(matrix["decoder"].values()) == {"declared"}
    assert (matrix["mergeable"], matrix["mixing"], matrix["grouped_because"]) == ("declared", "unproved", None)


def test_results_decide_by_kind_and_precision(shipped: Callable[[dict], dict]) -> None:
    matrix = shipped(
        {
            "minilm": {"fp32": cell("passed", merged=True), "int8": cell("refused"), "nf4": cell("failed")},
            "tiny-bert": {"fp32": cell("passed", merged=True), "nf4": cell("passed")},
            "tiny-llama": {"fp32": cell("refused", "decoder")},
            "tiny-gpt2": {"fp32": cell("passed", "decoder")},
        }
    )
    assert matrix["encoder"] == {"fp32": "proved", "bf16": "declared", "int8": "refused", "nf4": "failed"}
    assert matrix["decoder"] == {"fp32": "proved", "bf16": "declared", "int8": "declared", "nf4": "declared"}
    assert matrix["mergeable"] == "proved"


def test_proof_of_other_code_or_by_other_rules_proves_nothing(shipped: Callable[[dict], dict]) -> None:
    now = {"suite": results.SUITE, "code": results.code_digest("lora")}
    proofs = {
        "minilm": {"fp32": {**cell("passed"), **now}, "bf16": {**cell("passed"), **now, "code": "0" * 16}},
        "tiny-bert": {"nf4": {**cell("refused"), **now, "suite": results.SUITE - 1}},
    }
    assert shipped(proofs)["encoder"] == {
        "fp32": "proved",
        "bf16": "declared",
        "int8": "declared",
        "nf4": "declared",
    }


def test_one_wrong_merge_is_not_hidden_by_a_right_one(shipped: Callable[[dict], dict]) -> None:
    matrix = shipped({"minilm": {"fp32": cell("passed", merged=True), "bf16": cell("failed", merged=False)}})
    assert matrix["mergeable"] == "failed"


def test_mixing_is_proved_grouped_with_its_reason_or_failed(shipped: Callable[[dict], dict]) -> None:
    def mixing(*outcomes: dict) -> tuple[str, str | None]:
        cells = {f"b{at}": {"fp32": {**cell("passed"), "checks": {"mixing": one}}} for at, one in enumerate(outcomes)}
        matrix = shipped(cells)
        return matrix["mixing"], matrix["grouped_because"]

    proved, grouped = {"ok": True, "note": "4 rows"}, {"ok": True, "note": "grouped: it rewrites every weight"}
    assert mixing(proved, proved) == ("proved", None)
    assert mixing(grouped) == ("grouped", "it rewrites every weight")
    assert mixing(proved, grouped) == ("partly", "it rewrites every weight")
    assert mixing(proved, {"ok": False, "note": "row 3 differs"})[0] == "failed"


def test_every_method_has_a_row_with_every_cell(llmrec: Command) -> None:
    rows = json.loads(llmrec("list", "adapters", "--json").stdout)
    assert [row["name"] for row in rows] == list(registry.plugins("adapters"))
    for row in rows:
        assert row["error"] is None
        for kind in ("encoder", "decoder"):
            assert list(row["matrix"][kind]) == list(results.PRECISIONS)
        assert row["matrix"]["mixing"] in ("proved", "grouped", "partly", "unproved")
        assert (row["matrix"]["grouped_because"] is None) == (row["matrix"]["mixing"] not in ("grouped", "partly"))


def test_matrix_for_people(llmrec: Command) -> None:
    done = llmrec("list", "adapters")
    assert done.returncode == 0
    assert "enc nf4" in done.stdout
    assert "mixing" in done.stdout
    assert "proved by the conformance suite" in done.stdout


def test_matrix_is_light(llmrec: Command) -> None:
    done = llmrec("list", "adapters", PYTHONPROFILEIMPORTTIME="1")
    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in done.stderr.splitlines()}
    assert "llmrec_adapters" in imported
    assert not imported & {"torch", "peft", "transformers"}


def test_results_of_a_package_are_found_without_importing_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from importlib.metadata import EntryPoint

    package = tmp_path / "stranger_pkg"
    package.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('imported')\n", encoding="utf-8")
    (package / "conformance.json").write_text(
        json.dumps({"strange": {"tiny-bert": {"fp32": cell("passed")}}}), encoding="utf-8"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    entry = EntryPoint("strange", "stranger_pkg.method:Method", "llmrec_peft.adapters")
    monkeypatch.setitem(registry.plugins("adapters"), "strange", registry.Plugin("adapters", "strange", entry))
    assert results.shipped_results("strange")["tiny-bert"]["fp32"]["status"] == "passed"
