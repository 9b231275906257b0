"""A self-contained HTML page of sections with tables and pictures: nothing is loaded, no script runs, all text is escaped."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from urllib.parse import quote

PNG_SIGNATURE = b"\x89PNG"
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
STYLE = """
:root { color-scheme: light dark; --ink: #1c1e21; --paper: #ffffff; --line: #d5d8dc; --quiet: #5b626a; --faint: #f1f3f5;
  --link: #0b6e99; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e7e9; --paper: #17191c; --line: #3a3f45; --quiet: #a3aab2; --faint: #23262b; --link: #6fc3e6; }
}
body { margin: 0 auto; padding: 1.5rem; max-width: 68rem; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, "Segoe UI", "DejaVu Sans", sans-serif; }
h1 { margin: 0 0 .25rem; font-size: 1.7rem; overflow-wrap: anywhere; }
h3 { margin: 1.5rem 0 .5rem; font-size: 1rem; } h2 { margin: 2.25rem 0 .5rem; font-size: 1.2rem; }
a { color: var(--link); } nav a { display: inline-block; padding: .2rem 0; margin-right: 1.1rem; }
p { max-width: 48rem; } .quiet { color: var(--quiet); }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .92rem; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .8rem; border-bottom: 1px solid var(--line); text-align: right; white-space: nowrap; }
thead th { border-bottom-width: 2px; } tbody th { font-weight: 400; }
th:first-child, td:first-child { padding-left: 0; text-align: left; }
table.texts td, table.texts th { text-align: left; white-space: normal; overflow-wrap: anywhere; vertical-align: top; }
figure { margin: 1rem 0; } figure img { max-width: 100%; height: auto; border-radius: 6px; background: #ffffff; }
a:focus-visible, summary:focus-visible, .scroll:focus-visible { outline: 2px solid var(--link); outline-offset: 2px; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(9.5rem, 1fr)); gap: .75rem; margin: 1.25rem 0; }
.tiles div { padding: .7rem .9rem; border: 1px solid var(--line); border-radius: 8px; }
.tiles dt, .tiles .small { color: var(--quiet); font-size: .82rem; } .tiles dd { margin: 0; overflow-wrap: anywhere; }
.tiles .large { font-size: 1.5rem; font-weight: 600; line-height: 1.3; font-variant-numeric: tabular-nums; }
.pairs, .singles { display: grid; gap: 1.5rem 1.75rem; }
.pairs { grid-template-columns: repeat(auto-fill, minmax(min(100%, 30rem), 1fr)); }
.singles { grid-template-columns: repeat(auto-fill, minmax(9rem, 1fr)); }
.shown { margin: 0; min-width: 0; } .shown > div { display: flex; gap: .4rem; align-items: flex-start; }
.shown img { flex: 1 1 0; min-width: 0; } .singles .shown img { aspect-ratio: 1; object-fit: contain; background: var(--faint); }
.shown figcaption { font-size: .85rem; line-height: 1.4; overflow-wrap: anywhere; color: var(--quiet); }
.shown strong { color: var(--ink); }
.columns { display: flex; flex-wrap: wrap; gap: 0 3rem; } .columns > div { min-width: 0; max-width: 100%; }
pre { overflow-x: auto; padding: .8rem 1rem; border: 1px solid var(--line); border-radius: 8px; font-size: .85rem; }
summary { cursor: pointer; padding: .3rem 0; } .warning { border-left: 4px solid #c4561a; padding-left: .8rem; }
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


def page(
    title: str, lead: Sequence[str], sections: Sequence[Section], *, footer: Sequence[str], style: str = ""
) -> str:
    """A whole document.

    Args:
        title: its heading and the window's title, plain text.
        lead: HTML below the heading.
        sections: each gets a link at the top.
        footer: HTML at the end.
        style: CSS beside that of every page.
    """
    links = " ".join(f'<a href="#{section.id}">{escape(section.title)}</a>' for section in sections)
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
            f"<style>{STYLE}{style}</style>",
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


def heading(text: str) -> str:
    """A heading inside a section."""
    return f"<h3>{escape(text)}</h3>"


def warning(text: str) -> str:
    """Plain text that nobody should miss."""
    return f'<p class="warning" role="note">{escape(text)}</p>'


def picture(png: bytes, description: str) -> str:
    """A PNG inside the page; the description is read out, and shown where the picture is not."""
    return f"<figure>{_image(png, description)}</figure>"


def picture_figure(pictures: Sequence[tuple[bytes, str]], lines: Sequence[str]) -> str:
    """One picture or two beside each other (PNG or JPEG, description), and lines below, the first of which stands out."""
    images = "".join(_image(content, description) for content, description in pictures)
    first, *others = (escape(line) for line in lines)
    caption = "<br>".join((f"<strong>{first}</strong>", *others))
    return f'<figure class="shown"><div>{images}</div><figcaption>{caption}</figcaption></figure>'


def picture_grid(figures: Sequence[str], *, wide: bool) -> str:
    """Figures beside each other where there is room; wide ones are pairs."""
    return f'<div class="{"pairs" if wide else "singles"}">{"".join(figures)}</div>'


def side_by_side(columns: Sequence[Sequence[str]]) -> str:
    """Parts of a page beside each other where there is room."""
    inside = "".join(f"<div>{''.join(parts)}</div>" for parts in columns)
    return f'<div class="columns">{inside}</div>'


def tiles(entries: Sequence[tuple[str, str, str]]) -> str:
    """The few numbers that matter most: what it is, the number, a remark."""
    return "".join(
        [
            '<dl class="tiles">',
            *(
                f'<div><dt>{escape(name)}</dt><dd class="large">{escape(value)}</dd><dd class="small">{escape(remark)}</dd></div>'
                for name, value, remark in entries
            ),
            "</dl>",
        ]
    )


def folded(title: str, parts: Sequence[str]) -> str:
    """HTML that opens when its title is chosen."""
    return f"<details><summary>{escape(title)}</summary>{''.join(parts)}</details>"


def preformatted(text: str) -> str:
    """Plain text whose lines and spaces matter."""
    return f'<pre tabindex="0">{escape(text)}</pre>'


def table(header: Sequence[str], rows: Sequence[Sequence[str]], *, texts: bool = False) -> str:
    """Plain texts as a table, the first column on the left.

    Args:
        header: titles of the columns.
        rows: cells.
        texts: whether cells are texts, to be wrapped, rather than numbers.

    Raises:
        ValueError: a row has another number of cells than the header.
    """
    wrong = [row for row in rows if len(row) != len(header)]
    if wrong:
        raise ValueError(f"table: found a row of {len(wrong[0])} cells under {len(header)} titles: {wrong[0]}")
    head = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in header)
    body = "\n".join(f"<tr>{_cells(row)}</tr>" for row in rows)
    opened = '<table class="texts">' if texts else "<table>"
    label = escape(f"Table of {', '.join(cell for cell in header if cell)}", quote=True)
    region = f'<div class="scroll" tabindex="0" role="region" aria-label="{label}">'
    return f"{region}{opened}<thead><tr>{head}</tr></thead><tbody>\n{body}\n</tbody></table></div>"


def _cells(row: Sequence[str]) -> str:
    return f'<th scope="row">{escape(row[0])}</th>' + "".join(f"<td>{escape(cell)}</td>" for cell in row[1:])


def _image(content: bytes, description: str) -> str:
    kind = "png" if content.startswith(PNG_SIGNATURE) else "jpeg"
    data = base64.b64encode(content).decode("ascii")
    return f'<img src="data:image/{kind};base64,{data}" alt="{escape(description, quote=True)}">'


def _section(section: Section) -> str:
    return "\n".join([f'<section id="{section.id}"><h2>{escape(section.title)}</h2>', *section.parts, "</section>"])
