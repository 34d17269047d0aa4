"""Tables in the docs that are written by the code, each between two marks on its page."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
BEGIN = "<!-- begin: written by `python -m tests.regenerate_docs` -->"
END = "<!-- end -->"


def with_table(text: str, table: str) -> str:
    """The page with `table` between its marks."""
    before, rest = text.split(BEGIN, 1)
    _, after = rest.split(END, 1)
    return f"{before}{BEGIN}\n\n{table}\n\n{END}{after}"


def is_up_to_date(page: str, table: str) -> bool:
    text = (ROOT / page).read_text(encoding="utf-8")
    return text == with_table(text, table)


def write_table(page: str, table: str) -> None:
    path = ROOT / page
    path.write_text(with_table(path.read_text(encoding="utf-8"), table), encoding="utf-8")


def section(text: str, heading: str) -> str:
    """What stands under `heading`, up to the next one of the same or a higher level."""
    level = len(heading) - len(heading.lstrip("#"))
    start = re.search(rf"^{re.escape(heading)}$", text, re.MULTILINE)
    assert start, f"there is no heading {heading!r}"
    end = re.search(rf"^#{{1,{level}}} ", text[start.end() :], re.MULTILINE)
    return text[start.end() : start.end() + end.start()] if end else text[start.end() :]
