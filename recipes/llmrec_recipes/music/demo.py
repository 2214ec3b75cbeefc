"""Made-up artists: their names say nothing, and their tags tell what they play and so who listens to them.

An artist has two or three tags of its style and at times one that fits any. A third of the artists are rare: only
their tags tell who would like them. How often somebody listens grows with the liking.
"""

from __future__ import annotations

import numpy as np

from llmrec_peft.plugins import RecDataset, interactions_table, table
from llmrec_recipes.drawn_order import drawn_order
from llmrec_recipes.made_up_tastes import MADE_UP, made_up_tastes

USERS, ARTISTS = 240, 180
RARE = 0.33
UNTAGGED = 0.05
STYLES = (
    ("heavy metal", "thrash", "guitar solo", "headbanging"),
    ("jazz", "saxophone", "swing", "bebop"),
    ("techno", "rave", "club", "drum machine"),
    ("folk", "acoustic", "banjo", "storytelling"),
    ("hip hop", "rap", "beats", "freestyle"),
    ("opera", "soprano", "orchestra", "aria"),
    ("reggae", "dub", "jamaica", "roots"),
    ("punk", "hardcore", "three chords", "protest"),
    ("ambient", "drone", "field recordings", "slow"),
)
"""Tags of each style."""
ANYWHERE = ("seen live", "favourites", "to check out", "00s")
FIRST = "Velvet Silver Hollow Crimson Paper Electric Northern Golden Broken Quiet".split()
SECOND = "Foxes Harbour Machine Sisters Parade Lanterns Engine Meadow Society".split()


def demo_dataset(seed: int) -> RecDataset:
    """Make up artists and listeners; ids are numbers as the real ones.

    Args:
        seed: Seed of all random draws.
    """
    rng = np.random.default_rng([seed, 43])
    tastes = made_up_tastes(rng, len(STYLES), ARTISTS, USERS, 6, 16, RARE)
    names = [f"{FIRST[at % len(FIRST)]} {SECOND[at // len(FIRST) % len(SECOND)]} {at + 1}" for at in range(ARTISTS)]
    tags = []
    for kind in tastes.kind.tolist():
        own = rng.permutation(STYLES[kind])[: rng.integers(2, 4)].tolist() if rng.random() >= UNTAGGED else []
        tags.append(own + [str(rng.choice(ANYWHERE))] * bool(own and rng.random() < 0.4))  # noqa: PLR2004
    ids = [str(at + 1) for at in range(ARTISTS)]
    plays = np.ceil(np.exp(2.0 * tastes.liking))
    return RecDataset(
        name="made-up music",
        interactions=interactions_table(
            user_id=[str(user + 1) for user in tastes.user.tolist()],
            item_id=[ids[item] for item in tastes.item.tolist()],
            rating=[1.0] * len(tastes.user),
            timestamp=drawn_order(len(tastes.user)),
            confidence=plays,
        ),
        items=table({"item_id": ids, "title": names, "tags": tags}),
        users=table({"user_id": [str(user + 1) for user in range(USERS)]}),
        rating_range=(0, 1),
        licence="Made up by this package with a fixed seed; nobody's listening.",
        notes=(MADE_UP,),
        feedback="implicit",
    )
