"""Pages that are complete in themselves: one file of HTML with its style, its script and its data, and no network.

Page NAME is made of `pages/NAME.html`, `.css` and `.js` beside this file, in the frame that all pages share. Its data
may come from directories of other people: they stand in the page as JSON in which no markup can begin, its script puts
them on the screen as text alone, and a content security policy lets no other script run and nothing be fetched.
"""

import base64
import hashlib
import html
import json
import re
from pathlib import Path
from typing import Any

_PAGES = Path(__file__).parent / "pages"
_PLACE = re.compile(r"\{\{(\w+)\}\}")


def whole_page(name: str, title: str, data: Any) -> str:
    """The page of a name.

    Args:
        title: any text.
        data: plain data; numbers are finite, None where there is none.
    """
    frame, body, style, script = (
        (_PAGES / file).read_text(encoding="utf-8")
        for file in ("frame.html", f"{name}.html", f"{name}.css", f"{name}.js")
    )
    parts = {
        "policy": f"default-src 'none'; script-src {_digest(script)}; style-src {_digest(style)}; img-src data:",
        "title": html.escape(title),
        "body": body.rstrip("\n"),
        "style": style,
        "data": embedded(data),
        "script": script,
    }
    return _PLACE.sub(lambda found: parts[found[1]], frame)


def embedded(data: Any) -> str:
    """Plain data as JSON that may stand in a script element of HTML. Raises `ValueError` for a number not finite."""
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _digest(text: str) -> str:
    """What a content security policy knows an inline script or style by."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
