"""LaTeX as MathML, which browsers show themselves: pages need no script and no network."""

from typing import Any, Literal

from docutils import nodes
from latex2mathml.converter import convert
from sphinx.application import Sphinx
from sphinx.util import logging

LOGGER = logging.getLogger(__name__)


def _mathml(node: nodes.Node, display: Literal["inline", "block"]) -> str:
    found = convert(node.astext(), display=display)
    if "\\" in found:  # a command that the converter does not know is left as it stands
        LOGGER.warning("not all of this is understood: %s", node.astext(), location=node)
    return found


def _inline(translator: Any, node: nodes.Node) -> None:
    translator.body.append(_mathml(node, "inline"))
    raise nodes.SkipNode


def _block(translator: Any, node: nodes.Node) -> None:
    translator.body.append(f'<div class="math">{_mathml(node, "block")}</div>')
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, bool]:
    """Registers the renderer under the name `mathml`."""
    app.add_html_math_renderer("mathml", (_inline, None), (_block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
