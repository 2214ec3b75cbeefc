"""Fetched runs: what the Hub hands out becomes a run folder whole and verified, or nothing at all."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from hub_server import Fault, Hub, Repository

from llmrec_peft.artifact import hub_calls
from llmrec_peft.artifact.fetched import fetch, fetched_once, run_folder
from llmrec_peft.artifact.hub_name import HubName
from llmrec_peft.artifact.lineage import Lineage, Published, Step, write_lineage
from llmrec_peft.artifact.manifest import make_manifest, read_manifest, write_json
from llmrec_peft.artifact.sealed import SealedFolder
from llmrec_peft.errors import InputError
from llmrec_peft.run.recommender import Recommender

FILMS = HubName("ann", "films")
BASE: dict[str, str | None] = {"weights_sha256": "0" * 64}


def write_run(folder: Path, size: int = 5000, plugins: dict[str, str] | None = None) -> Path:
    """Write the files of a run that nobody can load, and that can be fetched."""
    folder.mkdir()
    (folder / "adapter_model.safetensors").write_bytes(bytes(range(256)) * (size // 256))
    (folder / "recipe.yaml").write_text("name: made up\n")
    write_json(folder / "metrics.json", {"recipe": "made up"})
    told = Published(users=False, items=True, plugins=plugins or {})
    write_lineage(
        folder / "lineage.json",
        Lineage(steps=(Step(recipe="made up", data="0", users=0, items=3, learned=9, published=told),)),
    )
    (folder / "README.md").write_text("# made up\n")
    write_json(folder / "manifest.json", make_manifest(folder, BASE, "0").model_dump(mode="json"))
    return folder


def publish(hub: Hub, run: Path) -> str:
    """Put the files of a folder on the server; returns the commit."""
    files = {path.name: path.read_bytes() for path in run.iterdir()}
    repository = hub.repositories.setdefault("ann/films", Repository())
    return repository.commit({".gitattributes": b"", **files})


def nothing_left(target: Path) -> bool:
    """Whether neither a folder nor a part of one was left."""
    return not list(target.parent.glob(f"*{target.name}*"))


@pytest.fixture
def run(hub: Hub, tmp_path: Path) -> Path:
    """A published run."""
    run = write_run(tmp_path / "written")
    publish(hub, run)
    return run


def test_fetched_run_is_the_published_one_at_the_commit_of_the_branch(hub: Hub, run: Path, tmp_path: Path) -> None:
    commit = hub.repositories["ann/films"].branches["main"]
    found = fetch(FILMS, tmp_path / "got")
    assert found.name == FILMS.at(commit)
    assert json.loads((tmp_path / "got" / "hub.json").read_text()) == {"repository": "ann/films", "commit": commit}
    assert found.manifest == read_manifest(tmp_path / "got")
    assert not [path for path in (tmp_path / "got").iterdir() if path.is_symlink()]
    assert SealedFolder.open(tmp_path / "got").surplus() is None
    asked = {one.split("/")[4] for one in hub.asked("(GET|HEAD)", "/resolve/")}
    assert asked == {"main", commit}
    assert not [one for one in hub.asked("(GET|HEAD)", "/resolve/main/") if not one.endswith("manifest.json")]


def test_run_moves_on_and_a_pinned_commit_stays(hub: Hub, run: Path, tmp_path: Path) -> None:
    first = hub.repositories["ann/films"].branches["main"]
    (tmp_path / "second").mkdir()
    publish(hub, write_run(tmp_path / "second" / "run", size=9000))
    assert fetch(FILMS, tmp_path / "new").manifest.digest != read_manifest(run).digest
    assert fetch(FILMS.at(first), tmp_path / "old").manifest.digest == read_manifest(run).digest
    fetch(FILMS, tmp_path / "old", overwrite=True)
    assert read_manifest(tmp_path / "old").digest == read_manifest(tmp_path / "new").digest


@pytest.mark.parametrize("name", ["evil.pkl", "run.py", "adapter_model.bin", "seen.safetensors", "logs/../x.txt"])
def test_other_files_are_named_and_never_loaded(hub: Hub, run: Path, tmp_path: Path, name: str) -> None:
    hub.repositories["ann/films"].commit({**hub.files("ann/films"), name: b"import os"})
    found = fetch(FILMS, tmp_path / "got")
    assert any(repr(name) in line and "not fetched" in line for line in found.notes)
    assert not hub.asked("GET", name) + hub.asked("HEAD", name)
    assert read_manifest(tmp_path / "got").digest == read_manifest(run).digest


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("adapter_model.safetensors", r"adapter_model\.safetensors is not what the run wrote"),
        ("recipe.yaml", r"recipe\.yaml is not what the run wrote"),
        ("metrics.json", r"metrics\.json is not what the run wrote"),
        ("manifest.json", r"is no run that can be pulled"),
    ],
)
def test_changed_file_is_refused_and_nothing_is_left(
    hub: Hub, run: Path, tmp_path: Path, file: str, message: str
) -> None:
    content = hub.files("ann/films")[file]
    hub.change("ann/films", **{file.replace(".", "__"): content[:-3] + b"999"})
    with pytest.raises(InputError, match=message) as caught:
        fetch(FILMS, tmp_path / "got")
    assert "\n" not in str(caught.value)
    assert nothing_left(tmp_path / "got")


def test_manifest_that_lies_is_refused(hub: Hub, run: Path, tmp_path: Path) -> None:
    told = json.loads((run / "manifest.json").read_text())
    for changed in (
        {**told, "digest": "f" * 64},
        {**told, "files": {**told["files"], "../../evil.safetensors": "0" * 64}},
        {**told, "files": {**told["files"], "evil.pkl": "0" * 64}},
        {**told, "base": {}},
    ):
        hub.change("ann/films", manifest__json=json.dumps(changed).encode())
        with pytest.raises(InputError, match=r"ann/films@[0-9a-f]{40} is no run that can be pulled"):
            fetch(FILMS, tmp_path / "got")
        assert nothing_left(tmp_path / "got")
    assert not hub.asked("GET", "evil")


def test_file_that_the_manifest_lists_and_the_repository_lacks_is_named(hub: Hub, run: Path, tmp_path: Path) -> None:
    hub.change("ann/films", adapter_model__safetensors=None)
    with pytest.raises(InputError, match=r"adapter_model\.safetensors is missing"):
        fetch(FILMS, tmp_path / "got")
    hub.change("ann/films", manifest__json=None)
    with pytest.raises(InputError, match=r"manifest\.json cannot be pulled: the repository has no such file"):
        fetch(FILMS, tmp_path / "got")


def test_size_is_bounded_before_anything_is_loaded(hub: Hub, run: Path, tmp_path: Path) -> None:
    hub.sizes["recipe.yaml"] = 2 << 20
    with pytest.raises(InputError, match=r"recipe\.yaml has 2,097,152 bytes, more than the 1,048,576"):
        fetch(FILMS, tmp_path / "got")
    assert not hub.asked("GET", "recipe.yaml")
    assert nothing_left(tmp_path / "got")


@pytest.mark.parametrize("file", ["recipe.yaml", "manifest.json", "README.md"])
def test_size_is_bounded_while_it_is_loaded(hub: Hub, run: Path, tmp_path: Path, file: str) -> None:
    hub.endless.add(file)
    with pytest.raises(InputError, match=rf"{file}: more than the 1,048,576 bytes that such a file can have were sent"):
        fetch(FILMS, tmp_path / "got")
    assert nothing_left(tmp_path / "got")
    kept = [path for path in (tmp_path / "hub-cache").rglob("*") if path.is_file()]
    assert max((path.stat().st_size for path in kept), default=0) <= 1 << 20


def test_download_goes_on_where_it_broke_off(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 1 << 16)
    publish(hub, write_run(tmp_path / "run", size=1 << 20))
    hub.faults.append(Fault("GET", "/cdn/", times=2, after=300_000))
    fetch(FILMS, tmp_path / "got")
    resumed = [one for one in hub.asked("GET", "/cdn/") if "bytes=" in one]
    assert [one.rpartition(" ")[2] for one in resumed] == ["bytes=262144-", "bytes=524288-"]


def test_files_that_were_loaded_are_kept_for_the_next_try(hub: Hub, run: Path, tmp_path: Path) -> None:
    hub.faults.append(Fault("GET", "/resolve/.*/lineage.json", times=10**6, status=403))
    with pytest.raises(InputError, match=r"lineage\.json cannot be pulled: the Hub answers with status 403"):
        fetch(FILMS, tmp_path / "got")
    assert nothing_left(tmp_path / "got")
    hub.faults.clear()
    asked = len(hub.requests)
    fetch(FILMS, tmp_path / "got")
    later = hub.requests[asked:]
    assert [one for one in later if "lineage.json" in one]
    assert not [one for one in later if "adapter_model" in one or "/cdn/" in one]


def test_run_in_the_cache_answers_without_network(
    hub: Hub, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    hub.change("ann/films", model__sig=b"signed")
    commit = fetched_once(FILMS).name.revision
    asked = len(hub.requests)
    assert fetched_once(HubName("ann", "films", commit)).folder.is_dir()
    assert len(hub.requests) == asked, "a commit that is there is not asked for"
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert fetched_once(FILMS).name.revision == commit
    assert fetch(FILMS, tmp_path / "copy").manifest.digest == read_manifest(run).digest
    assert (tmp_path / "copy" / "model.sig").read_bytes() == b"signed"
    assert len(hub.requests) == asked
    with pytest.raises(InputError, match=r"HF_HUB_OFFLINE is set and it is not in the cache"):
        fetched_once(HubName("ann", "others"))


@pytest.fixture
def nowhere(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Lead the client to an address at which nothing listens."""

    def lead() -> None:
        from huggingface_hub import constants

        address = "http://127.0.0.1:9"
        monkeypatch.setattr(constants, "ENDPOINT", address)
        template = address + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)

    return lead


