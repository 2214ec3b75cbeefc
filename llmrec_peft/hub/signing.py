"""Signing: a signature over everything that is published of a run, by the owner's key."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from llmrec_peft.artifact.folder import whole_file
from llmrec_peft.artifact.manifest import SIGNATURE, read_manifest
from llmrec_peft.artifact.signature import Verified, verify
from llmrec_peft.artifact.signed_files import covered_files, digesting
from llmrec_peft.artifact.signing_keys import INSTALL, public_half, require_private_key
from llmrec_peft.errors import InputError


@dataclass(frozen=True)
class Signer:
    """A key that can sign, checked before the work begins whose result it signs.

    Attributes:
        private_key: PEM file of an elliptic-curve key (P-256, P-384, P-521).
        password: What opens it; None for a key without a password.
    """

    private_key: Path
    password: bytes | None = field(default=None, repr=False)

    @classmethod
    def of(cls, private_key: Path, ask: Callable[[], str] | None = None) -> Self:
        """Check a key.

        Args:
            private_key: PEM file of it.
            ask: Asks for the password of an encrypted key, where the environment variable ``LLMREC_KEY_PASSWORD`` does
                not hold it; None if nobody can be asked.

        Raises:
            InputError: If the key cannot be read or cannot sign, its password is missing or wrong, or `model_signing`
                is not installed.
        """
        signer = cls(private_key, require_private_key(private_key, ask))
        try:
            import model_signing  # noqa: F401 - what signs later is there
        except ImportError:
            raise InputError(INSTALL) from None
        return signer

    def sign(self, folder: Path, target: Path | None = None) -> tuple[str, ...]:
        """Sign what is published of a run folder; nothing leaves this machine.

        The signature is a Sigstore bundle of an in-toto statement with the SHA-256 of every file, as `model_signing`
        writes it; ``model_signing verify key`` reads it as well.

        Args:
            folder: Run folder, complete, with its card.
            target: File of the signature; by default ``model.sig`` in the folder. One that is there is replaced.

        Returns:
            Names of the files that the signature covers.

        Raises:
            InputError: In one line: no run folder, or a file that is changed or that no run has. Nothing is written
                then.
        """
        from model_signing import signing

        read_manifest(folder)
        names = covered_files(folder)
        config = signing.Config()  # type: ignore[no-untyped-call]
        config.set_hashing_config(digesting(names))
        # its type says str, but cryptography takes bytes alone (model-signing 1.1.1)
        config.use_elliptic_key_signer(private_key=self.private_key, password=self.password)  # type: ignore[arg-type]
        with whole_file(folder / SIGNATURE if target is None else target) as partial:
            config.sign(folder, partial)
        return tuple(names)

    def verify(self, folder: Path) -> Verified:
        """Check that a run folder, such as one that was loaded again, is as this key has signed it.

        Raises:
            InputError: As `llmrec_peft.artifact.signature.verify`.
        """
        with tempfile.TemporaryDirectory() as own:
            public = Path(own) / f"{self.private_key.name}.pub"
            public.write_bytes(public_half(self.private_key, self.password))
            return verify(folder, public)


def sign(
    folder: Path, private_key: Path, target: Path | None = None, ask: Callable[[], str] | None = None
) -> tuple[str, ...]:
    """Sign what is published of a run folder with the key of a file; see `Signer`."""
    return Signer.of(private_key, ask).sign(folder, target)
