"""Signed runs over real HTTP: a pushed signature is verified by whoever pulls, and what was changed is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from hub_server import Hub
from huggingface_hub import ModelCard
from signed_runs import Keys, write_keys

from llmrec_peft.artifact.fetched import fetch
from llmrec_peft.artifact.hub_name import HubName
from llmrec_peft.artifact.signature import signed_by, verify
from llmrec_peft.errors import InputError
from llmrec_peft.hub.push import Choice, push
from llmrec_peft.hub.signing import Signer

FILMS = HubName("ann", "films")


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    return write_keys(tmp_path)


def signed(run: Path, keys: Keys) -> None:
    signer = Signer.of(keys.private)
    push(run, FILMS, Choice(items=True).signed_by(signer))


def refusal(target: Path, key: Path) -> str:
    with pytest.raises(InputError) as refused:
        fetch(FILMS, target, verify=signed_by(key))
    assert not target.exists()
    return str(refused.value)


def test_a_signed_run_is_pulled_verified_and_verified_again(
    hub: Hub, people_run: Path, keys: Keys, tmp_path: Path
) -> None:
    signed(people_run, keys)
    found = fetch(FILMS, tmp_path / "run", verify=signed_by(keys.public))
    assert set(verify(found.folder, keys.public).files) == hub.files("ann/films").keys() - {
        "model.sig",
        ".gitattributes",
    }


def test_what_was_changed_on_the_hub_is_refused_and_nothing_is_written(
    hub: Hub, people_run: Path, keys: Keys, tmp_path: Path
) -> None:
    signed(people_run, keys)
    hub.change("ann/films", README__md=b"# buy this\n")
    told = refusal(tmp_path / "run", keys.public)
    assert told.endswith("README.md changed; nothing was written")
    assert str(tmp_path) not in told
    hub.change("ann/films", model__sig=None)
    assert "is not signed" in refusal(tmp_path / "run", keys.public)


def test_a_run_of_another_signer_is_refused(hub: Hub, people_run: Path, keys: Keys, tmp_path: Path) -> None:
    signed(people_run, keys)
    other = write_keys(tmp_path, "other")
    assert "was signed with another key" in refusal(tmp_path / "run", other.public)


def test_an_extra_pickle_is_never_loaded(hub: Hub, people_run: Path, keys: Keys, tmp_path: Path) -> None:
    signed(people_run, keys)
    hub.change("ann/films", pytorch_model__bin=b"\x80\x04.")
    found = fetch(FILMS, tmp_path / "run", verify=signed_by(keys.public))
    assert not (found.folder / "pytorch_model.bin").exists()
    assert any("pytorch_model.bin" in line for line in found.notes)


def test_the_published_card_is_one_of_the_hub(hub: Hub, people_run: Path, keys: Keys) -> None:
    signed(people_run, keys)
    card = ModelCard(hub.files("ann/films")["README.md"].decode())
    assert card.data.eval_results
    assert card.data.license == "unknown"
    assert "--verify KEY" in card.text
    assert str(people_run.parent) not in str(card)


def test_a_recommender_signs_what_it_pushes_and_verifies_what_it_loads(
    hub: Hub, people_run: Path, keys: Keys, tmp_path: Path
) -> None:
    from llmrec_peft import Recommender

    own = Recommender.from_pretrained(people_run)
    told = own.push_to_hub("ann/films", include_items=True, licence="mit", sign=keys.private)
    assert ModelCard(hub.files("ann/films")["README.md"].decode()).data.license == "mit"
    pulled = Recommender.from_pretrained("ann/films", verify=str(keys.public))
    assert pulled.manifest is not None
    assert pulled.manifest.digest == told["digest"]
    (tmp_path / "other").mkdir()
    others = write_keys(tmp_path / "other")
    with pytest.raises(InputError, match="other key"):
        Recommender.from_pretrained("ann/films", verify=others.public)
    with pytest.raises(InputError, match="is not signed"):
        Recommender.from_pretrained(people_run, verify=keys.public)
    with pytest.raises(InputError, match="PEM"):
        Recommender.from_pretrained("ann/films", verify=people_run / "recipe.yaml")


def test_a_run_that_takes_the_place_of_a_verified_one_before_it_is_read_is_refused(
    hub: Hub, people_run: Path, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    from llmrec_peft import Recommender
    from llmrec_peft.run import recommender

    signed(people_run, keys)
    read = recommender.read_tenant
    monkeypatch.setattr(recommender, "read_tenant", lambda folder, *rest: read(people_run, *rest))
    with pytest.raises(InputError, match="was replaced after its signature had been verified"):
        Recommender.from_pretrained("ann/films", verify=keys.public)
