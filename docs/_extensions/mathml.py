"""Mathematics as MathML, by the converter that comes with docutils: browsers draw it without a script or a font of ours."""

from docutils.nodes import SkipNode
from docutils.utils.math import latex2mathml


def inline(translator, node):
    translator.body.append(latex2mathml.tex2mathml(node.astext()))
    raise SkipNode


def block(translator, node):
    math = latex2mathml.tex2mathml(node.astext(), as_block=True)
    translator.body.append(f'<div class="math" tabindex="0">{math}</div>')  # wide ones scroll, by keyboard too
    raise SkipNode


def setup(app):
    app.add_html_math_renderer("mathml", (inline, None), (block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
