"""Made-up games, artists and videos: as their readers' data, and predictable from texts and times."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from llmrec_recipes.games import demo as games
from llmrec_recipes.music import demo as music
from llmrec_recipes.video import demo as video

from llmrec_peft import registry
from llmrec_peft.data.dataset import RecDataset, column
from llmrec_peft.data.soundness import sound
from llmrec_peft.data.source import Reader
from llmrec_peft.data.views import ViewTemplate
from llmrec_peft.recipe.yaml_file import merge, read_yaml

KINDS = {
    "games": games.SUBJECTS,
    "music": music.STYLES,
    "video": video.SUBJECTS,
}
"""What the texts of each recipe's items name."""
REAL = {"games": "steam-200k", "music": "lastfm-hetrec", "video": "microlens-sample"}


def source(name: str) -> Reader:
    plugin: type[Reader] = registry.get("readers", name)
    return plugin()


def kinds_of(name: str, data: RecDataset) -> dict[str, int | None]:
    """Kind of each item by the words of its text; None where it has none."""
    found: dict[str, int | None] = {}
    for row in data.items:
        text = " ".join([row["title"].lower(), *row.get("tags", [])])
        named = {at for at, words in enumerate(KINDS[name]) if any(word.lower() in text for word in words)}
        assert len(named) <= 1
        found[row["item_id"]] = named.pop() if named else None
    return found


@pytest.fixture(params=list(KINDS))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_same_seed_makes_the_same_sound_data_and_another_seed_other_data(name: str) -> None:
    first, again, other = (source(name).demo(seed) for seed in (1, 1, 2))
    assert [first.interactions[:], first.items[:]] == [again.interactions[:], again.items[:]]
    assert first.interactions[:] != other.interactions[:]
    assert sound(first) is first
    pairs = list(zip(column(first.interactions, "user_id"), column(first.interactions, "item_id"), strict=True))
    assert len(set(pairs)) == len(pairs)
    assert 800 < len(pairs) < 4000, "seconds of training"
    assert any("made up" in note for note in first.notes)
    assert "Made up" in first.licence


def test_made_up_and_real_data_have_the_same_columns_and_types(shared_data: Path, name: str) -> None:
    if not (shared_data / REAL[name]).is_dir():
        pytest.skip(f"real data is absent: {shared_data / REAL[name]}")
    real, made_up = source(name).read(shared_data / REAL[name], None), source(name).demo(1)
    assert real.interactions.features == made_up.interactions.features
    assert real.items.features == made_up.items.features
    assert real.users.features == made_up.users.features
    assert (real.feedback, real.rating_range, real.repeats) == (made_up.feedback, made_up.rating_range, made_up.repeats)


def test_users_meet_what_their_other_items_texts_name(name: str) -> None:
    data = source(name).demo(5)
    kind = kinds_of(name, data)
    own: dict[str, list[int]] = {}
    for user, item in zip(column(data.interactions, "user_id"), column(data.interactions, "item_id"), strict=True):
        found = kind[item]
        if found is not None:
            own.setdefault(user, []).append(found)
    same = [np.mean(np.array(row[:-1]) == row[-1]) for row in own.values() if len(row) > 2]
    every = np.bincount([one for row in own.values() for one in row])
    assert np.mean(same) > 2.5 * float((every / every.sum()).max()), "no kind is a safe guess"


@pytest.mark.parametrize("name", ["games", "music"])
def test_what_is_liked_is_met_for_longer(name: str) -> None:
    data = source(name).demo(5)
    kind = kinds_of(name, data)
    names = ("user_id", "item_id", "confidence")
    rows = list(zip(*(column(data.interactions, one) for one in names), strict=True))
    own: dict[str, list[int | None]] = {}
    for user, item, _ in rows:
        own.setdefault(user, []).append(kind[item])
    often = np.array([own[user].count(kind[item]) > 2 for user, item, _ in rows])
    length = np.log1p([sure for *_, sure in rows])
    assert length[often].mean() > length[~often].mean() + 0.5
    assert min(sure for *_, sure in rows) == (0.0 if name == "games" else 1.0)


def test_many_late_videos_were_never_watched_before() -> None:
    data = source("video").demo(3)
    time, item = (np.asarray(column(data.interactions, one)) for one in ("timestamp", "item_id"))
    late = time > np.quantile(time, 0.8)
    assert 0.2 < (~np.isin(item[late], item[~late])).mean() < 0.8


def test_recipes_render_every_item_also_one_without_text(name: str) -> None:
    file = registry.get("recipes", name)
    whole = read_yaml(file)
    assert whole["data"]["reader"] == whole["name"] == name
    data = source(name).demo(1)
    for values in (whole, merge(whole, read_yaml(file.with_name("demo.yaml")))):
        template = ViewTemplate(values["views"]["item"]["template"])
        texts = template.render_all(data.items)
        assert data.items[0]["title"] in texts[0]
        assert all(texts)
        template.render({"item_id": "1", "title": "", "tags": []})
