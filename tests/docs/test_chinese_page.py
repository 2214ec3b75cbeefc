"""The templates that docs/chinese.md shows are valid and are written in Chinese."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from llmrec_peft.data.views import ViewTemplate
from llmrec_peft.recipe import load_recipe

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "chinese.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\| `(\w+)`[^|]*\| `(.*)` \|$", PAGE, re.MULTILINE)
[OWN] = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
[PROMPT] = re.findall(r"^\| with `head\.feed=prompt` \| `(.*)` \|$", PAGE, re.MULTILINE)


TOLD = {
    "movies": "活着（1994）。类型：剧情、历史。",
    "news": "活着。一个人和他的命运。",
    "music": "活着。标签：民谣、九十年代。",
    "ecommerce": "活着。品牌：作家。类别：小说。一个人和他的命运。",
}
COLUMNS = {
    "title": "活着",
    "year": 1994,
    "genres": ["剧情", "历史"],
    "abstract": "一个人和他的命运。",
    "tags": ["民谣", "九十年代"],
    "brand": "作家",
    "categories": ["小说"],
    "description": "一个人和他的命运。",
}


def test_every_recipe_of_the_page_is_tried() -> None:
    assert [recipe for recipe, _ in ROWS] == list(TOLD)


@pytest.mark.parametrize(("recipe", "template"), ROWS)
def test_templates_suit_the_recipes_that_they_stand_beside(recipe: str, template: str) -> None:
    made = load_recipe(recipe, changes={"views.item.template": template.replace("\\|", "|")})
    assert ViewTemplate(made.views.item.template).render(COLUMNS) == TOLD[recipe]


def test_the_template_of_own_files_is_written() -> None:
    template = yaml.safe_load(OWN)["views"]["item"]["template"]
    row = {"title": "活着", "上映日期": 1994, "类型": ["剧情", "历史"]}
    assert ViewTemplate(template).render(row) == "活着（1994）。类型：剧情、历史。"


def test_the_prompt_tells_what_was_liked() -> None:
    history = [{"title": "活着", "liked": True}, {"title": "无极", "liked": False}]
    told = ViewTemplate(PROMPT).render({"history": history, "item": {"title": "霸王别姬"}, "user": {}})
    assert told == "用户喜欢：《活着》。用户会喜欢《霸王别姬》吗？"
