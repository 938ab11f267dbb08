"""Mathematics as MathML, by the converter that comes with docutils: browsers draw it without a script or a font of ours."""

from docutils.nodes import SkipNode
from docutils.utils.math import MathError, latex2mathml
from sphinx.util import logging


def mathml(node, as_block):
    text = node.astext().replace(r"\Bigm", r"\Bigl")           # the one command in the docstrings that it lacks
    try:
        return latex2mathml.tex2mathml(text, as_block=as_block)
    except MathError as error:
        logging.getLogger(__name__).warning("%s in %s", error, text, location=node)
        return ""


def inline(translator, node):
    translator.body.append(mathml(node, False))
    raise SkipNode


def block(translator, node):
    translator.body.append(f'<div class="math" tabindex="0">{mathml(node, True)}</div>')  # wide ones scroll, by keyboard too
    raise SkipNode


def setup(app):
    app.add_html_math_renderer("mathml", (inline, None), (block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
