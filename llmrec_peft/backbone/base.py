"""Base: the identity of a base model, and checks, field by field, that it is the one a run was trained on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields

from llmrec_peft.errors import InputError
from llmrec_peft.identity import files_digest

FIELDS = ("weights_sha256", "files_sha256", "revision", "quantization", "compute")
"""Fields that must agree; the name is not among them, since the same weights may have several names."""
FILE = "file "
"""What the field with the digest of one file begins with; these say which file made `files_sha256` another."""
SHOWN = 12
"""Digits of a digest in a message."""
_NAMED = 5
"""Files that a message names."""
MEASURABLE = {
    "quantization": "`llmrec parity RUN --quantization {}` measures what that would change",
    "compute": "`llmrec parity RUN --precision {}` measures what that would change",
}
"""Advice for the fields in which the same weights may differ."""


@dataclass(frozen=True)
class BaseIdentity:
    """Identity of a base model: digests of its weights and other files, and how it is stored and computed.

    Attributes:
        name: Hub id or folder, for people.
        revision: Commit on the Hub, for people.
        weights_sha256: Digest of the weight files.
        quantization: ``none``, ``int8``, ``nf4`` or ``nf4-double`` (its scales stored in 8 bits as well).
        compute: Number format of the computation, ``fp32`` or ``bf16``.
        files: Digest of each other file that can change an answer: configuration, tokenizer, modules.
    """

    name: str
    revision: str | None
    weights_sha256: str
    quantization: str
    compute: str
    files: Mapping[str, str] = field(default_factory=dict)

    def plain(self) -> dict[str, str | None]:
        """Return the fields as plain values, the other files as one digest and one field each."""
        known: dict[str, str | None] = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "files"}
        return known | content_of(self.weights_sha256, self.files)


def content_of(weights_sha256: str, files: Mapping[str, str]) -> dict[str, str | None]:
    """Return what a base's files say of it: the digests of its weights and of the other files, all and one by one."""
    named = {f"{FILE}{name}": digest for name, digest in sorted(files.items())}
    return {"weights_sha256": weights_sha256, "files_sha256": files_digest(files) if files else None, **named}


def public_name(base: Mapping[str, str | None]) -> str:
    """Return a recorded base's Hub id for a file that is passed on; a folder's path tells of the machine, so it is left
    out.

    >>> public_name({"name": "owner/name", "revision": "0" * 40}), public_name({"name": "/home/me/model"})
    ('owner/name', 'a local folder')
    """
    return str(base.get("name")) if base.get("revision") else "a local folder"


def base_differences(actual: Mapping[str, str | None], recorded: Mapping[str, str | None]) -> list[str]:
    """List the fields in which two identities differ, each as ``field is actual, not recorded``.

    A revision is compared if both are known: a local folder of the same weights has none.

    >>> base_differences({"weights_sha256": "a", "compute": "bf16"}, {"weights_sha256": "a", "compute": "fp32"})
    ['compute is bf16, not fp32']
    """
    differ = []
    for name in FIELDS:
        here, there = actual.get(name), recorded.get(name)
        if name == "revision" and (here is None or there is None):
            continue
        if name == "files_sha256" and here != there and (named := _files(actual, recorded)):
            differ += named
        elif here != there or (name == "weights_sha256" and not there):
            differ.append(f"{name} is {_short(here)}, not {_short(there)}")
    return differ


def require_base(actual: Mapping[str, str | None], recorded: Mapping[str, str | None], run: str) -> None:
    """Refuse a base that differs in any field from the one that a run was trained on.

    Args:
        actual: Identity of the loaded model, as `BaseIdentity.plain` returns it.
        recorded: Identity in the run's manifest.
        run: Name of the run, for the message.

    Raises:
        InputError: Naming every field that differs.
    """
    if not recorded.get("weights_sha256"):
        raise InputError(f"{run} names no base model by hash, so the one found here cannot be verified")
    differ = base_differences(actual, recorded)
    if differ:
        names = [line.split()[0] for line in differ]
        hints = [MEASURABLE[name].format(_asked(actual.get(name))) for name in names if name in MEASURABLE]
        hint = f" ({hints[0]})" if len(hints) == len(names) else ""
        raise InputError(
            f"the base model found here is not the one that {run} was trained on: {'; '.join(differ)}{hint}"
        )


def _files(actual: Mapping[str, str | None], recorded: Mapping[str, str | None]) -> list[str]:
    """List the files of a base that differ; none where one side does not name its files."""
    here, there = ({k.removeprefix(FILE): v for k, v in s.items() if k.startswith(FILE)} for s in (actual, recorded))
    if not here or not there:
        return []
    differ = []
    for name in sorted(here.keys() | there.keys()):
        if name not in here:
            differ.append(f"{name[:80]} is missing")
        elif name not in there:
            differ.append(f"{name[:80]} was not there")
        elif here[name] != there[name]:
            differ.append(f"{name[:80]} has changed ({_short(here[name])}, not {_short(there[name])})")
    return differ[:_NAMED]


def _asked(value: str | None) -> str:
    """Return a recorded value as a recipe writes it: ``nf4-double`` is its ``nf4``."""
    return str(value).removesuffix("-double")


def _short(value: str | None) -> str:
    return str(value) if value is None or len(value) <= SHOWN else f"{value[:SHOWN]}…"
