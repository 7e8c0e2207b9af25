"""Pages that nobody writes: the reference of public names, the command line, and what experiments found.

They go to docs/generated/, which is not kept, when a build begins.
"""

import io
import re
import shutil
from collections.abc import Mapping
from contextlib import redirect_stdout
from importlib import import_module
from pathlib import Path

ROOT = Path(__file__).parents[2]

#: Homes of public names in the order in which one needs them; others follow.
HOMES = ("models", "tasks", "readout", "lenses", "interventions", "engine", "pruning", "pruning.game",
         "pruning.sparsity", "hierarchy", "circuits", "repairs", "exports", "studies.steering", "studies.steered",
         "views", "store", "errors")  # fmt: skip

#: A picture that stands beside the text that shows it.
PICTURE = re.compile(r"\]\((\w+\.png)\)")


def pages():
    """Everything that is generated.

    Returns:
        Path below docs/generated → Markdown.
    """
    found = {"command-line.md": command_line()}
    found |= {f"reference/{home}.md": text for home, text in reference().items()}
    found |= {f"experiments/{name}.md": text for name, text in experiments().items()}
    for folder, title, intro in (
        ("reference", "Reference", "All public names, `import decision_phases as dp`, by where they live."),
        (
            "experiments",
            "Experiments",
            "What was asked of a real model, and what came out; every number is from its run.",
        ),
    ):
        names = [
            path.removeprefix(f"{folder}/").removesuffix(".md") for path in found if path.startswith(folder)
        ]
        listed = "\n".join(names)
        found[f"{folder}/index.md"] = (
            f"# {title}\n\n{intro}\n\n```{{toctree}}\n:maxdepth: 1\n\n{listed}\n```\n"
        )
    return found


def reference():
    """One page for each module that is home to public names.

    Returns:
        Module below decision_phases → Markdown.
    """
    import decision_phases as dp

    homes = {module.removeprefix("decision_phases."): names for module, names in dp._HOMES.items()}
    order = [*(name for name in HOMES if name in homes), *(name for name in homes if name not in HOMES)]
    return {home: _home(home, homes[home]) for home in order}


def _home(home, names):
    module = import_module(f"decision_phases.{home}")
    intro = (module.__doc__ or "").strip().split("\n\n")[0]
    parts = [f"# {home}", intro]
    for name in names:
        value = getattr(module, name)
        if isinstance(value, Mapping):
            parts += [f"## {name}", registry(value)]
        else:
            parts += [f"## {name}", f"```{{eval-rst}}\n{_directive(home, name, value)}\n```"]
    return "\n\n".join(parts) + "\n"


def _directive(home, name, value):
    path = f"decision_phases.{name}"
    if not isinstance(value, type):
        return f".. autofunction:: {path}"
    kind = "exception" if issubclass(value, BaseException) else "class"
    return f".. auto{kind}:: {path}" + ("\n   :members:" if kind == "class" else "")


def registry(members):
    """What a registry holds.

    Args:
        members: Name → member, with `what` and perhaps `source`.

    Returns:
        A Markdown table.
    """
    sources = any(getattr(member, "source", "") for member in members.values())
    rows = [["name", "what it is", *(["source"] if sources else [])]]
    rows += [
        [f"`{name}`", member.what, *([getattr(member, "source", "")] if sources else [])]
        for name, member in members.items()
    ]
    lines = ["| " + " | ".join(map(_cell, row)) + " |" for row in rows]
    return "\n".join([lines[0], "|" + " --- |" * len(rows[0]), *lines[1:]])


def _cell(text):
    return text if text.startswith("`") else re.sub(r"([|*_<\\])", r"\\\1", str(text))


def command_line():
    """The help texts of the command and of every command below it.

    Returns:
        Markdown.
    """
    from decision_phases.cli import main

    names = ["", *main.commands]
    parts = [
        "# Command line",
        "Every command explains itself; this is what `decision-phases COMMAND --help` prints.",
    ]
    for name in names:
        told = io.StringIO()
        with redirect_stdout(told):
            main([*([name] if name else []), "--help"], prog_name="decision-phases", standalone_mode=False)
        parts += [f"## {name or 'decision-phases'}", f"```text\n{told.getvalue().rstrip()}\n```"]
    return "\n\n".join(parts) + "\n"


def experiments():
    """What every experiment found, or that it has not been run.

    Returns:
        Name → Markdown.
    """
    found = {}
    for settings in sorted(ROOT.glob("experiments/*/settings.py")):
        folder = settings.parent
        found[folder.name] = f"# {folder.name}\n\nNot run yet: see `experiments/{folder.name}`.\n"
        for text in (*folder.glob("README.md"), *folder.glob("*/README.md")):
            name = page_of(text.parent)
            found[name] = PICTURE.sub(rf"]({name}-\1)", text.read_text("utf-8"))
    return dict(sorted(found.items()))


def page_of(folder):
    """What the page of an experiment is called: "strategies", or "strategies-arc_easy" for a run on a file."""
    return "-".join(folder.relative_to(ROOT / "experiments").parts)


def write(app, config):
    """Write the pages that changed, and take away those that are no more."""
    out = Path(app.srcdir) / "generated"
    wanted = pages()
    for path in out.rglob("*.md"):
        if str(path.relative_to(out)) not in wanted:
            path.unlink()
    for name, text in wanted.items():
        path = out / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.is_file() or path.read_text("utf-8") != text:
            path.write_text(text, encoding="utf-8")
    for pattern in ("*/*.png", "*/*/*.png"):
        for picture in (ROOT / "experiments").glob(pattern):
            shutil.copyfile(picture, out / "experiments" / f"{page_of(picture.parent)}-{picture.name}")


def setup(app):
    """Tell Sphinx."""
    app.connect("config-inited", write)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
