"""Settings: arguments go before the environment and the environment before the file, field by field."""

from __future__ import annotations

from pathlib import Path

import pytest

from llmrec_peft.errors import InputError
from llmrec_peft.serving.http.settings import settings_of


def test_each_field_is_taken_from_the_nearest_place_that_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "serve.yaml"
    file.write_text("port: 1\nwait_s: 2\nquotas: {requests: 3/second, texts: 4/second}\n", encoding="utf-8")
    monkeypatch.setenv("LLMREC_SERVE_QUOTAS__TEXTS", "5/second")
    monkeypatch.setenv("LLMREC_SERVE_WAIT_S", "6")
    found = settings_of(file, port=7, host=None)
    assert (found.port, found.wait_s, found.host) == (7, 6.0, "127.0.0.1")
    assert (found.quotas.requests, found.quotas.texts) == ("3/second", "5/second")
    assert found.quotas.explanations == "10/second", "by default"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("prot: 1", "did you mean 'port'"),
        ("port: [", "no YAML"),
        ("- 1", "holds no fields"),
        ("quotas: {deadline_s: -1}", "quotas.deadline_s"),
        ("!!python/object/apply:os.system ['true']", "no YAML"),
        ("bodies: {depth: 99}", "bodies.depth"),
    ],
)
def test_a_wrong_file_is_one_line_that_names_it(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "serve.yaml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=said) as caught:
        settings_of(file)
    assert "\n" not in str(caught.value)
    assert "serve.yaml" in str(caught.value)


def test_a_wrong_name_in_the_environment_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMREC_SERVE_PORT", "many")
    with pytest.raises(InputError, match="port"):
        settings_of()


def test_a_misspelt_name_in_the_environment_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMREC_SERVE_PROT", "1")
    with pytest.raises(InputError, match="did you mean 'port'"):
        settings_of()
