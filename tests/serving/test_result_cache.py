"""ResultCache: what is kept, by what key, within how many bytes."""

from __future__ import annotations

from llmrec_peft.run.catalogue import Recommendations, ScoredItem
from llmrec_peft.serving.result_cache import Kept, ResultCache, key_of
from llmrec_peft.serving.versions import Identity

VERSION = Identity("v", 0, "s")


def kept(user: str, count: int = 10) -> Kept:
    items = tuple(ScoredItem(str(at), "title", 1.0) for at in range(count))
    return Kept(Recommendations(user, "personal", items), (user,))


def test_version_state_user_count_and_seen_tell_lists_apart() -> None:
    cache = ResultCache(1 << 20)
    keys = [
        key_of(VERSION, "1", 5, False),
        key_of(VERSION._replace(version="w"), "1", 5, False),
        key_of(VERSION._replace(state=1, state_digest="t"), "1", 5, False),
        key_of(VERSION, "2", 5, False),
        key_of(VERSION, "1", 6, False),
        key_of(VERSION, "1", 5, True),
    ]
    lists = [kept(str(at)) for at in range(len(keys))]
    for key, one in zip(keys, lists, strict=True):
        assert cache.get(key) is None
        cache.put(key, one)
    assert [cache.get(key) for key in keys] == lists


def test_bytes_are_bounded_and_the_list_unasked_for_longest_goes_first() -> None:
    cache = ResultCache(20_000)
    for number in range(100):
        cache.put(key_of(VERSION, str(number), 5, False), kept(str(number)))
        cache.get(key_of(VERSION, "0", 5, False))
        assert cache.nbytes <= 20_000
    assert 2 < len(cache) < 10
    assert cache.get(key_of(VERSION, "0", 5, False)) is not None
    assert cache.get(key_of(VERSION, "1", 5, False)) is None
    before = cache.nbytes
    cache.put(key_of(VERSION, "0", 5, False), kept("0"))
    assert cache.nbytes == before, "put again, counted once"
    cache.put(key_of(VERSION, "large", 5, False), kept("large", 1000))
    assert cache.get(key_of(VERSION, "large", 5, False)) is None


def test_cache_of_no_bytes_keeps_nothing() -> None:
    cache = ResultCache(0)
    cache.put(key_of(VERSION, "1", 5, False), kept("1"))
    assert (len(cache), cache.get(key_of(VERSION, "1", 5, False))) == (0, None)
