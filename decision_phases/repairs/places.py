"""Where a cut can be repaired: one map for every run of removed blocks, and for every layer that lost a part."""

from __future__ import annotations

from dataclasses import dataclass

from decision_phases.errors import InputError
from decision_phases.interventions import Intervention, layer_runs, skip
from decision_phases.models import ModelAccess


@dataclass(frozen=True)
class Place:
    """One place of a map: what is read there under the cut is mapped onto what the intact model has behind the cut.

    Attributes:
        site: Site of the map.
        layer: Layer of the map.
        cut: The removals that it makes up for.
        without: Those of them that must be gone for what enters the map to be read at its site.
        target: Site and layer that are read in the intact model.
    """

    site: str
    layer: int
    cut: Intervention
    without: Intervention
    target: tuple[str, int]

    def __str__(self) -> str:
        return str(self.cut)


def places_of(model: ModelAccess, cut: Intervention) -> tuple[Place, ...]:
    """Find the places at which a cut is repaired, in the order of computation.

    A run of removed blocks has one map, instead of its first block; if it reaches the end of the model, behind the
    last block that is left, which is what the model then says. (In a family whose own loop changes the stream between
    blocks the map stands at the last block of the run, behind all such changes.) Where only the attention of a layer is
    removed, the map acts behind it, before the MLP if there is such a point; where the MLP or both are removed, at the
    end of the layer.

    Args:
        model: The model.
        cut: The cut.

    Returns:
        The places.

    Raises:
        InputError: If the cut is empty, is more than a cut, leaves no block, or cannot be repaired in this family.

    Example:
        >>> from decision_phases.models import load
        >>> [(p.site, p.layer, str(p)) for p in places_of(load("tiny-llama", quiet=True), skip(1, 2, 4))]
        [('resid_pre', 1, 'skip {1, 2}'), ('resid_pre', 4, 'skip {4}')]
    """
    check_cut(model, cut)
    found = [_run(model, run) for run in layer_runs(cut.removed_blocks)]
    attention, mlp = cut.removed("attention"), cut.removed("mlp")
    between = model.capabilities.resid_mid
    for layer in sorted({*attention, *mlp}):
        parts = [part for part, layers in (("attention", attention), ("mlp", mlp)) if layer in layers]
        site = "resid_mid" if parts == ["attention"] and between else "resid_post"
        gone = sum((skip(layer, part=part) for part in parts), start=Intervention())
        found.append(Place(site, layer, gone, gone, (site, layer)))
    return tuple(sorted(found, key=lambda place: place.cut.earliest_layer or 0))


def check_cut(model: ModelAccess, cut: Intervention) -> None:
    """Refuse what is no cut of this model.

    Args:
        model: The model.
        cut: The cut.

    Raises:
        InputError: If it is empty, is more than a cut, leaves no block, or does not fit the model.
    """
    if not cut:
        msg = "the cut is empty, so there is nothing to repair; give removals such as dp.skip(5, 6)"
        raise InputError(msg)
    if not cut.is_cut:
        other = next(edit for edit in cut if edit.op != "skip")
        instead = "; for changed weights use method='lost_components'" if other.op == "weights" else ""
        msg = (
            f"'{other}' is no removal; maps are fitted to a cut, which is made of dp.skip(...) only{instead}"
        )
        raise InputError(msg)
    cut.validate(n_layers=model.n_layers, sites=model.sites)
    emptied = set(cut.removed("attention")) & set(cut.removed("mlp"))
    if len({*cut.removed_blocks, *emptied}) == model.n_layers:
        msg = f"the cut removes all {model.n_layers} blocks of {model.name} and leaves nothing; keep at least one"
        raise InputError(msg)


def _run(model: ModelAccess, run: tuple[int, ...]) -> Place:
    target, cut = ("resid_post", run[-1]), skip(*run)
    at_the_end = run[-1] == model.n_layers - 1
    if model.capabilities.direct:
        site, layer = ("resid_post", run[0] - 1) if at_the_end else ("resid_pre", run[0])
        return Place(site, layer, cut, Intervention(), target)
    if at_the_end:
        msg = (
            f"'{cut}' reaches the end of {model.name}, whose own loop ({model.architecture}) changes the stream "
            "between blocks; keep its last block, or leave this cut as it is"
        )
        raise InputError(msg)
    return Place("resid_pre", run[-1], cut, skip(*run[:-1]) if len(run) > 1 else Intervention(), target)
