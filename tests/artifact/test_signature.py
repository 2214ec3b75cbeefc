"""Signatures: what was signed is verified, and anything else is refused in one line that names it."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest
from signed_runs import FILES, Keys, write_keys, write_run

from llmrec_peft.artifact.manifest import NAME, SIGNATURE, make_manifest, write_json
from llmrec_peft.artifact.signature import verify
from llmrec_peft.errors import InputError
from llmrec_peft.hub.signing import sign

PRIVATE = "seen.safetensors"
SIGNED = {*FILES, NAME} - {PRIVATE}


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    return write_keys(tmp_path)


@pytest.fixture
def run(tmp_path: Path, keys: Keys) -> Path:
    """A run that the owner of `keys` has signed."""
    folder = write_run(tmp_path / "run")
    sign(folder, keys.private)
    return folder


def refusal(run: Path, key: Path) -> str:
    with pytest.raises(InputError) as refused:
        verify(run, key)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_what_was_signed_is_verified(run: Path, keys: Keys) -> None:
    found = verify(run, keys.public)
    assert set(found.files) == SIGNED
    assert found.private == (PRIVATE,)
    assert found.digest == json.loads((run / NAME).read_text())["digest"]
    assert len(found.key) == 64


@pytest.mark.parametrize("curve", ["SECP384R1", "SECP521R1"])
def test_larger_curves_sign_too(tmp_path: Path, curve: str) -> None:
    run, keys = write_run(tmp_path / "run"), write_keys(tmp_path, "large", curve)
    sign(run, keys.private)
    assert set(verify(run, keys.public).files) == SIGNED


def test_a_copy_under_another_name_without_private_files_is_verified(run: Path, keys: Keys, tmp_path: Path) -> None:
    copy = tmp_path / "elsewhere"
    copy.mkdir()
    for name in (*SIGNED, SIGNATURE):
        (copy / name).write_bytes((run / name).read_bytes())
    assert verify(copy, keys.public).private == ()


@pytest.mark.parametrize("name", sorted(SIGNED - {NAME}))
def test_a_changed_file_is_named(run: Path, keys: Keys, name: str) -> None:
    (run / name).write_bytes(b"x" + (run / name).read_bytes()[1:])
    assert refusal(run, keys.public) == f"{run} is not what was signed: {name} changed"


@pytest.mark.parametrize("name", sorted(SIGNED - {NAME}))
def test_a_missing_file_is_named(run: Path, keys: Keys, name: str) -> None:
    (run / name).unlink()
    assert refusal(run, keys.public) == f"{run} is not what was signed: {name} missing"


def test_a_file_of_a_run_that_was_not_signed_is_named(run: Path, keys: Keys) -> None:
    (run / "learning.safetensors").write_bytes(b"added")
    assert refusal(run, keys.public) == f"{run} is not what was signed: learning.safetensors added"


def test_a_folder_made_anew_with_a_true_manifest_is_refused(run: Path, keys: Keys) -> None:
    (run / "head.safetensors").write_bytes(b"evil")
    base = json.loads((run / NAME).read_text())["base"]
    write_json(run / NAME, make_manifest(run, base, "0.1.0").model_dump(mode="json"))
    assert refusal(run, keys.public) == f"{run} is not what was signed: head.safetensors, {NAME} changed"


@pytest.mark.parametrize("name", ["model.pkl", "pytorch_model.bin", "run.py", "more"])
def test_a_file_that_no_run_has_is_refused_unread(run: Path, keys: Keys, name: str) -> None:
    (run / name).write_bytes(b"\x80\x04.")
    assert f"'{name}' is no file of a run" in refusal(run, keys.public)
    (run / SIGNATURE).unlink()
    with pytest.raises(InputError, match="is no file of a run"):
        sign(run, keys.private)
    assert not (run / SIGNATURE).exists()


def test_what_git_and_the_hub_add_is_no_obstacle(run: Path, keys: Keys) -> None:
    (run / ".gitattributes").write_text("*.safetensors filter=lfs\n")
    (run / ".git").mkdir()
    (run / "logs").mkdir()
    assert verify(run, keys.public)


def test_a_changed_private_file_is_refused(run: Path, keys: Keys) -> None:
    (run / PRIVATE).write_bytes(b"others saw that")
    assert PRIVATE in refusal(run, keys.public)


def test_another_key_is_refused(run: Path, keys: Keys, tmp_path: Path) -> None:
    other = write_keys(tmp_path, "other")
    assert refusal(run, other.public) == f"{run} was signed with another key than {other.public}"


def test_a_run_without_a_signature_is_refused(tmp_path: Path, keys: Keys) -> None:
    run = write_run(tmp_path / "unsigned")
    assert refusal(run, keys.public) == f"{run} is not signed: it has no {SIGNATURE}"


def test_no_run_is_no_run(tmp_path: Path, keys: Keys) -> None:
    assert refusal(tmp_path / "nothing", keys.public) == f"no run folder {tmp_path / 'nothing'}"


def test_links_are_not_followed(run: Path, keys: Keys, tmp_path: Path) -> None:
    moved = tmp_path / "moved"
    (run / "head.safetensors").rename(moved)
    (run / "head.safetensors").symlink_to(moved)
    assert "is a link, not a regular file" in refusal(run, keys.public)
    (run / "head.safetensors").unlink()
    moved.rename(run / "head.safetensors")
    (run / SIGNATURE).rename(moved)
    (run / SIGNATURE).symlink_to(moved)
    assert "is a link, not a regular file" in refusal(run, keys.public)


def test_a_fifo_is_refused_and_nothing_waits(run: Path, keys: Keys) -> None:
    (run / "head.safetensors").unlink()
    os.mkfifo(run / "head.safetensors")
    assert "is a FIFO, not a regular file" in refusal(run, keys.public)


def payload_of(bundle: dict[str, Any]) -> dict[str, Any]:
    statement: dict[str, Any] = json.loads(base64.b64decode(bundle["dsseEnvelope"]["payload"]))
    return statement


def spoil_signature(bundle: dict[str, Any]) -> None:
    raw = bytearray(base64.b64decode(bundle["dsseEnvelope"]["signatures"][0]["sig"]))
    raw[-1] ^= 1
    bundle["dsseEnvelope"]["signatures"][0]["sig"] = base64.b64encode(raw).decode()


def spoil_statement(bundle: dict[str, Any]) -> None:
    statement = payload_of(bundle)
    statement["predicate"]["resources"][0]["digest"] = "00" * 32
    bundle["dsseEnvelope"]["payload"] = base64.b64encode(json.dumps(statement).encode()).decode()


@pytest.mark.parametrize(
    "spoil",
    [
        spoil_signature,
        spoil_statement,
        lambda bundle: bundle["dsseEnvelope"].update(signatures=[]),
        lambda bundle: bundle["dsseEnvelope"].update(payload="x"),
        lambda bundle: bundle.update(mediaType="text/plain"),
        lambda bundle: bundle.pop("dsseEnvelope"),
    ],
)
def test_a_signature_that_was_changed_is_refused(run: Path, keys: Keys, spoil: Callable[[dict[str, Any]], Any]) -> None:
    bundle = json.loads((run / SIGNATURE).read_text())
    spoil(bundle)
    (run / SIGNATURE).write_text(json.dumps(bundle))
    assert refusal(run, keys.public).startswith(f"{run / SIGNATURE} ")


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"{}", b'{"verificationMaterial": {"publicKey": 1}}', b"\xff"])
def test_what_is_no_signature_is_refused(run: Path, keys: Keys, content: bytes) -> None:
    (run / SIGNATURE).write_bytes(content)
    assert str(run / SIGNATURE) in refusal(run, keys.public)


def test_a_signature_with_any_other_bytes_is_refused_or_the_same(run: Path, keys: Keys) -> None:
    whole, random = (run / SIGNATURE).read_bytes(), Random(0)
    refused = 0
    for _ in range(150):
        spoiled = bytearray(whole)
        for _ in range(random.randint(1, 3)):
            spoiled[random.randrange(len(spoiled))] = random.randrange(256)
        (run / SIGNATURE).write_bytes(spoiled[: random.choice([None, None, random.randrange(len(spoiled))])])
        try:
            assert set(verify(run, keys.public).files) == SIGNED
        except InputError:
            refused += 1
    assert refused > 140


def test_a_signature_of_another_run_is_refused(run: Path, keys: Keys, tmp_path: Path) -> None:
    other = write_run(tmp_path / "other")
    (other / "README.md").write_text("# another\n")
    sign(other, keys.private)
    (run / SIGNATURE).write_bytes((other / SIGNATURE).read_bytes())
    assert refusal(run, keys.public) == f"{run} is not what was signed: README.md changed"


def test_a_signature_that_asks_to_leave_files_out_covers_them_not(tmp_path: Path, keys: Keys) -> None:
    from model_signing import hashing, signing

    run = write_run(tmp_path / "partly")
    left_out = hashing.Config().set_ignored_paths(paths=["head.safetensors", PRIVATE])
    config = signing.Config().set_hashing_config(left_out).use_elliptic_key_signer(private_key=keys.private)
    config.sign(run, run / SIGNATURE)
    assert refusal(run, keys.public) == f"{run} is not what was signed: head.safetensors added"


@pytest.mark.trains
def test_the_tool_of_model_signing_reads_it_and_ours_reads_the_tools(run: Path, keys: Keys) -> None:
    (run / PRIVATE).unlink()

    def tool(*arguments: object) -> None:
        command = [sys.executable, "-m", "model_signing", *(str(argument) for argument in arguments)]
        subprocess.run(command, check=True, capture_output=True, timeout=120)

    tool("verify", "key", run, "--signature", run / SIGNATURE, "--public_key", keys.public)
    (run / SIGNATURE).unlink()
    tool("sign", "key", run, "--signature", run / SIGNATURE, "--private_key", keys.private)
    assert set(verify(run, keys.public).files) == SIGNED


def test_signing_again_replaces_the_signature(run: Path, keys: Keys, tmp_path: Path) -> None:
    (run / "README.md").write_text("# a better card\n")
    other = write_keys(tmp_path, "other")
    assert set(sign(run, other.private)) == SIGNED
    assert verify(run, other.public)
    assert "another key" in refusal(run, keys.public)


def test_a_broken_run_is_not_signed(tmp_path: Path, keys: Keys) -> None:
    run = write_run(tmp_path / "broken")
    (run / "head.safetensors").write_bytes(b"else")
    with pytest.raises(InputError, match=r"head\.safetensors is not what the run wrote"):
        sign(run, keys.private)
    assert not (run / SIGNATURE).exists()