def test_hub_that_cannot_be_reached_is_told_in_one_line(hub: Hub, tmp_path: Path, nowhere: Callable[[], None]) -> None:
    nowhere()
    with pytest.raises(InputError, match=r"127\.0\.0\.1:9 cannot be reached \(.*\): connect to the network") as caught:
        fetch(FILMS, tmp_path / "got")
    assert "\n" not in str(caught.value)
    assert nothing_left(tmp_path / "got")


def test_cache_has_to_do_where_the_hub_cannot_be_reached(
    hub: Hub, run: Path, tmp_path: Path, nowhere: Callable[[], None], capsys: pytest.CaptureFixture[str]
) -> None:
    before = fetch(FILMS, tmp_path / "before")
    nowhere()
    assert fetch(FILMS, tmp_path / "after").name == before.name
    assert "the commit of it in the cache is taken" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (HubName("ann", "nothing"), r"the Hub knows no such repository, or it is private.*hf auth login"),
        (HubName("ann", "films", "v9"), r"the Hub knows the repository, and no such revision of it"),
        (HubName("ann", "films", "0" * 40), r"the Hub knows the repository, and no such revision of it"),
    ],
)
def test_what_the_hub_does_not_have_is_told(hub: Hub, run: Path, tmp_path: Path, name: HubName, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        fetch(name, tmp_path / "got")
    assert "\n" not in str(caught.value)


def test_private_repository_takes_the_token_of_the_environment(
    hub: Hub, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.repositories["ann/films"].private = True
    monkeypatch.setenv("HF_TOKEN", "hf_of_somebody_else")
    with pytest.raises(InputError, match=r"no such repository, or it is private"):
        fetch(FILMS, tmp_path / "got")
    monkeypatch.setenv("HF_TOKEN", "hf_made_up")
    assert fetch(FILMS, tmp_path / "got").folder.is_dir()


def test_busy_server_is_asked_again(hub: Hub, run: Path, tmp_path: Path) -> None:
    hub.faults += [Fault("HEAD", "manifest", status=503), Fault("GET", "/api/models/", times=2, status=500)]
    hub.faults.append(Fault("GET", "/api/models/"))
    assert fetch(FILMS, tmp_path / "got").folder.is_dir()
    assert not [fault for fault in hub.faults if fault.times]


def test_refused_signature_leaves_nothing(hub: Hub, run: Path, tmp_path: Path) -> None:
    hub.change("ann/films", model__sig=b"signed")

    def refused(folder: Path) -> None:
        assert (folder / "model.sig").read_bytes() == b"signed"
        raise InputError("the signature is not that of the key")

    with pytest.raises(InputError, match=r"the signature is not that of the key"):
        fetch(FILMS, tmp_path / "got", verify=refused)
    assert nothing_left(tmp_path / "got")
    fetched_once(FILMS)
    with pytest.raises(InputError, match=r"the signature is not that of the key"):
        fetched_once(FILMS, verify=refused)


def test_plugin_that_is_missing_is_named_with_its_package(hub: Hub, tmp_path: Path) -> None:
    publish(hub, write_run(tmp_path / "run", plugins={"adapters hra\x1b[2J": "my-plugins 1.0", "heads rating": "x 1"}))
    notes = fetch(FILMS, tmp_path / "got").notes
    assert len(notes) == 1
    assert "my-plugins 1.0" in notes[0]
    assert "no installed package provides" in notes[0]
    assert notes[0].isprintable()


def test_target_that_is_there_is_refused_before_anything_is_asked(hub: Hub, run: Path, tmp_path: Path) -> None:
    (tmp_path / "got").mkdir()
    (tmp_path / "got" / "mine.txt").write_text("mine")
    for overwrite in (False, True):
        with pytest.raises(InputError):
            fetch(FILMS, tmp_path / "got", overwrite)
    assert not hub.requests
    assert [path.name for path in (tmp_path / "got").iterdir()] == ["mine.txt"]


def test_path_that_is_there_wins_and_a_mistyped_one_asks_nobody(
    hub: Hub, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for _ in range(2):  # also where it is in the cache already
        folder = run_folder("ann/films")
        assert folder.parent.name == "ann--films"
        told = " ".join(capsys.readouterr().err.split())
        assert f"there is no folder ann/films here: the run is that of the Hub, ann/films@{folder.name}" in told
    (tmp_path / "ann" / "films").mkdir(parents=True)
    asked = len(hub.requests)
    assert run_folder("ann/films") == Path("ann/films")
    assert run_folder("ann/fimls") == Path("ann/fimls")
    assert run_folder("x" * 5000) == Path("x" * 5000)
    with pytest.raises(InputError, match=r"there is no folder bob/films here, and bob/films cannot be pulled"):
        run_folder("bob/films")
    asked = len(hub.requests)
    with pytest.raises(InputError, match=r"ann/films is a path here, which has no revisions"):
        run_folder("ann/films", "v1")
    with pytest.raises(InputError, match=r"no run folder ann/fimls"):
        Recommender.from_pretrained("ann/fimls")
    assert len(hub.requests) == asked


def test_calls_are_not_repeated_where_it_is_of_no_use(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    from httpx import ConnectError, ReadTimeout

    waits: list[float] = []
    monkeypatch.setattr(hub_calls, "time", SimpleNamespace(sleep=waits.append))
    for error, calls in ((ConnectError("refused"), 1), (ReadTimeout("slow"), hub_calls.TRIES)):
        made: list[int] = []

        def call(error: Exception = error, made: list[int] = made) -> None:
            made.append(1)
            raise error

        with pytest.raises(type(error)):
            hub_calls.tried(call)
        assert len(made) == calls
    assert waits == [0.5, 1.0, 2.0]
