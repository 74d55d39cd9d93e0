"""Pieces of HTML that the pages are put together from, and the templates they go into."""

import base64
import functools
import gzip
import html
import re
from collections.abc import Mapping, Sequence
from importlib import resources

NIIVUE = "niivue-0.69.0"


def filled(name: str, values: Mapping[str, str]) -> str:
    """The template with each {{name}} replaced, in one pass: what is put in is not searched again.

    Raises:
        KeyError: the template asks for what is not given.
    """
    return re.sub(r"\{\{(\w+)\}\}", lambda found: values[found.group(1)], asset(name))


def asset(name: str) -> str:
    """The text of a file in assets/."""
    return (resources.files("mapdiff.report") / "assets" / name).read_text(encoding="utf-8")


def niivue_licence() -> str:
    """The viewer's licence and those of what it bundles."""
    return _vendored(f"{NIIVUE}.LICENSE.txt")


@functools.cache
def niivue_script() -> str:
    """The viewer's script, gzip and base64: a third of its size, and nothing in it ends a script element."""
    script = _vendored(f"{NIIVUE}.umd.js").encode()
    return base64.b64encode(gzip.compress(script, 9, mtime=0)).decode("ascii")


def _vendored(name: str) -> str:
    return (resources.files("mapdiff.report") / "vendor" / name).read_text(encoding="utf-8")


def definitions(pairs: Mapping[str, str]) -> str:
    """A list of terms and what they are."""
    lines = (f"<dt>{html.escape(k)}</dt><dd>{html.escape(str(v))}</dd>" for k, v in pairs.items())
    return f"<dl>{''.join(lines)}</dl>"


def tiles(figures: Sequence[tuple[str, str, str]]) -> str:
    """Key figures in a row: heading, value, and what it is."""
    made = (
        f"<div><dt>{html.escape(name)}</dt><dd><strong>{html.escape(value)}</strong>"
        f"<span>{html.escape(words)}</span></dd></div>"
        for name, value, words in figures
    )
    return f'<dl class="tiles">{"".join(made)}</dl>'


def table(headings: Sequence[str], rows: Sequence[Sequence[str]], name: str = "") -> str:
    """A table of text; the first column heads the rows."""
    head = "".join(f'<th scope="col">{html.escape(word)}</th>' for word in headings)
    body = "".join(
        f'<tr><th scope="row">{html.escape(row[0])}</th>'
        + "".join(
            f'<td data-heading="{html.escape(word)}">{html.escape(cell)}</td>'
            for word, cell in zip(headings[1:], row[1:], strict=True)
        )
        + "</tr>"
        for row in rows
    )
    named = f' id="{html.escape(name)}"' if name else ""
    return f"<table{named}><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def lines(texts: Sequence[str]) -> str:
    """A list of lines; "None." where there is none."""
    if not texts:
        return "<p>None.</p>"
    return f"<ul>{''.join(f'<li>{html.escape(text)}</li>' for text in texts)}</ul>"
