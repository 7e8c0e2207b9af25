"""Sources that are not Markdown yet: notebooks; and docstrings, whose bars are no references."""

import json
import re
from pathlib import Path

_CODE = re.compile(r"(``.+?``|`[^`]+`)")


def notebook(text):
    """Turn a notebook into Markdown, with the outputs that are saved in it.

    Args:
        text: What is in the .ipynb file.

    Returns:
        Markdown; pictures are inside it.
    """
    parts = []
    for cell in json.loads(text)["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(source)
        elif source.strip():
            parts.append(f"```python\n{source}\n```")
            parts += [shown for output in cell["outputs"] if (shown := _output(output))]
    return "\n\n".join(parts) + "\n"


def _output(output):
    """One output of a cell: a picture, a table, or what was printed."""
    data = output.get("data", {"text/plain": output.get("text", "")})
    if "image/png" in data:
        return f'<img alt="figure" src="data:image/png;base64,{"".join(data["image/png"]).strip()}">'
    if "text/html" in data:
        lines = "".join(data["text/html"]).splitlines()
        return "\n".join(
            ['<div class="output">', *(line.strip() for line in lines if line.strip()), "</div>"]
        )
    text = "".join(data.get("text/plain", ""))
    return f"```text\n{text.rstrip()}\n```" if text.strip() else ""


def read(app, docname, source):
    """Give Sphinx Markdown, whatever the file holds."""
    if Path(app.env.doc2path(docname)).suffix == ".ipynb":
        source[0] = notebook(source[0])


def clean(app, what, name, obj, options, lines):
    """Keep bars outside code, as in |w·g|, from being read as references, and colons in properties from naming a type."""
    kinds = [line for line in lines if line.startswith(":type: ")]
    if what == "property" and kinds:
        lines[0] = f"{kinds[0].removeprefix(':type: ')}: {lines[0]}"
        lines.remove(kinds[0])
    for i, line in enumerate(lines):
        if not line.lstrip().startswith((">>>", "...")):
            pieces = _CODE.split(line)
            lines[i] = "".join(p if j % 2 else p.replace("|", "\\|") for j, p in enumerate(pieces))


def setup(app):
    """Tell Sphinx."""
    app.connect("source-read", read)
    app.connect("autodoc-process-docstring", clean)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
