"""Rows of Markdown tables."""


def table_header(*columns: str) -> list[str]:
    """The two lines on top of a table: the first column is left-aligned, the others are right-aligned."""
    return [table_row(*columns), "| --- |" + " ---: |" * (len(columns) - 1)]


def table_row(*cells: str) -> str:
    """One line of a table."""
    return "| " + " | ".join(cells) + " |"
