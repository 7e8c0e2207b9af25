"""The comparison of repairs, kept in a folder."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

from decision_phases.engine import texts as read_texts
from decision_phases.interventions import Intervention
from decision_phases.models import ModelAccess
from decision_phases.plots import save_figure
from decision_phases.pruning.sparsity import checked_sparsity
from decision_phases.readout import ask
from decision_phases.repairs import RepairComparison, compare_repairs
from decision_phases.repairs.compare import Methods, check_enough, check_methods, methods_for
from decision_phases.repairs.components import as_if_changed
from decision_phases.repairs.contract import Task
from decision_phases.repairs.repair import source_of
from decision_phases.store import ResultStore, to_continue, write_json, write_table
from decision_phases.studies.keeping import kept_folder
from decision_phases.tasks import QuestionSet


def run_repairs(
    model: ModelAccess,
    cut: Intervention,
    questions: QuestionSet,
    *,
    sparsify: str | None = None,
    methods: Methods = None,
    texts: str = "pydoc",
    window: int = 128,
    limit: int | None = 128,
    held_out: int | None = 64,
    sequential: bool = True,
    seed: int = 0,
    out: Path | None = None,
    resume: bool = False,
    command: str = "",
    progress: bool = True,
    **wording: Any,
) -> tuple[Path, RepairComparison]:
    """Compare repairs of one cut, and keep everything in a folder.

    The folder holds `manifest.json`, `repairs.json`, `repairs.parquet`, `figures/repairs.png` and the fitted maps in
    `fitted/<method>/`, which `Intervention.load` reads; with `sparsify` the changed weights are in there, too.
    `results/` and `training/` have what an interrupted run goes on with.

    Args:
        model: The model.
        cut: The cut.
        questions: What measures.
        sparsify: A method and its amount, such as "wanda:0.5", that set weights to zero; the methods make up for that.
        methods: As in `compare_repairs`.
        texts: A name or a file.
        window: As in `compare_repairs`.
        limit: As in `compare_repairs`.
        held_out: As in `compare_repairs`.
        sequential: As in `compare_repairs`.
        seed: Of everything random.
        out: The folder; `runs/<time>-<model>` by default.
        resume: Continue the run in `out` (or the newest under `runs/`).
        command: The command that was typed.
        progress: Show bars.
        **wording: Of `tasks.encode_questions`.

    Returns:
        The folder and the comparison.

    Raises:
        InputError: If something does not fit, before anything runs.
        KeyboardInterrupt: On Ctrl-C, saying how to continue.
    """
    whole = read_texts(texts, model=model)
    zeros = None
    if sparsify is not None:
        zeros = checked_sparsity(model, sparsify, texts=whole, under=cut, seed=seed)
    supposed = cut if zeros is None else cut + as_if_changed(zeros.targets)
    asked = methods_for(model, supposed, methods)
    encoded = ask(model, questions, seed=seed, **wording)
    check_enough(encoded)
    source = source_of(model, whole, window=window, limit=limit, seed=seed)
    check_methods(Task(model, supposed, source, seed=seed), asked)
    arguments = {
        "job": "repair",
        "cut": str(cut),
        "cut_key": cut.key,
        "sparsify": sparsify,
        "methods": [repr(how) for how in asked],
        "questions": encoded.key,
        "texts": whole.content_hash,
        "window": window,
        "limit": limit,
        "held_out": held_out,
        "sequential": sequential,
        "seed": seed,
    }
    with kept_folder(model, arguments, questions.content_hash, seed=seed, out=out, resume=resume) as folder:
        try:
            if zeros is not None:
                cut = cut + zeros.made(progress=progress)
            with closing(ResultStore(folder / "results")) as store:
                found = compare_repairs(
                    model, cut, methods=asked, questions=encoded, texts=whole, window=window, limit=limit,
                    held_out=held_out, sequential=sequential, seed=seed, store=store,
                    checkpoint=folder / "training", progress=progress,
                )  # fmt: skip
        except KeyboardInterrupt as stopped:
            raise KeyboardInterrupt(_how_to_continue(str(stopped), command, folder)) from None
        _keep(folder, found, command)
    return folder, found


def _how_to_continue(said: str, command: str, folder: Path) -> str:
    how = to_continue(command, folder) if command else f"run_repairs(..., out={str(folder)!r}, resume=True)"
    return "\n".join(part for part in (said, f"continue with: {how}") if part)


def _keep(folder: Path, found: RepairComparison, command: str) -> None:
    """Write everything; with what makes up for changed weights these too, as they would not come out alike again."""
    changed = Intervention(tuple(edit for edit in found.cut if edit.op == "weights"))
    for row in found.rows:
        target = folder / "fitted" / row.method
        if row.repair is not None and not (target / "intervention.json").exists():
            (changed + row.repair).save(target)
    write_table(folder / "repairs.parquet", found.to_pandas())
    save_figure(found.plot(), folder / "figures" / "repairs.png")
    write_json(folder / "repairs.json", {"command": command, **found.to_dict()})
