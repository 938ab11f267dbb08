"""llms.txt: all pages with a line each, in the root of the site."""

from pathlib import Path

from docutils import nodes


def describe(app, doctree):
    """A page is described by its metadata, or else by its first sentence."""
    for meta in doctree.findall(nodes.meta):
        if meta.get("name") == "description":
            text = meta["content"]
            break
    else:
        texts = [node.astext() for node in doctree.findall(nodes.paragraph) if not isinstance(node.parent, nodes.Admonition)]
        text = " ".join(texts[:1]).replace("\n", " ").split(". ")[0]
    app.env.metadata[app.env.docname]["description"] = text.rstrip(".:")


def write(app, error):
    if error or app.builder.format != "html":
        return
    env, lines, seen = app.env, [], set()

    def add(page):
        if page in seen:
            return
        seen.add(page)
        uri, description = app.builder.get_target_uri(page), env.metadata[page]["description"]
        lines.append(f"- [{env.titles[page].astext()}]({uri}): {description}")
        for child in env.toctree_includes.get(page, []):
            add(child)

    root = app.config.root_doc
    for page in env.toctree_includes[root]:
        lines += ["", f"## {env.titles[page].astext()}", ""]
        add(page)
    text = "\n".join([f"# {app.config.project}", "", f"> {env.metadata[root]['description']}.", *lines, ""])
    Path(app.outdir, "llms.txt").write_text(text)


def setup(app):
    app.connect("doctree-read", describe)
    app.connect("build-finished", write)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
