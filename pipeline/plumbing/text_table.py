"""Lay cells out as a table, for a terminal or in Markdown."""

from collections.abc import Sequence

Rows = Sequence[Sequence[str]]  # all of the same length


def aligned(rows: Rows, indent: str = "  ") -> list[str]:
    """Return one line for each row. Each column is as wide as its widest cell."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        indent + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]


def markdown(rows: Rows) -> list[str]:
    """Return the lines of a table in Markdown; the first row is its head."""
    head, *body = [[cell.replace("|", "\\|") for cell in row] for row in rows]
    return ["| " + " | ".join(row) + " |" for row in (head, ["---"] * len(head), *body)]
