"""Doctor: whether this machine has what training and scoring need, and what to do if not."""

from __future__ import annotations

import importlib.util
import shutil
import sys
from dataclasses import asdict, dataclass
from importlib.metadata import requires, version
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
from packaging.requirements import Requirement

from llmrec_peft import registry
from llmrec_peft.errors import InputError

if TYPE_CHECKING:
    from llmrec_peft.backbone.alias import BackboneAlias, GgufFile

_MEMORY_GB = 2.0
_DISK_GB = 1.0


@dataclass(frozen=True)
class Check:
    """State of one thing that training and scoring need.

    Attributes:
        name: What was checked.
        ok: Whether it is sufficient.
        state: Version, size or other state on this machine.
        remedy: What to do where it is not sufficient.
    """

    name: str
    ok: bool
    state: str
    remedy: str = ""

    def plain(self) -> dict[str, str | bool]:
        """Return plain values."""
        return asdict(self)


def examine() -> list[Check]:
    """Check everything; files of embedded models are read anew, whatever is remembered of them."""
    from llmrec_peft.backbone.remembered import read_anew

    with read_anew():
        backbones = _backbones()
    return [_python(), *_packages(), *_device(), *_plugins(), *backbones, _memory(), _disk()]


def _python() -> Check:
    state = ".".join(str(part) for part in sys.version_info[:3])
    return Check("python", sys.version_info >= (3, 11), state, "install Python 3.11 or newer")


def _packages() -> list[Check]:
    checks = []
    for text in requires("llmrec-peft") or []:
        requirement = Requirement(text)
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        remedy = f"pip install '{requirement.name}{requirement.specifier}'"
        try:
            state = version(requirement.name)
            suits = requirement.specifier.contains(state, prereleases=True)
        except importlib.metadata.PackageNotFoundError:
            state, suits = "not installed", False
        checks.append(Check(requirement.name, suits, state, remedy))
    return checks


def _device() -> list[Check]:
    import torch

    from llmrec_peft.backbone.precision import best_device, computes_bf16

    device = best_device()
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    fast = computes_bf16(device)
    bits = "bitsandbytes" if importlib.util.find_spec("bitsandbytes") else "no bitsandbytes: quantization none only"
    return [
        Check("device", True, name),
        Check("precision", True, "bf16 (auto)" if fast else "fp32 (auto): the device does not compute in bf16"),
        Check("quantization", True, bits),
    ]


def _plugins() -> list[Check]:
    checks = []
    for kind in registry.KINDS:
        for name in registry.plugins(kind):
            try:
                registry.get(kind, name)
            except InputError as error:
                checks.append(Check(f"{kind} {name}", False, "broken", f"{error}; update or uninstall its package"))
    return checks


def _backbones() -> list[Check]:
    """Check the network, each base model that has a name, and that one of them can be loaded here now."""
    from llmrec_peft.workflows.reachable import hub_state

    hub = hub_state()
    checks, usable, remedies = [Check("Hugging Face Hub", True, hub.state)], [], []
    for name in registry.plugins("backbones"):
        try:
            alias = registry.get("backbones", name)
        except InputError:
            continue
        check, is_usable = _backbone(name, alias, hub.reachable)
        checks.append(check)
        if is_usable:
            usable.append(name)
        elif alias.install:
            remedies.append(alias.install)
    state = f"usable now: {', '.join(usable)}" if usable else "none is usable now"
    remedy = f"no network and none installed: {'; or '.join(remedies)}; or name a folder in backbone.name"
    return [*checks, Check("base models", bool(usable), state, remedy)]


def _backbone(name: str, alias: BackboneAlias, reachable: bool) -> tuple[Check, bool]:
    """Check a base model; and return whether it can be loaded now."""
    from llmrec_peft.identity import file_digest
    from llmrec_peft.workflows.reachable import is_cached

    title, folder = f"backbone {name}", alias.embedded()
    if folder is None:
        where = f"{alias.hub_id}@{alias.revision[:8]}"
        if is_cached(alias):
            return Check(title, True, f"not installed; in the Hub cache as {where}"), True
        if reachable:
            return Check(title, True, f"not installed; loaded from the Hub as {where} at the first use"), True
        state = f"not usable now: not installed, not in the Hub cache, the Hub is out of reach; {alias.install}"
        return Check(title, True, state), False
    if alias.gguf is not None:
        check = _gguf(name, alias.gguf, folder / alias.gguf.file, alias.install)
        return check, check.ok
    wrong = [file for file, digest in alias.weights.items() if not _is(folder / file, digest)]
    digests = ", ".join(file_digest(folder / file)[:16] for file in alias.weights if (folder / file).is_file())
    remedy = f"its weights are not the known ones ({', '.join(wrong)}): pip uninstall and {alias.install}"
    return Check(title, not wrong, f"embedded, SHA-256 {digests}…", remedy), not wrong


def _gguf(name: str, gguf: GgufFile, source: Path, install: str) -> Check:
    from llmrec_peft.backbone.gguf import converted_folder, what_is_wrong

    title = f"backbone {name}"
    if not _is(source, gguf.sha256):
        remedy = f"{source.name} is not the known one: pip uninstall and {install}"
        return Check(title, False, "embedded GGUF, changed", remedy)
    embedded = f"embedded GGUF, SHA-256 {gguf.sha256[:16]}…"
    folder = converted_folder(gguf)
    wrong = what_is_wrong(folder, gguf)
    if wrong is None:
        return Check(title, True, f"{embedded}, converted in {folder}")
    if importlib.util.find_spec("gguf") is None:
        remedy = "its file is read with gguf: pip install 'llmrec-peft[gguf]'"
        return Check(title, False, f"{embedded}, not converted and no gguf", remedy)
    state = f"damaged in {folder} ({wrong}): converted anew" if folder.is_dir() else "not converted yet: done once"
    return Check(title, True, f"{embedded}, {state} at the next use, about {gguf.seconds} s")


def _is(path: Path, digest: str) -> bool:
    from llmrec_peft.identity import file_digest

    return path.is_file() and file_digest(path) == digest


def _memory() -> Check:
    free = psutil.virtual_memory().available / 2**30
    return Check("free memory", free >= _MEMORY_GB, f"{free:.1f} GiB", f"free at least {_MEMORY_GB:.0f} GiB of memory")


def _disk() -> Check:
    free = shutil.disk_usage(Path.cwd()).free / 2**30
    return Check("free disk here", free >= _DISK_GB, f"{free:.1f} GiB", f"free at least {_DISK_GB:.0f} GiB of disk")
