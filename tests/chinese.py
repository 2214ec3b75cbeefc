"""A made-up Chinese shop of films: two files with Chinese headers, and a tiny BERT whose vocabulary is characters."""

from __future__ import annotations

import json
import random
from pathlib import Path
from string import ascii_letters, digits

SWORDS, LOVE = ("江湖", "剑客", "武林", "侠女"), ("月光", "恋人", "春风", "情书")
"""Words of titles that people like, and of those that they do not."""
PLACES = ("长安", "北京", "上海", "江南", "草原", "雪山", "海边", "古镇")
LIKED, DISLIKED = 4.5, 1.5


def write_films(folder: Path, encoding: str = "utf-8", films: int = 96, users: int = 40, seed: int = 0) -> None:
    """Write ``films.csv`` and ``ratings.csv``: stars follow from the title's word; the genre says nothing of it."""
    draw = random.Random(seed)
    kinds = [draw.randrange(2) for _ in range(films)]
    titles = [f"{draw.choice(PLACES)}{draw.choice((SWORDS, LOVE)[kind])}：第{at}部" for at, kind in enumerate(kinds)]
    rows = ["影片编号,片名,类型,上映日期"]
    for at, title in enumerate(titles):
        genres = "、".join(draw.sample(["动作", "喜剧", "爱情", "科幻", "悬疑"], 2))
        rows.append(f"m{at},《{title}》,{genres},{1990 + at % 30}年{1 + at % 12}月{1 + at % 28}日")
    (folder / "films.csv").write_text("\n".join(rows) + "\n", encoding=encoding)
    rows = ["用户ID,影片编号,评分,观看时间"]
    for user in range(users):
        for at in draw.sample(range(films), 24):
            stars = round((LIKED, DISLIKED)[kinds[at]] + draw.uniform(-0.5, 0.5))
            rows.append(f"张{user},m{at},{stars},2024年{draw.randint(1, 12)}月{draw.randint(1, 28)}日 {user % 24}：30")
    (folder / "ratings.csv").write_text("\n".join(rows) + "\n", encoding=encoding)


def write_bert(folder: Path, characters: str) -> Path:
    """Write a seeded random BERT of 2 layers, 32 wide, whose vocabulary is single characters, as Chinese BERTs' is.

    Digits and Latin letters are there as pieces of a word, too.
    """
    import torch
    from transformers import BertConfig, BertModel, BertTokenizerFast

    folder.mkdir(parents=True)
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *sorted({*characters, *ascii_letters, *digits})]
    words += [f"##{letter}" for letter in (*ascii_letters, *digits)]
    (folder / "vocab.txt").write_text("\n".join(words) + "\n", encoding="utf-8")
    tokenizer = BertTokenizerFast(vocab={word: at for at, word in enumerate(words)}, tokenize_chinese_chars=True)
    tokenizer.save_pretrained(folder)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        config = BertConfig(
            vocab_size=len(words),
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=4,
            intermediate_size=64,
            max_position_embeddings=64,
            initializer_range=0.2,
        )
        BertModel(config, add_pooling_layer=False).save_pretrained(folder)
    assert json.loads((folder / "config.json").read_text(encoding="utf-8"))["model_type"] == "bert"
    return folder
