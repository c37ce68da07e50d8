"""An HTML page that needs nothing else: no scripts, nothing loaded, whatever text enters it escaped."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable, Sequence
from html import escape


def page(title: str, body: Iterable[str]) -> str:
    """The page of this title; `body` is HTML."""
    return _PAGE.format(title=escape(title), body="\n".join(body))


def picture(svg: bytes, alternative: str) -> str:
    """An SVG image, with the words for who cannot see it."""
    return f'<img alt="{escape(alternative)}" src="data:image/svg+xml;base64,{b64encode(svg).decode()}">'


def section(title: str, content: str) -> str:
    """HTML under a heading."""
    return f"<section><h2>{escape(title)}</h2>{content}</section>"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Texts as a table; without `head` it has no heading row."""
    names = "".join(f"<th>{escape(name)}" for name in head)
    lines = "".join("<tr>" + "".join(f"<td>{escape(str(cell))}" for cell in row) for row in rows)
    return f"<table>{f'<thead><tr>{names}</thead>' if head else ''}<tbody>{lines}</tbody></table>"


_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>{title}</title>
<style>
:root {{ --ink: #1d2733; --soft: #6b7785; --line: #e3e7ec; --good: #2f7d4f; --bad: #c0392b; color-scheme: light; }}
body {{ font: 15px/1.5 system-ui, "Segoe UI", "Helvetica Neue", Arial, sans-serif; color: var(--ink);
       background: #fff; max-width: 60rem; margin: 3rem auto; padding: 0 1.5rem; }}
h1 {{ font-size: 1.7rem; line-height: 1.2; margin: 0 0 .3rem; letter-spacing: -.01em; }}
h2 {{ font-size: 1rem; margin: 2.2rem 0 .5rem; }}
.lead {{ color: var(--soft); margin: 0 0 1.2rem; }}
img {{ width: 100%; height: auto; margin: .5rem 0; }}
.checks {{ list-style: none; padding: 0; margin: 0 0 1rem; display: grid; gap: .15rem 2rem;
          grid-template-columns: repeat(auto-fit, minmax(24rem, 1fr)); }}
.checks li {{ padding-left: 1.3rem; text-indent: -1.3rem; }}
.checks li::before {{ display: inline-block; width: 1.3rem; font-weight: 700; }}
.held::before {{ content: "\\2713"; color: var(--good); }}
.failed::before {{ content: "\\2717"; color: var(--bad); }}
.columns {{ display: grid; grid-template-columns: repeat(auto-fit, minmax(24rem, 1fr)); gap: 0 3rem; }}
table {{ border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }}
th {{ text-align: left; font-weight: 500; color: var(--soft); }}
th, td {{ padding: .28rem .9rem .28rem 0; border-bottom: 1px solid var(--line); vertical-align: top;
         overflow-wrap: break-word; }}
td:first-child {{ white-space: nowrap; }}
@media print {{ body {{ margin: 0; }} section {{ break-inside: avoid; }} }}
</style>
<body>
{body}
</body>
</html>
"""
