"""Push and pull over real HTTP with the genuine client: what comes back answers as the run, and users stay here."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hub_server import Fault, Hub, Repository
from people_run import PLACES, USERS

from llmrec_peft.artifact.fetched import fetch
from llmrec_peft.artifact.hub_name import HubName
from llmrec_peft.artifact.manifest import PRIVATE, read_manifest
from llmrec_peft.backbone.tensor_files import read_tensors
from llmrec_peft.errors import InputError
from llmrec_peft.hub import push as pushing
from llmrec_peft.hub.push import Choice, dry_run, push
from llmrec_peft.run.recommender import Recommender

FILMS = HubName("ann", "films")


def received(hub: Hub) -> bytes:
    """All bytes that the server got, contents of small files decoded."""
    found = list(hub.received)
    for body in hub.received:
        for line in body.splitlines():
            if line.startswith(b'{"key": "file"'):
                found.append(base64.b64decode(json.loads(line)["value"]["content"]))
    return b"\n".join(found)


def answers(run: Path, base: Recommender) -> tuple[Any, ...]:
    """Item vectors and cold-start recommendations of a run on the base of another one."""
    recommender = Recommender.from_pretrained(run, base=base)
    vectors = recommender.catalogue.vectors
    assert vectors is not None
    best = recommender.recommend(["nobody knows me"], 10)[0]
    return vectors.numpy().tobytes(), [item.item_id for item in best.items], recommender.item_vectors().vectors


def test_pulled_run_answers_as_the_pushed_one(hub: Hub, people_run: Path, tmp_path: Path) -> None:
    told = push(people_run, FILMS, Choice(items=True))
    found = fetch(FILMS, tmp_path / "run")
    assert found.manifest.digest == told["digest"] == read_manifest(tmp_path / "run").digest
    assert found.name.revision == told["commit"] == hub.repositories["ann/films"].branches["main"]
    run = Recommender.from_pretrained(people_run)
    one, other = answers(people_run, run), answers(tmp_path / "run", run)
    assert one[:2] == other[:2]
    np.testing.assert_array_equal(one[2], other[2])
    texts = ["a new lamp", "another one"]
    pulled = Recommender.from_pretrained(tmp_path / "run", base=run)
    assert pulled.encode(texts).equal(run.encode(texts))
    assert json.loads((tmp_path / "run" / "hub.json").read_text()) == {
        "repository": "ann/films",
        "commit": told["commit"],
    }


def test_stock_peft_loads_the_pulled_adapter(hub: Hub, people_run: Path, tiny_backbone: Path, tmp_path: Path) -> None:
    import torch
    from peft import PeftModel
    from transformers import AutoModel, AutoTokenizer

    push(people_run, FILMS, Choice(items=True))
    base = Recommender.from_pretrained(people_run)
    run = Recommender.from_pretrained(fetch(FILMS, tmp_path / "run").folder, base=base)
    model = PeftModel.from_pretrained(AutoModel.from_pretrained(tiny_backbone), tmp_path / "run").eval()
    batch = AutoTokenizer.from_pretrained(tiny_backbone)(list(run.items.texts), padding=True, return_tensors="pt")
    with torch.no_grad():
        states = model(**batch).last_hidden_state
    mask = batch["attention_mask"].unsqueeze(-1)
    pooled = torch.nn.functional.normalize((states * mask).sum(1) / mask.sum(1), dim=-1)
    vectors = run.catalogue.vectors
    assert vectors is not None
    torch.testing.assert_close(pooled, vectors.float(), atol=1e-5, rtol=1e-5)


def test_no_user_is_among_the_bytes_that_were_sent(hub: Hub, people_run: Path) -> None:
    push(people_run, FILMS, Choice(items=False))
    sent = received(hub)
    assert b"thing-007" in sent
    assert not [user for user in USERS if user.encode() in sent]
    assert not [place for place in (*PLACES, "Secret lamp", str(people_run.parent)) if place.encode() in sent]
    table = read_tensors(people_run / "signals.safetensors")["collaborative.folded.user"]
    assert not [row for row in table[1:] if row.numpy().tobytes() in sent]
    assert not hub.files("ann/films").keys() & set(PRIVATE)


def test_users_are_sent_on_request_and_interactions_never(hub: Hub, people_run: Path, tmp_path: Path) -> None:
    told = push(people_run, FILMS, Choice(users=True, items=True))
    assert "24 known users" in told["same"]
    assert all(user.encode() in received(hub) for user in USERS)
    assert not hub.files("ann/films").keys() & set(PRIVATE)
    assert fetch(FILMS, tmp_path / "run").manifest.private.keys() == {"seen.safetensors"}


def test_later_push_without_users_takes_what_is_left_of_them_away(hub: Hub, people_run: Path) -> None:
    push(people_run, FILMS, Choice(users=True, items=True))
    hub.change("ann/films", LICENSE=b"mine", seen__safetensors=b"by mistake")
    assert "learning.safetensors" in hub.files("ann/films")
    push(people_run, FILMS, Choice(items=True))
    files = hub.files("ann/films")
    assert not {"learning.safetensors", "seen.safetensors"} & files.keys()
    assert {"LICENSE", ".gitattributes"} <= files.keys()


def test_same_run_pushed_twice_is_one_commit(hub: Hub, people_run: Path) -> None:
    first = push(people_run, FILMS, Choice(items=True))
    again = push(people_run, FILMS, Choice(items=True))
    assert again["commit"] == first["commit"]


def test_dry_run_sends_nothing_and_says_what_is_left_out(hub: Hub, people_run: Path) -> None:
    told = dry_run(people_run, FILMS, Choice())
    assert not hub.requests
    assert told["bytes"] == sum(told["files"].values())
    assert not told["items"], "a shop's own catalogue is private"
    left = "\n".join(told["left_out"])
    assert all(word in left for word in ("interactions", "24 users", "30 items", "paths"))
    assert "ann/films" in told["card"]


def test_broken_connections_and_busy_servers_are_tried_again(hub: Hub, people_run: Path, tmp_path: Path) -> None:
    hub.faults += [
        Fault("POST", "/api/repos/create", status=503),
        Fault("GET", "/api/models/", times=2),
        Fault("POST", "preupload", status=502),
        Fault("PUT", "/upload/", times=3),
        Fault("POST", "/verify", status=500),
        Fault("POST", "/commit/", status=503),
        Fault("GET", "/cdn/", times=2, after=600),
    ]
    push(people_run, FILMS, Choice(items=True))
    assert not [fault for fault in hub.faults if fault.times]
    assert fetch(FILMS, tmp_path / "run").folder.is_dir()


def test_commit_whose_answer_got_lost_is_found_and_not_repeated(hub: Hub, people_run: Path) -> None:
    hub.faults.append(Fault("POST", "/commit/", late=True))
    told = push(people_run, FILMS, Choice(items=True))
    repository = hub.repositories["ann/films"]
    assert told["commit"] == repository.branches["main"]
    assert len(repository.commits) == 2


def test_half_an_upload_is_visible_to_nobody(hub: Hub, people_run: Path, tmp_path: Path) -> None:
    hub.faults.append(Fault("PUT", "/upload/", times=10**6, status=503))
    with pytest.raises(InputError, match=r"ann/films cannot be pushed: .*try again") as caught:
        push(people_run, FILMS, Choice(items=True))
    assert "\n" not in str(caught.value)
    assert hub.files("ann/films").keys() == {".gitattributes"}
    hub.faults.clear()
    push(people_run, FILMS, Choice(items=True))
    assert fetch(FILMS, tmp_path / "run").folder.is_dir()


def test_somebody_elses_commit_meanwhile_is_not_overwritten(hub: Hub, people_run: Path, monkeypatch: Any) -> None:
    push(people_run, FILMS, Choice(items=True))
    from llmrec_peft.hub import upload as uploading

    before = uploading._operations

    def meanwhile(folder: Path, there: set[str]) -> Any:
        hub.change("ann/films", README__md=b"somebody else's")
        return before(folder, there)

    monkeypatch.setattr(uploading, "_operations", meanwhile)
    with pytest.raises(InputError, match=r"status 412: somebody else changed the repository meanwhile"):
        push(people_run, FILMS, Choice(users=True, items=True))
    assert hub.files("ann/films")["README.md"] == b"somebody else's"


def test_what_comes_back_changed_is_an_error_that_names_it(hub: Hub, people_run: Path, monkeypatch: Any) -> None:
    uploaded = pushing.upload

    def spoiled(*arguments: Any) -> Any:
        made = uploaded(*arguments)
        content = bytearray(hub.files("ann/films")["item_vectors.safetensors"])
        content[-1] ^= 1
        commit = hub.change("ann/films", item_vectors__safetensors=bytes(content))
        return type(made)(FILMS.at(commit), made.url)

    monkeypatch.setattr(pushing, "upload", spoiled)
    with pytest.raises(InputError, match=r"item_vectors\.safetensors is not what the run wrote"):
        push(people_run, FILMS, Choice(items=True))


def test_private_repository_is_made_and_a_public_one_refused(hub: Hub, people_run: Path) -> None:
    push(people_run, FILMS, Choice(items=True, private=True))
    assert hub.repositories["ann/films"].private
    hub.repositories["ann/open"] = Repository()
    before = hub.repositories["ann/open"].commit({".gitattributes": b""})
    with pytest.raises(InputError, match=r"ann/open is there already and public"):
        push(people_run, HubName("ann", "open"), Choice(items=True, private=True))
    assert hub.repositories["ann/open"].branches["main"] == before


def test_branch_is_made_and_the_main_branch_stays(hub: Hub, people_run: Path, tmp_path: Path) -> None:
    push(people_run, HubName("ann", "films", "try/1"), Choice(items=True))
    assert hub.files("ann/films").keys() == {".gitattributes"}
    assert fetch(HubName("ann", "films", "try/1"), tmp_path / "run").folder.is_dir()
    with pytest.raises(InputError, match=r"a commit cannot be pushed to"):
        push(people_run, FILMS.at("0" * 40), Choice())


def test_push_without_login_or_network_is_refused_in_one_line(
    hub: Hub, people_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    monkeypatch.setenv("HF_TOKEN", "hf_of_somebody_else")
    with pytest.raises(InputError, match=r"ann/films cannot be pushed: .*401.*hf auth login") as caught:
        push(people_run, FILMS, Choice(items=True))
    assert "hf_of_somebody_else" not in str(caught.value)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(InputError, match=r"HF_HUB_OFFLINE is set"):
        push(people_run, FILMS, Choice(items=True))


def test_signature_is_made_before_the_upload_and_verified_after_it(hub: Hub, people_run: Path) -> None:
    def sign(folder: Path) -> None:
        (folder / "model.sig").write_text(f"signed {(folder / 'manifest.json').stat().st_size}")

    def verify(folder: Path) -> None:
        seen.append((folder / "model.sig").read_text())

    seen: list[str] = []
    push(people_run, FILMS, Choice(items=True, sign=sign, verify=verify))
    assert seen == [hub.files("ann/films")["model.sig"].decode()]


def test_pulled_run_finds_its_base_by_name_and_refuses_another(
    hub: Hub, people_run: Path, tiny_run: Path, tiny_backbone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    push(people_run, FILMS, Choice(items=True))
    monkeypatch.chdir(tmp_path)
    pulled = Recommender.from_pretrained("ann/films", revision="main")
    with pytest.raises(InputError, match=r"is no alias, no folder and no Hub id"):
        pulled.encode(["a lamp"])
    (tmp_path / tiny_backbone.name).symlink_to(tiny_backbone)
    vectors = Recommender.from_pretrained("ann/films").encode(["a lamp"])
    assert vectors.equal(Recommender.from_pretrained(people_run).encode(["a lamp"]))
    with pytest.raises(InputError, match=r"compute is bf16, not fp32"):
        Recommender.from_pretrained("ann/films", base=Recommender.from_pretrained(tiny_run))


def test_recommender_pushes_itself_and_comes_back_by_its_name(hub: Hub, people_run: Path) -> None:
    from llmrec_peft import Recommender as Promised

    told = Promised.from_pretrained(people_run).push_to_hub("ann/films", private=True, include_items=True)
    assert hub.repositories["ann/films"].private
    pulled = Promised.from_pretrained("ann/films", revision=told["commit"])
    assert pulled.manifest is not None
    assert pulled.manifest.digest == told["digest"]
