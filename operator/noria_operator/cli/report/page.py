"""A page for people, from headings, tables and pictures. Pure.

In: texts that anybody may have written. Out: HTML. Invariant: everything is escaped here, and the page
forbids the browser to load or to run anything.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

STYLE: Final = """
body { font: 15px/1.5 system-ui, sans-serif; color: #1c2128; }
body { max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; margin-bottom: 0; } h2 { font-size: 1.15rem; margin-top: 2rem; }
p.said { color: #57606a; margin-top: .2rem; }
table { border-collapse: collapse; width: 100%; margin: .5rem 0; }
th, td { text-align: left; padding: .35rem .6rem; border-bottom: 1px solid #d8dee4; }
th, td { vertical-align: top; white-space: nowrap; }
td:last-child, .compared td { white-space: normal; overflow-wrap: anywhere; }
.compared td:first-child { white-space: nowrap; overflow-wrap: normal; }
th { color: #57606a; font-weight: 600; } td.changed { background: #fff8c5; }
svg { max-width: 100%; height: auto; } svg text { font: 12px system-ui, sans-serif; fill: #57606a; }
svg text { paint-order: stroke; stroke: #fff; stroke-width: 4px; stroke-linejoin: round; }
"""
POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'"


@dataclass(frozen=True)
class Html:
    """Text that is HTML already: only this module and the pictures make it."""

    text: str


def page(title: str, said: str, parts: Iterable[Html]) -> str:
    """The whole file."""
    body = "\n".join(part.text for part in parts)
    return (
        "<!doctype html>\n<html lang=en>\n<meta charset=utf-8>\n"
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n"
        f"<h1>{escape(title)}</h1>\n<p class=said>{escape(said)}</p>\n{body}\n</html>\n"
    )


def section(title: str, *parts: Html) -> list[Html]:
    """A heading and what stands under it; nothing where there is nothing to show."""
    shown = [part for part in parts if part.text]
    return [Html(f"<h2>{escape(title)}</h2>"), *shown] if shown else []


def text(words: str) -> Html:
    """A paragraph."""
    return Html(f"<p>{escape(words)}</p>" if words else "")


def table(heads: Sequence[str], rows: Sequence[Sequence[str]], *, compared: bool = False) -> Html:
    """A table; `compared`: the last two columns are the same thing before and after, and differences show."""
    if not rows:
        return Html("")
    kind = " class=compared" if compared else ""
    head = "".join(f"<th>{escape(one)}</th>" for one in heads)
    body = "".join(f"<tr>{_cells(row, compared and row[-1] != row[-2])}</tr>" for row in rows)
    return Html(f"<table{kind}><tr>{head}</tr>{body}</table>")


def second(at: str) -> str:
    """A time of the API server, to the second."""
    return re.sub(r"\.\d+", "", at)


def _cells(row: Sequence[str], changed: bool) -> str:
    last = len(row) - 1
    return "".join(
        f"<td{' class=changed' if changed and index == last else ''}>{escape(cell)}</td>"
        for index, cell in enumerate(row)
    )
