"""Write the tables of figures in README.md and docs/ from benchmarks/results and the recipes' figures.json.

`--check` only says whether one is stale.

A table stands between `<!-- table: NAME -->` and `<!-- end of table -->`.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import accuracy_tables
import classical_tables
import cost_tables
import leaderboard_tables
import method_tables
import mixing_tables
import recipe_tables
import replay_tables
import server_tables

ROOT = Path(__file__).parents[1]
MARKED = re.compile(r"(<!-- table: (\S+) -->\n).*?(<!-- end of table -->)", re.DOTALL)
TABLES: Mapping[str, Callable[[], list[str]]] = {
    "recipes": recipe_tables.recipes,
    "server-settings": server_tables.settings,
    "replay": replay_tables.replay,
    "replay-months": replay_tables.replay_months,
    "six-rows": accuracy_tables.six_rows,
    "ratings-u1": accuracy_tables.ratings_u1,
    "classical-sentence": accuracy_tables.classical_sentence,
    "classical": accuracy_tables.classical,
    "classical-peers": classical_tables.classical_peers,
    "peers-ahead": classical_tables.peers_ahead,
    "ratings-u1-differences": accuracy_tables.ratings_u1_differences,
    "ratings-cold-items": accuracy_tables.ratings_cold_items,
    "ratings-cold-items-difference": accuracy_tables.ratings_cold_items_difference,
    "clicks-and-rankings": accuracy_tables.clicks_and_rankings,
    "accuracy-against-plain-peft": accuracy_tables.against_plain_peft,
    "taste-settings": accuracy_tables.taste_settings,
    "new-items": accuracy_tables.new_items,
    "methods-minilm": lambda: method_tables.methods_on_films("minilm"),
    "methods-smollm2": lambda: method_tables.methods_on_films("smollm2"),
    "methods-products": method_tables.methods_on_products,
    "number-formats": method_tables.number_formats,
    "leaderboard-recipes": leaderboard_tables.recipes,
    "leaderboard-benchmarks": leaderboard_tables.benchmarks,
    "against-plain-peft": cost_tables.against_plain_peft,
    "epoch-cost": cost_tables.epoch_cost,
    "outside-measures": cost_tables.outside_measures,
    "growth": cost_tables.growth,
    "growth-large": cost_tables.growth_large,
    "kbit-memory": cost_tables.kbit_memory,
    "wrapping": cost_tables.wrapping,
    "memory": cost_tables.memory,
    "ranking-speed": cost_tables.ranking_speed,
    "serving-speed": cost_tables.serving_speed,
    "prepare-speed": cost_tables.prepare_speed,
    "soak": cost_tables.soak,
    "checks-cost": cost_tables.checks_cost,
    "mixed-batches": mixing_tables.mixed_batches,
    "served-batches": mixing_tables.served_batches,
}


def main() -> None:
    """Renew every page that holds a table."""
    stale = []
    for page in [*sorted(ROOT.glob("README*.md")), ROOT / "SECURITY.md", *sorted((ROOT / "docs").rglob("*.md"))]:
        text = page.read_text(encoding="utf-8")
        renewed = MARKED.sub(_table, text)
        if renewed != text:
            stale.append(page.relative_to(ROOT).as_posix())
            if "--check" not in sys.argv:
                page.write_text(renewed, encoding="utf-8")
    if stale and "--check" in sys.argv:
        sys.exit(f"{', '.join(stale)}: tables differ from the committed results; run `make docs`")


def _table(match: re.Match[str]) -> str:
    start, name, end = match.groups()
    if name not in TABLES:
        sys.exit(f"no table {name}; there are {', '.join(TABLES)}")
    return start + "\n".join(TABLES[name]()) + "\n" + end


if __name__ == "__main__":
    main()
