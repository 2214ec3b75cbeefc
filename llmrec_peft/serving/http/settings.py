"""Settings: what an operator decides about a server, from the command line, the environment and a file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from llmrec_peft.errors import InputError
from llmrec_peft.printable import one_line, shown
from llmrec_peft.regular_files import read_regular

CONFIG_BYTES = 1 << 20
Bytes = Annotated[int, Field(ge=1)]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class BodyLimits(BaseModel):
    """What a request may hold.

    Attributes:
        body_bytes: Bytes of a body.
        body_s: Seconds in which a body has to arrive.
        depth: How deep arrays and objects may lie in each other.
        users: Users of one request.
        pairs: Pairs of one request.
        items: New items of one request.
        events: Events of one request.
        k: Items of one list.
        id_chars: Characters of a user's or item's id.
        text_chars: Characters of all texts of one new item.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    body_bytes: Bytes = 1 << 20
    body_s: Seconds = 10.0
    depth: Annotated[int, Field(ge=2, le=32)] = 16
    users: Annotated[int, Field(ge=1)] = 256
    pairs: Annotated[int, Field(ge=1)] = 10_000
    items: Annotated[int, Field(ge=1)] = 512
    events: Annotated[int, Field(ge=1)] = 5_000
    k: Annotated[int, Field(ge=1)] = 1_000
    id_chars: Annotated[int, Field(ge=1)] = 512
    text_chars: Annotated[int, Field(ge=1)] = 20_000


class Quotas(BaseModel):
    """What one tenant may ask for, and what may wait.

    Attributes:
        requests: Requests of a tenant, as ``limits`` writes rates, such as ``200/second``.
        texts: New items of a tenant.
        explanations: Explanations of a tenant.
        waiting_requests: Requests of one tenant that wait, at most.
        waiting_tokens: Tokens of text of all tenants that wait, at most, by an estimate.
        waiting_tenant_tokens: Those of one tenant.
        deadline_s: Seconds after which a request that still waits gets an error.
        text_deadline_s: The same for requests whose texts the language model reads.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    requests: str = "500/second"
    texts: str = "200/second"
    explanations: str = "10/second"
    waiting_requests: Annotated[int, Field(ge=1)] = 256
    waiting_tokens: Annotated[int, Field(ge=1)] = 400_000
    waiting_tenant_tokens: Annotated[int, Field(ge=1)] = 100_000
    deadline_s: Seconds = 5.0
    text_deadline_s: Seconds = 30.0


class Settings(BaseSettings):
    """Settings of a server; ``LLMREC_SERVE_…`` in the environment go before the file, arguments before both.

    Attributes:
        host: Address to listen on; 127.0.0.1 is this machine alone.
        port: Port; 0 for a free one.
        state: Folder of the registry, the sealed store and the first admin key.
        roots: Folders below which runs may lie that are registered over HTTP; without any, none is.
        device: Device of the computation; by default the first CUDA device, or the CPU.
        host_bytes: Bytes that versions may take in memory; by default no bound.
        adapter_bytes: Bytes for adapters whose texts share passes.
        cache_bytes: Bytes of lists that are kept.
        wait_s: Seconds that a request waits for a version that is not in memory.
        loaders: Versions that are loaded at the same time.
        explainers: Threads that explain.
        drain_s: Seconds that running requests have to end after SIGTERM.
        named_tenants: Tenants that metrics name; the others are counted together as ``other``.
        otlp: Where traces go, such as ``http://127.0.0.1:4318/v1/traces``; by default nowhere.
        trust_remote_code: Whether Python code that comes with the base may run, if a run's recipe asks for it.
        bodies: What a request may hold.
        quotas: What one tenant may ask for.
    """

    model_config = SettingsConfigDict(
        env_prefix="LLMREC_SERVE_",
        env_nested_delimiter="__",
        extra="forbid",
        frozen=True,
        nested_model_default_partial_update=True,
    )

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65_535)] = 8765
    state: Path = Path("serve-state")
    roots: tuple[Path, ...] = ()
    device: str | None = None
    host_bytes: Bytes | None = None
    adapter_bytes: Bytes = 256 << 20
    cache_bytes: Annotated[int, Field(ge=0)] = 64 << 20
    wait_s: Seconds = 30.0
    loaders: Annotated[int, Field(ge=1)] = 1
    explainers: Annotated[int, Field(ge=1)] = 1
    drain_s: Seconds = 30.0
    named_tenants: Annotated[int, Field(ge=0, le=1_000)] = 20
    otlp: str | None = None
    trust_remote_code: bool = False
    bodies: BodyLimits = BodyLimits()
    quotas: Quotas = Quotas()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Take arguments and the environment; a file comes as arguments, see `settings_of`."""
        return init_settings, env_settings


def settings_of(file: Path | None = None, **given: Any) -> Settings:
    """Return settings.

    Args:
        file: YAML file with fields of `Settings`.
        given: Fields that go before those of the file and of the environment; None for one that was not given.

    Raises:
        InputError: If the file cannot be read, or a field is unknown or wrong.
    """
    told = {} if file is None else _told(file)
    given = {name: value for name, value in given.items() if value is not None}
    try:
        environment = Settings().model_dump(exclude_unset=True)
        return Settings(**told | environment | given)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InputError(f"{'settings' if file is None else shown(file)}: {where}: {one_line(first['msg'])}") from None


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
