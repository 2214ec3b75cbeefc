"""Keys: random, kept as digests, ended by the clock, and rotated without a gap."""

from __future__ import annotations

import base64
import threading
import time

import pytest

from llmrec_peft.errors import InputError
from llmrec_peft.serving.http.gate import keyring as keyring_module
from llmrec_peft.serving.http.gate.keyring import Caller, KeyRing
from llmrec_peft.serving.http.gate.keys import StoredKey, key_id_of, new_key


class Clocks:
    """Both clocks of a process, set by hand."""

    def __init__(self) -> None:
        self.wall, self.steady = 1_000_000.0, 50.0

    def time(self) -> float:
        return self.wall

    def monotonic(self) -> float:
        return self.steady

    def passes(self, seconds: float) -> None:
        """Let time pass by both clocks."""
        self.wall += seconds
        self.steady += seconds


@pytest.fixture
def clocks(monkeypatch: pytest.MonkeyPatch) -> Clocks:
    """Clocks that stand still."""
    clocks = Clocks()
    monkeypatch.setattr(keyring_module, "time", clocks)
    return clocks


def ring_with(*keys: StoredKey) -> KeyRing:
    """A ring with some keys."""
    ring = KeyRing()
    for key in keys:
        ring.put(key)
    return ring


def test_a_key_is_found_by_its_text_and_by_nothing_that_is_kept_of_it() -> None:
    text, key = new_key("a", ["ask"])
    assert ring_with(key).find(text) == Caller(key.key_id, "a", frozenset(["ask"]))
    assert text not in repr(key)
    assert repr(key.digest) not in repr(key)
    assert text[16:] not in str(vars(key))


def test_a_key_has_256_random_bits_behind_its_public_name() -> None:
    texts = [new_key("a", ["ask"])[0] for _ in range(200)]
    assert all(text.startswith(f"llmrec_{key_id_of(text)}_") for text in texts)
    assert {len(base64.urlsafe_b64decode(text[16:] + "=")) for text in texts} == {32}
    assert len({text[16:] for text in texts}) == 200


@pytest.mark.parametrize(
    "text", ["", "llmrec_", "llmrec_00000000_", " ", "\n", "a" * 100_000, "llmrec_0000000g_" + "a" * 43, "é" * 59]
)
def test_a_text_that_is_no_key_is_nobodys(text: str) -> None:
    assert key_id_of(text) is None
    assert ring_with(new_key("a", ["ask"])[1]).find(text) is None


def test_a_key_that_differs_in_one_character_is_nobodys() -> None:
    text, key = new_key("a", ["ask"])
    ring = ring_with(key)
    for place in range(len(text)):
        other = "A" if text[place] != "A" else "B"
        assert ring.find(text[:place] + other + text[place + 1 :]) is None
    assert ring.find(text + "\n") is None
    assert ring.find(text.upper()) is None


def test_an_unknown_key_is_hashed_and_compared_like_a_known_one(monkeypatch: pytest.MonkeyPatch) -> None:
    text, key = new_key("a", ["ask"])
    compared: list[tuple[int, int]] = []

    def noted(one: bytes, other: bytes) -> bool:
        compared.append((len(one), len(other)))
        return one == other

    monkeypatch.setattr(keyring_module.hmac, "compare_digest", noted)
    ring = ring_with(key)
    assert ring.find(text) is not None
    assert ring.find(new_key("a", ["ask"])[0]) is None
    assert ring.find(text[:-1] + ("a" if text[-1] != "a" else "b")) is None
    assert compared == [(32, 32)] * 3


def test_a_key_ends_by_the_wall_clock(clocks: Clocks) -> None:
    text, key = new_key("a", ["ask"], expires=clocks.wall + 60)
    ring = ring_with(key)
    clocks.passes(59.9)
    assert ring.find(text) is not None
    clocks.passes(0.1)
    assert ring.find(text) is None
    assert ring.of("a") == []


def test_a_clock_that_is_set_back_revives_no_key_that_was_found_to_have_ended(clocks: Clocks) -> None:
    text, key = new_key("a", ["ask"], expires=clocks.wall + 60)
    ring = ring_with(key)
    clocks.wall += 3600
    assert ring.find(text) is None
    clocks.wall -= 3600
    assert ring.find(text) is None


