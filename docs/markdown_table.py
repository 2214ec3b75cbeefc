"""Rows of Markdown tables."""

from llmrec_peft.benchmark.markdown import escaped


def table_header(*columns: str, texts: bool = False) -> list[str]:
    """The two lines on top of a table: the first column is left-aligned; the others are right-aligned, or texts too."""
    return [table_row(*columns), "| --- |" + (" --- |" if texts else " ---: |") * (len(columns) - 1)]


def table_row(*cells: str) -> str:
    """One line of a table; cells are our own Markdown, made one line that cannot end early."""
    return "| " + " | ".join(escaped(cell) for cell in cells) + " |"
