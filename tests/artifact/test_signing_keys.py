"""Keys of signatures: what can sign and verify is taken, anything else is one line that says what would be right."""

from __future__ import annotations

from pathlib import Path

import pytest
from signed_runs import write_keys, write_pair, write_run

from llmrec_peft.artifact.signature import verify
from llmrec_peft.artifact.signing_keys import PASSWORD, require_private_key, require_public_key
from llmrec_peft.errors import InputError
from llmrec_peft.hub.signing import Signer, sign

WORDS = "correct horse"


@pytest.fixture(autouse=True)
def no_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(PASSWORD, raising=False)


def test_the_two_halves_are_told_apart(tmp_path: Path) -> None:
    keys = write_keys(tmp_path)
    assert require_private_key(keys.private) is None
    assert len(require_public_key(keys.public)) == 64
    with pytest.raises(InputError, match="holds a private key: verify with the public one"):
        require_public_key(keys.private)
    with pytest.raises(InputError, match="holds no private key in PEM form"):
        require_private_key(keys.public)


def test_a_link_to_a_key_is_followed(tmp_path: Path) -> None:
    keys = write_keys(tmp_path)
    (tmp_path / "link").symlink_to(keys.public)
    assert require_public_key(tmp_path / "link") == require_public_key(keys.public)


def test_a_password_comes_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keys, run = write_keys(tmp_path, password=WORDS.encode()), write_run(tmp_path / "run")
    monkeypatch.setenv(PASSWORD, WORDS)
    sign(run, keys.private)
    assert verify(run, keys.public)


def test_a_password_is_asked_for_only_where_the_key_has_one(tmp_path: Path) -> None:
    keys, run = write_keys(tmp_path, password=WORDS.encode()), write_run(tmp_path / "run")
    sign(run, keys.private, ask=lambda: WORDS)
    assert verify(run, keys.public)
    sign(run, write_keys(tmp_path, "plain").private, ask=lambda: pytest.fail("asked"))


def test_a_signer_does_not_show_its_password(tmp_path: Path) -> None:
    keys, run = write_keys(tmp_path, password=WORDS.encode()), write_run(tmp_path / "run")
    signer = Signer.of(keys.private, lambda: WORDS)
    assert WORDS not in repr(signer)
    signer.sign(run)
    assert signer.verify(run) == verify(run, keys.public)
    with pytest.raises(InputError, match="was signed with another key"):
        Signer.of(write_keys(tmp_path, "other").private).verify(run)


def test_a_password_that_is_missing_or_wrong_is_said(tmp_path: Path) -> None:
    keys = write_keys(tmp_path, password=WORDS.encode())
    with pytest.raises(InputError, match=f"is protected by a password: set it in the variable {PASSWORD}"):
        require_private_key(keys.private)
    with pytest.raises(InputError, match="does not open with this password"):
        require_private_key(keys.private, lambda: "wrong")


def test_keys_of_another_kind_are_refused(tmp_path: Path) -> None:
    small = write_keys(tmp_path, "small", "SECP256K1")
    from cryptography.hazmat.primitives.asymmetric import ed25519, rsa

    other = write_pair(ed25519.Ed25519PrivateKey.generate(), tmp_path, "ed25519")
    large = write_pair(rsa.generate_private_key(65537, 2048), tmp_path, "rsa")
    for keys in (small, other, large):
        with pytest.raises(InputError, match="a key of another kind: give an elliptic-curve key of P-256, P-384"):
            require_private_key(keys.private)
        with pytest.raises(InputError, match="a key of another kind: give an elliptic-curve key of P-256, P-384"):
            require_public_key(keys.public)


@pytest.mark.parametrize("content", [b"", b"no key\n", b"-----BEGIN PUBLIC KEY-----\nx\n-----END PUBLIC KEY-----\n"])
def test_a_file_without_a_key_is_refused(tmp_path: Path, content: bytes) -> None:
    pytest.importorskip("model_signing")
    path = tmp_path / "key"
    path.write_bytes(content)
    for require in (require_public_key, require_private_key):
        with pytest.raises(InputError, match="in PEM form"):
            require(path)


def test_a_key_that_cannot_be_read_is_said(tmp_path: Path) -> None:
    for require in (require_public_key, require_private_key):
        with pytest.raises(InputError, match="is missing"):
            require(tmp_path / "nowhere")
        with pytest.raises(InputError, match="is a folder, not a regular file"):
            require(tmp_path)
