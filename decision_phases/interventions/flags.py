"""The cut that command-line flags ask for."""

from decision_phases.interventions import builders
from decision_phases.interventions.intervention import Intervention
from decision_phases.interventions.layer_sets import parse_layers


def cut_from_flags(
    *, skip: str | None = None, skip_attention: str | None = None, skip_mlp: str | None = None
) -> Intervention:
    """Return the cut that the flags `--skip`, `--skip-attention` and `--skip-mlp` describe.

    Args:
        skip: Blocks to remove, such as `"5-8,12"`; None for none.
        skip_attention: Layers whose attention is removed.
        skip_mlp: Layers whose MLP is removed.

    Returns:
        The cut; the empty intervention if no flag is given.

    Raises:
        InputError: If a text lists no layers, or something is removed twice; the message names the flag.

    Example:
        >>> cut_from_flags(skip="5-8,12", skip_mlp="20")
        <Intervention: skip {5..8, 12} + skip mlp {20}>
    """
    cut = Intervention()
    flags = (
        ("--skip", "block", skip),
        ("--skip-attention", "attention", skip_attention),
        ("--skip-mlp", "mlp", skip_mlp),
    )
    for flag, part, text in flags:
        if text is not None:
            cut += builders.skip(parse_layers(text, flag), part=part)
    return cut
