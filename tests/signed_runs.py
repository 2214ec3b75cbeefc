"""Runs and keys for tests of signatures: a small folder with a true manifest, and key pairs as openssl writes them."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from llmrec_peft.artifact.manifest import NAME, make_manifest, write_json

FILES = {
    "recipe.yaml": b"name: films\n",
    "head.safetensors": b"head",
    "item_vectors.safetensors": b"vectors",
    "metrics.json": b"{}",
    "README.md": b"# films\n",
    "seen.safetensors": b"who saw what",
}


class Keys(NamedTuple):
    """The two halves of a key pair, as PEM files."""

    private: Path
    public: Path


def write_run(folder: Path) -> Path:
    """Write files with a manifest that holds; nothing can be loaded from them."""
    folder.mkdir(parents=True)
    for name, content in FILES.items():
        (folder / name).write_bytes(content)
    base = {"name": "base", "weights_sha256": hashlib.sha256(b"base").hexdigest()}
    write_json(folder / NAME, make_manifest(folder, base, "0.1.0").model_dump(mode="json"))
    return folder


def write_keys(folder: Path, name: str = "key", curve: str = "SECP256R1", password: bytes | None = None) -> Keys:
    """Write an elliptic-curve key pair; with a password, an encrypted private key."""
    pytest.importorskip("model_signing")
    from cryptography.hazmat.primitives.asymmetric import ec

    return write_pair(ec.generate_private_key(getattr(ec, curve)()), folder, name, password)


def write_pair(key: Any, folder: Path, name: str, password: bytes | None = None) -> Keys:
    """Write both halves of any key."""
    from cryptography.hazmat.primitives.serialization import (
        BestAvailableEncryption,
        Encoding,
        NoEncryption,
        PrivateFormat,
        PublicFormat,
    )

    pair = Keys(folder / f"{name}.pem", folder / f"{name}.pub")
    how = NoEncryption() if password is None else BestAvailableEncryption(password)
    pair.private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, how))
    pair.public.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return pair
