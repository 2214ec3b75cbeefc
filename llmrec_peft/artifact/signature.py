"""Signature: whether a run folder's files are those that the owner of a key has signed."""

from __future__ import annotations

import base64
import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from llmrec_peft.artifact.manifest import PRIVATE, SIGNATURE, is_there, read_manifest, require_files
from llmrec_peft.artifact.signed_files import covered_files, digesting
from llmrec_peft.artifact.signing_keys import INSTALL, require_public_key
from llmrec_peft.errors import InputError
from llmrec_peft.printable import shown
from llmrec_peft.regular_files import read_regular
from llmrec_peft.strict_json import parse_json

if TYPE_CHECKING:
    from model_signing import verifying
    from model_signing.hashing import Config

_MOST_BYTES = 1 << 20
"""Bytes of a signature; one of a run has some 5,000."""


@dataclass(frozen=True)
class Verified:
    """What a signature covers.

    Attributes:
        key: Fingerprint of the key that signed, 64 hexadecimal digits.
        digest: Identity of the run, from the manifest that was signed.
        files: Files that the signature covers.
        private: Private files beside them; their digests stand in the signed manifest.
    """

    key: str
    digest: str
    files: tuple[str, ...]
    private: tuple[str, ...]


def signed_by(public_key: Path) -> Callable[[Path], Verified]:
    """Return what refuses a run folder that the owner of a key has not signed.

    Raises:
        InputError: If the key cannot be read, or is no public key that signatures are verified with.
    """
    require_public_key(public_key)  # before anything is fetched
    return partial(verify, public_key=public_key)


def verify(folder: Path, public_key: Path) -> Verified:
    """Check that a run folder's files are those that the owner of a key has signed.

    The signature, ``model.sig``, is a Sigstore bundle of an in-toto statement, as `model_signing` writes it. A
    signature says who vouches for the files. It does not say which name they are published under, or that nothing newer
    has been signed since.

    Args:
        folder: Run folder. Nothing in it is changed.
        public_key: PEM file of the signer's public key.

    Returns:
        What is covered.

    Raises:
        InputError: In one line: no run folder, no signature, another key, a file that is changed, missing or not
            covered, or a key that cannot be read.
    """
    key = require_public_key(public_key)
    manifest = read_manifest(folder, verify=False)
    names = covered_files(folder)
    content = _bundle(folder, key, public_key)
    try:
        from model_signing import verifying
    except ImportError:
        raise InputError(INSTALL) from None
    config, covered = verifying.Config(), digesting(names)  # type: ignore[no-untyped-call]
    config.use_elliptic_key_verifier(public_key=public_key).set_hashing_config(covered)
    with tempfile.TemporaryDirectory() as own:
        bundle = Path(own) / SIGNATURE  # the bytes that were looked at, whatever becomes of the file meanwhile
        bundle.write_bytes(content)
        _check(config, covered, folder, bundle)
    private = tuple(name for name in PRIVATE if is_there(folder / name))
    require_files(folder, manifest, private)
    return Verified(key, manifest.digest, tuple(names), private)


def _bundle(folder: Path, key: str, public_key: Path) -> bytes:
    """Return the bytes of a folder's signature, after a look at whose it says to be.

    Raises:
        InputError: If there is none, it is none, or says to be another key's.
    """
    path = folder / SIGNATURE
    if not is_there(path):
        raise InputError(f"{shown(folder)} is not signed: it has no {SIGNATURE}")
    content = read_regular(path, _MOST_BYTES)
    values = parse_json(content, str(path))
    try:
        hint = values["verificationMaterial"]["publicKey"]["hint"]
    except (KeyError, TypeError):
        raise InputError(f"{shown(path)} is no signature by a key") from None
    if hint != key:
        raise InputError(f"{shown(folder)} was signed with another key than {shown(public_key)}")
    return content


def _check(config: verifying.Config, covered: Config, folder: Path, bundle: Path) -> None:
    """Let `model_signing` check a signature and the files' digests.

    Raises:
        InputError: If it does not hold.
    """
    from cryptography.exceptions import InvalidSignature

    try:
        config.verify(folder, bundle)
    except InvalidSignature:
        raise InputError(
            f"{shown(folder / SIGNATURE)} does not hold: it was changed, or made without the key"
        ) from None
    except Exception as error:  # noqa: BLE001 - the bundle is a stranger's, and the library indexes into it unchecked
        if str(error).startswith("Signature mismatch"):
            differ = _differences(folder, bundle.read_bytes(), covered)
            raise InputError(f"{shown(folder)} is not what was signed: {differ}") from None
        raise InputError(f"{shown(folder / SIGNATURE)} is no signature of a run ({type(error).__name__})") from None


def _differences(folder: Path, bundle: bytes, config: Config) -> str:
    """Name the files that are not what a signature, which holds, says.

    The message of `model_signing` has both digests of each file as Python objects instead.
    """
    statement = json.loads(base64.b64decode(json.loads(bundle)["dsseEnvelope"]["payload"]))
    signed = {one["name"]: one["digest"] for one in statement["predicate"]["resources"]}
    found = {one.identifier: one.digest.digest_hex for one in config.hash(folder).resource_descriptors()}
    differ = {
        "changed": [name for name in found if name in signed and found[name] != signed[name]],
        "missing": [name for name in signed if name not in found],
        "added": [name for name in found if name not in signed],
    }
    return "; ".join(f"{', '.join(sorted(names))} {what}" for what, names in differ.items() if names)
