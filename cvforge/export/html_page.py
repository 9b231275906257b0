"""A self-contained HTML page of sections with tables and pictures: nothing is loaded, no script runs, all text is escaped."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from urllib.parse import quote

POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
STYLE = """
:root { color-scheme: light dark; --ink: #1c1e21; --paper: #ffffff; --line: #d5d8dc; --quiet: #5b626a; --link: #0b6e99; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e7e9; --paper: #17191c; --line: #3a3f45; --quiet: #a3aab2; --link: #6fc3e6; }
}
body { margin: 0 auto; padding: 1.5rem; max-width: 68rem; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, "Segoe UI", "DejaVu Sans", sans-serif; }
h1 { margin: 0 0 .25rem; font-size: 1.7rem; } h2 { margin: 2.25rem 0 .5rem; font-size: 1.2rem; }
a { color: var(--link); } nav a { margin-right: 1.25rem; } p { max-width: 48rem; } .quiet { color: var(--quiet); }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .92rem; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .8rem; border-bottom: 1px solid var(--line); text-align: right; white-space: nowrap; }
th { border-bottom-width: 2px; } th:first-child, td:first-child { padding-left: 0; text-align: left; }
figure { margin: 1rem 0; } figure img { max-width: 100%; height: auto; border-radius: 6px; background: #ffffff; }
code { overflow-wrap: anywhere; } footer { margin-top: 3rem; border-top: 1px solid var(--line); font-size: .85rem; }
@media print { nav { display: none; } }
"""


@dataclass(frozen=True)
class Section:
    """A part of a page.

    Attributes:
        id: what links to it end with: letters and `-`.
        title: its heading.
        parts: HTML, as the functions below make it.
    """

    id: str
    title: str
    parts: tuple[str, ...]


def page(title: str, lead: Sequence[str], sections: Sequence[Section], *, footer: Sequence[str]) -> str:
    """A whole document.

    Args:
        title: its heading and the window's title, plain text.
        lead: HTML below the heading.
        sections: each gets a link at the top.
        footer: HTML at the end.
    """
    links = "".join(f'<a href="#{section.id}">{escape(section.title)}</a>' for section in sections)
    return "\n".join(
        [
            "<!DOCTYPE html>",
            '<html lang="en">',
            "<head>",
            '<meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            # A browser enforces what this page promises.
            f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">',
            f"<title>{escape(title)}</title>",
            f"<style>{STYLE}</style>",
            "</head>",
            "<body>",
            f"<header><h1>{escape(title)}</h1>",
            *lead,
            f"<nav>{links}</nav></header>",
            *(_section(section) for section in sections),
            "<footer>",
            *footer,
            "</footer>",
            "</body>",
            "</html>",
            "",
        ]
    )


def paragraph(text: str, *, quiet: bool = False) -> str:
    """Plain text as a paragraph."""
    return f'<p class="quiet">{escape(text)}</p>' if quiet else f"<p>{escape(text)}</p>"


def bullets(texts: Sequence[str]) -> str:
    """Plain texts as a list."""
    return "<ul>" + "".join(f"<li>{escape(text)}</li>" for text in texts) + "</ul>"


def link(target: str, text: str) -> str:
    """A link to a file, by its path from the page."""
    return f'<a href="./{quote(target)}">{escape(text)}</a>'


def picture(png: bytes, description: str) -> str:
    """A PNG inside the page; the description is read out, and shown where the picture is not."""
    content = base64.b64encode(png).decode("ascii")
    return f'<figure><img src="data:image/png;base64,{content}" alt="{escape(description, quote=True)}"></figure>'


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Plain texts as a table, the first column on the left.

    Raises:
        ValueError: a row has another number of cells than the header.
    """
    wrong = [row for row in rows if len(row) != len(header)]
    if wrong:
        raise ValueError(f"table: found a row of {len(wrong[0])} cells under {len(header)} titles: {wrong[0]}")
    head = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in header)
    body = "\n".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>\n{body}\n</tbody></table></div>'


def _section(section: Section) -> str:
    return "\n".join([f'<section id="{section.id}"><h2>{escape(section.title)}</h2>', *section.parts, "</section>"])
