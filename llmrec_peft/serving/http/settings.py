"""Settings: what an operator decides about a server, from the command line, the environment and a file."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, InitSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

from llmrec_peft.errors import InputError, nearest
from llmrec_peft.options import Options, refused
from llmrec_peft.printable import one_line, quoted, shown
from llmrec_peft.regular_files import read_regular

CONFIG_BYTES = 1 << 20
PREFIX = "LLMREC_SERVE_"
Bytes = Annotated[int, Field(ge=1)]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class BodyLimits(Options):
    """What a request may hold."""

    body_bytes: Bytes = 1 << 20
    """Bytes of a body."""
    body_s: Seconds = 10.0
    """Seconds in which a body has to arrive."""
    depth: Annotated[int, Field(ge=2, le=32)] = 16
    """How deep arrays and objects may lie in each other."""
    users: Annotated[int, Field(ge=1)] = 256
    """Users of one request."""
    pairs: Annotated[int, Field(ge=1)] = 10_000
    """Pairs of one request."""
    items: Annotated[int, Field(ge=1)] = 512
    """New items of one request."""
    events: Annotated[int, Field(ge=1)] = 5_000
    """Events of one request."""
    k: Annotated[int, Field(ge=1)] = 1_000
    """Items of one list."""
    id_chars: Annotated[int, Field(ge=1)] = 512
    """Characters of a user's or item's id."""
    text_chars: Annotated[int, Field(ge=1)] = 20_000
    """Characters of all texts of one new item."""


class Quotas(Options):
    """What one tenant may ask for, and what may wait."""

    requests: str = "500/second"
    """Requests of a tenant, as ``limits`` writes rates, such as ``200/second``."""
    texts: str = "200/second"
    """New items of a tenant."""
    explanations: str = "10/second"
    """Explanations of a tenant."""
    waiting_requests: Annotated[int, Field(ge=1)] = 256
    """Requests of one tenant that wait, at most."""
    waiting_tokens: Annotated[int, Field(ge=1)] = 400_000
    """Tokens of text of all tenants that wait, at most, by an estimate."""
    waiting_tenant_tokens: Annotated[int, Field(ge=1)] = 100_000
    """Those of one tenant."""
    deadline_s: Seconds = 5.0
    """Seconds after which a request that still waits gets an error."""
    text_deadline_s: Seconds = 30.0
    """The same for requests whose texts the language model reads."""


class Settings(BaseSettings):
    """Settings of a server; ``LLMREC_SERVE_…`` in the environment go before the file, arguments before both."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_nested_delimiter="__",
        extra="forbid",
        frozen=True,
        use_attribute_docstrings=True,
        nested_model_default_partial_update=True,
    )

    host: str = "127.0.0.1"
    """Address to listen on; 127.0.0.1 is this machine alone."""
    port: Annotated[int, Field(ge=0, le=65_535)] = 8765
    """Port; 0 for a free one."""
    state: Path = Path("serve-state")
    """Folder of the registry, the sealed store and the first admin key."""
    roots: tuple[Path, ...] = ()
    """Folders below which runs may lie that are registered over HTTP; without any, none is."""
    device: str | None = None
    """Device of the computation; by default the first CUDA device, or the CPU."""
    host_bytes: Bytes | None = None
    """Bytes that versions may take in memory; by default no bound."""
    adapter_bytes: Bytes = 256 << 20
    """Bytes for adapters whose texts share passes."""
    cache_bytes: Annotated[int, Field(ge=0)] = 64 << 20
    """Bytes of lists that are kept."""
    wait_s: Seconds = 30.0
    """Seconds that texts and explanations wait for a version on the disk; lists wait `quotas.deadline_s` at most."""
    loaders: Annotated[int, Field(ge=1)] = 1
    """Versions that are loaded at the same time."""
    explainers: Annotated[int, Field(ge=1)] = 1
    """Threads that explain."""
    drain_s: Seconds = 30.0
    """Seconds that running requests have to end after SIGTERM."""
    named_tenants: Annotated[int, Field(ge=0, le=1_000)] = 20
    """Tenants that metrics name; the others are counted together as ``other``."""
    otlp: str | None = None
    """Where traces go, such as ``http://127.0.0.1:4318/v1/traces``; by default nowhere."""
    trust_remote_code: bool = False
    """Whether Python code that comes with the base may run, if a run's recipe asks for it."""
    bodies: BodyLimits = BodyLimits()
    """What a request may hold."""
    quotas: Quotas = Quotas()
    """What one tenant may ask for."""


def settings_of(file: Path | None = None, **given: Any) -> Settings:
    """Return settings.

    Args:
        file: YAML file with fields of `Settings`.
        given: Fields that go before those of the file and of the environment; None for one that was not given.

    Raises:
        InputError: If the file cannot be read, or a field is unknown or wrong.
    """
    told = {} if file is None else _told(file)
    _require_known(os.environ)

    class Merged(Settings):
        """Settings from all three places, block by block."""

        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            init_settings: PydanticBaseSettingsSource,
            env_settings: PydanticBaseSettingsSource,
            dotenv_settings: PydanticBaseSettingsSource,
            file_secret_settings: PydanticBaseSettingsSource,
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            return init_settings, env_settings, InitSettingsSource(settings_cls, told)

    try:
        return Merged(**{name: value for name, value in given.items() if value is not None})
    except ValidationError as error:
        where = "settings" if file is None else shown(file)
        raise InputError(f"{where}: {refused(error, Settings)}") from None


def _require_known(environment: Iterable[str]) -> None:
    """Refuse names in the environment that are no settings, which pydantic-settings leaves out without a word."""
    for name in environment:
        field = name.removeprefix(PREFIX).partition("__")[0].lower()
        if name.startswith(PREFIX) and field not in Settings.model_fields:
            raise InputError(
                f"{quoted(name)} in the environment is no setting: {nearest(field, Settings.model_fields)}"
            )


def _told(file: Path) -> dict[str, Any]:
    try:
        values = yaml.safe_load(read_regular(file, CONFIG_BYTES).decode("utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(f"{shown(file)}: no YAML that is read here ({one_line(error)})") from None
    if values is None:
        return {}
    if not isinstance(values, dict) or not all(isinstance(name, str) for name in values):
        raise InputError(f"{shown(file)}: holds no fields of settings")
    return values