def test_a_clock_that_is_set_back_gives_a_key_no_longer_life(clocks: Clocks) -> None:
    text, key = new_key("a", ["ask"], expires=clocks.wall + 60)
    ring = ring_with(key)
    clocks.wall -= 3600
    clocks.passes(59)
    assert ring.find(text) is not None
    clocks.passes(1)
    assert ring.find(text) is None, "nobody showed it meanwhile"


def test_ending_a_key_after_the_clock_was_set_back_does_not_prolong_it(clocks: Clocks) -> None:
    text, key = new_key("a", ["ask"], expires=clocks.wall + 60)
    ring = ring_with(key)
    clocks.wall -= 3600
    ring.end(key.key_id, clocks.wall + 3600 + 30)
    clocks.passes(60)
    assert ring.find(text) is None


def test_keys_are_rotated_without_a_gap(clocks: Clocks) -> None:
    (old, old_key), (new, next_key) = new_key("a", ["ask"]), new_key("a", ["ask"])
    ring = ring_with(old_key)
    ring.put(next_key)
    ring.end(old_key.key_id, clocks.wall + 600)
    assert ring.find(old) is not None
    assert ring.find(new) is not None
    assert [one.expires for one in ring.of("a")] == [clocks.wall + 600, None]
    clocks.passes(600)
    assert ring.find(old) is None
    assert ring.find(new) is not None


def test_the_end_of_a_key_never_moves_away(clocks: Clocks) -> None:
    text, key = new_key("a", ["ask"], expires=clocks.wall + 60)
    ring = ring_with(key)
    ring.end(key.key_id, clocks.wall + 6000)
    ring.end("00000000", clocks.wall)
    clocks.passes(61)
    assert ring.find(text) is None


def test_a_key_is_ended_at_once(clocks: Clocks) -> None:
    text, key = new_key("a", ["ask"])
    ring = ring_with(key)
    ring.end(key.key_id, 0.0)
    assert ring.find(text) is None
    assert ring.of("a") == []


def test_a_key_that_ended_before_it_was_put_is_not_kept() -> None:
    text, key = new_key("a", ["ask"], expires=time.time() - 1)
    assert ring_with(key).find(text) is None


def test_two_keys_with_one_public_name_are_refused() -> None:
    text, key = new_key("a", ["ask"])
    ring = ring_with(key, key)
    with pytest.raises(InputError, match="make a new one"):
        ring.put(StoredKey(key.key_id, bytes(32), "b", key.scopes, key.created))
    assert ring.find(text) == Caller(key.key_id, "a", frozenset(["ask"]))


def test_a_key_allows_its_own_tenant_and_scopes_and_an_admin_key_everything() -> None:
    caller, admin = Caller("0" * 8, "a", frozenset(["ask"])), Caller("1" * 8, None, frozenset())
    assert caller.may("a", "ask")
    assert not caller.may("a", "write")
    assert not caller.may("b", "ask")
    assert not caller.may("A", "ask")
    assert admin.may("a", "manage")
    assert admin.may("nobody", "ask")


def test_keys_of_a_tenant_are_listed_apart_from_those_of_others_and_of_admins() -> None:
    keys = [new_key(tenant, ["ask"])[1] for tenant in ("a", "b", None, "a")]
    ring = ring_with(*keys)
    assert ring.of("a") == [keys[0], keys[3]]
    assert ring.of(None) == [keys[2]]
    assert ring.of("c") == []


def test_threads_find_keys_while_others_come_and_end() -> None:
    text, key = new_key("a", ["ask"])
    ring = ring_with(key)
    wrong: list[object] = []
    done = threading.Event()

    def find() -> None:
        while not done.is_set():
            found = ring.find(text)
            if found is None or found.key_id != key.key_id:
                wrong.append(found)

    threads = [threading.Thread(target=find) for _ in range(2)]
    for thread in threads:
        thread.start()
    for _ in range(300):
        other, other_key = new_key("a", ["ask"])
        ring.put(other_key)
        ring.end(other_key.key_id, 0.0)
        if ring.find(other) is not None:
            wrong.append(other_key.key_id)
    done.set()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert ring.of("a") == [key]
