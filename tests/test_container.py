"""The container files: commands exist, nobody is root, nothing is open to the outside, no secret is inside."""

from __future__ import annotations

import fnmatch
import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from llmrec_peft.cli.main import app

ROOT = Path(__file__).resolve().parents[1]
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
COMPOSE_TEXT = (ROOT / "docker-compose.yaml").read_text(encoding="utf-8")
COMPOSE: dict[str, Any] = yaml.safe_load(COMPOSE_TEXT)
GROUP: Any = typer.main.get_command(app)


def instructions(text: str) -> list[tuple[str, str]]:
    """Instructions of a Dockerfile, without comments, each on one line."""
    lines = "\n".join(line for line in text.splitlines() if line.strip() and not line.startswith("#"))
    return [(name, rest.strip()) for name, _, rest in (one.partition(" ") for one in joined(lines))]


def joined(text: str) -> list[str]:
    """Lines whose continuations are joined."""
    return re.sub(r"\\\n\s*", "", text).splitlines()


INSTRUCTIONS = instructions(DOCKERFILE)
LAST_STAGE = INSTRUCTIONS[max(at for at, (name, _) in enumerate(INSTRUCTIONS) if name == "FROM") :]


def test_the_server_runs_as_a_numbered_user_without_rights() -> None:
    [user] = [rest for name, rest in LAST_STAGE if name == "USER"]
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", user)
    service = COMPOSE["services"]["llmrec"]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]
    assert "privileged" not in service


def test_nothing_is_published_beyond_this_machine() -> None:
    ports = [port for service in COMPOSE["services"].values() for port in service.get("ports", ())]
    assert ports
    assert all(str(port).startswith("127.0.0.1:") for port in ports)
    assert all("network_mode" not in service for service in COMPOSE["services"].values())


def test_the_command_and_its_options_exist() -> None:
    [entry] = [json.loads(rest) for name, rest in LAST_STAGE if name == "ENTRYPOINT"]
    [command] = [json.loads(rest) for name, rest in LAST_STAGE if name == "CMD"]
    assert entry == ["llmrec"]
    context = GROUP.commands[command[0]].make_context(command[0], command[1:])
    assert (str(context.params["state"]), context.params["port"]) == ("/state", 8765)
    assert [str(root) for root in context.params["roots"]] == ["/runs"]


def test_commands_in_comments_are_taken_by_the_parser() -> None:
    [line] = re.findall(r"docker compose exec llmrec llmrec (tenants .*)", COMPOSE_TEXT)
    words = shlex.split(line)
    context = GROUP.commands["tenants"].commands[words[1]].make_context(words[1], words[2:])
    assert str(context.params["key_file"]) == "/state/admin.key"


def test_a_server_that_is_stopped_or_not_ready_is_noticed() -> None:
    names = dict(LAST_STAGE)
    assert names["STOPSIGNAL"] == "SIGTERM"
    port = names["EXPOSE"]
    assert f"http://127.0.0.1:{port}/readyz" in names["HEALTHCHECK"]
    assert json.loads(names["VOLUME"]) if names["VOLUME"].startswith("[") else names["VOLUME"] == "/state"
    assert int(COMPOSE["services"]["llmrec"]["stop_grace_period"].removesuffix("s")) > 30


def test_environment_variables_of_the_server_are_settings() -> None:
    from llmrec_peft.serving.http.settings import Settings

    for name in COMPOSE["services"]["llmrec"]["environment"]:
        field = name.removeprefix("LLMREC_SERVE_").lower()
        assert name.startswith("LLMREC_SERVE_")
        assert field in Settings.model_fields


def test_what_is_copied_exists_and_is_not_ignored() -> None:
    rules = [line for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines() if line[:1] != "#"]
    taken = [rule[1:] for rule in rules if rule.startswith("!")]
    assert rules[0] == "*", "only what is named is sent"
    copied = [
        word for name, rest in INSTRUCTIONS if name == "COPY" and "--from" not in rest for word in rest.split()[:-1]
    ]
    assert copied
    for source in copied:
        assert (ROOT / source).exists(), source
        assert any(fnmatch.fnmatch(source, rule) for rule in taken), source


@pytest.mark.parametrize("text", [DOCKERFILE, COMPOSE_TEXT])
def test_no_secret_is_inside(text: str) -> None:
    assert not re.search(r"llmrec_[0-9a-f]{8}_|(?i:password|secret|token)\s*[=:]", text)
    assert "LLMREC_KEY" not in text
