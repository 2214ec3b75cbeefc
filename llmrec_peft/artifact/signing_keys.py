"""Keys of signatures: elliptic-curve keys in PEM files, checked before they are used."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from llmrec_peft.errors import InputError
from llmrec_peft.printable import shown
from llmrec_peft.regular_files import read_regular

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey

PASSWORD = "LLMREC_KEY_PASSWORD"  # noqa: S105 - the name of a variable
"""Environment variable that holds the password of a private key."""
_MOST_BYTES = 64 << 10
_CURVES = {"secp256r1": "P-256", "secp384r1": "P-384", "secp521r1": "P-521"}
"""Curves that `model_signing` takes."""
_WANTED = f"an elliptic-curve key of {', '.join(_CURVES.values())}"
INSTALL = "signatures need model-signing: pip install 'llmrec-peft[signing]'"


def require_public_key(path: Path) -> str:
    """Refuse a file that holds no public key which can verify.

    Args:
        path: PEM file. A link to it is followed, since keys are often mounted that way.

    Returns:
        Fingerprint: SHA-256 of the key in PEM form, 64 hexadecimal digits, as it stands in the signature.

    Raises:
        InputError: If the file is unreadable or holds something else, such as the private key.
    """
    content = read_regular(path, _MOST_BYTES, follow_links=True)
    try:
        from cryptography.hazmat.primitives.serialization import load_pem_public_key
    except ImportError:
        raise InputError(INSTALL) from None
    if b"PRIVATE KEY" in content:
        where = shown(path)
        raise InputError(f"{where} holds a private key: verify with the public one (openssl pkey -in {where} -pubout)")
    try:
        key: object = load_pem_public_key(content)
    except (ValueError, TypeError):  # cryptography says both of what it cannot parse
        raise InputError(f"{shown(path)} holds no public key in PEM form: give {_WANTED}") from None
    return _fingerprint(key, path)


def require_private_key(path: Path, ask: Callable[[], str] | None = None) -> bytes | None:
    """Refuse a file that holds no private key which can sign.

    Args:
        path: PEM file. A link to it is followed, since keys are often mounted that way.
        ask: Asks the person for the password of an encrypted key, where the environment variable ``PASSWORD`` does not
            hold it; None if nobody can be asked.

    Returns:
        The password; None for a key without one.

    Raises:
        InputError: If the file is unreadable or holds something else, or the password is missing or wrong.
    """
    content = read_regular(path, _MOST_BYTES, follow_links=True)
    try:
        from cryptography.hazmat.primitives.serialization import load_pem_private_key
    except ImportError:
        raise InputError(INSTALL) from None
    password: bytes | None = None
    if b"ENCRYPTED" in content:  # of PKCS 8 (the header) and of the traditional form (Proc-Type)
        password = _password(path, ask).encode("utf-8")
    try:
        key: object = load_pem_private_key(content, password)
    except (ValueError, TypeError):
        if password is not None:
            raise InputError(f"{shown(path)}: the key does not open with this password") from None
        raise InputError(f"{shown(path)} holds no private key in PEM form: give {_WANTED}") from None
    public = getattr(key, "public_key", None)
    _fingerprint(None if public is None else public(), path)
    return password


def public_half(private_key: Path, password: bytes | None) -> bytes:
    """Return the public key of a private one that `require_private_key` has taken, as PEM."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

    key = load_pem_private_key(read_regular(private_key, _MOST_BYTES, follow_links=True), password)
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def _password(path: Path, ask: Callable[[], str] | None) -> str:
    """Return the password from the environment, or ask for it.

    Raises:
        InputError: If nobody can be asked.
    """
    given = os.environ.get(PASSWORD)
    if given is not None:
        return given
    if ask is None:
        raise InputError(f"{shown(path)} is protected by a password: set it in the variable {PASSWORD}")
    return ask()


def _fingerprint(key: object, path: Path) -> str:
    """Return the SHA-256 of a public key in PEM form.

    Raises:
        InputError: If it is of another kind than `model_signing` takes.
    """
    import hashlib

    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    if not isinstance(key, EllipticCurvePublicKey) or not _is_known(key):
        raise InputError(f"{shown(path)} holds a key of another kind: give {_WANTED}")
    return hashlib.sha256(key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)).hexdigest()


def _is_known(key: EllipticCurvePublicKey) -> bool:
    return key.curve.name in _CURVES
