"""Token positions side by side: every distinct beginning once, and what is computed of it is what it was."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from decision_phases.engine import evaluate
from decision_phases.engine.evaluate import plan_for
from decision_phases.engine.packs import make_pack
from decision_phases.engine.trees import make_trees
from decision_phases.interventions import Intervention, skip
from decision_phases.models import FAMILIES, ModelAccess
from decision_phases.models.packed import Attending, attend
from decision_phases.readout import DecisionObserver, StateObserver, ask
from decision_phases.readout.observe import FinalObserver
from decision_phases.tasks import TokenSequence, questions

TEXTS = st.lists(st.lists(st.integers(1, 3), min_size=1, max_size=7), min_size=1, max_size=14)
PACKING = {"llama", "mistral", "qwen2", "qwen3", "gemma2", "gemma3", "mixtral", "granite"}


def of(texts: list[list[int]], per_owner: int) -> list[TokenSequence]:
    return [TokenSequence(tuple(t), (len(t) - 1,), (), i // per_owner) for i, t in enumerate(texts)]


@given(TEXTS, st.integers(1, 3), st.booleans(), st.booleans(), st.integers(5, 40))
def test_every_beginning_stands_once_and_after_what_it_depends_on(
    texts: list[list[int]], per_owner: int, share: bool, alike: bool, most: int
) -> None:
    rows = of(texts, per_owner)
    for tree in make_trees(rows, share=share, share_all=alike, max_tokens=most):
        pack = make_pack(tree)
        distinct: set[Any] = set()
        for (_, batch), paths in zip(tree.leaves, pack.places, strict=True):
            for index, s, path in zip(batch.indices, batch.sequences, paths, strict=True):
                assert pack.tokens[path.nodes].tolist() == list(s.tokens)
                assert pack.depths[path.nodes].tolist() == list(range(len(s)))
                assert (np.diff(path.nodes) > 0).all()
                whose = None if share and alike else s.owner if share else index
                distinct |= {(whose, s.tokens[: i + 1]) for i in range(len(s))}
        assert len(pack) == len(distinct)
        assert pack.pieces[0][0] == 0
        assert pack.pieces[-1][1] == len(pack)


@given(TEXTS, st.integers(1, 3), st.booleans())
def test_from_side_by_side_to_stretches_and_back(texts: list[list[int]], per_owner: int, alike: bool) -> None:
    rows = of([[*range(10, 40), *t] for t in texts], per_owner)
    for tree in make_trees(rows, share=True, share_all=alike):
        pack = make_pack(tree)
        tokens = torch.from_numpy(pack.tokens)
        flat = torch.cat([tokens[nodes].flatten() for nodes in pack.spread])
        assert torch.equal(flat[pack.gathered], tokens)
        for stretch, nodes in zip(tree.stretches, pack.spread, strict=True):
            real = stretch.tokens != 0
            assert torch.equal(tokens[nodes][real], stretch.tokens[real])


@given(TEXTS)
def test_a_position_attends_to_itself_and_what_comes_before_it_in_its_sequence(
    texts: list[list[int]],
) -> None:
    (tree,) = make_trees(of(texts, 1), share=True)
    pack = make_pack(tree)
    wanted = np.zeros(len(pack), bool)
    wanted[::2] = True
    seen = {}
    for group in (group for some in pack.groups(wanted) for group in some):
        for query, row in zip(group.queries, group.allowed, strict=True):
            seen[int(np.flatnonzero(wanted)[query])] = sorted(group.keys[row].tolist())
    expected = {
        int(node): path.nodes[: i + 1].tolist() for path in pack.paths for i, node in enumerate(path.nodes)
    }
    assert seen == {node: keys for node, keys in expected.items() if wanted[node]}


@pytest.mark.parametrize("family", FAMILIES)
def test_families_that_pack_are_known(family: str, model_of: Any) -> None:
    assert model_of(family).packs == (family in PACKING)


@pytest.mark.parametrize("family", ["llama", "mistral", "gemma2"])
def test_piece_by_piece_is_the_same_and_the_last_block_where_it_is_read(
    family: str, model_of: Any, monkeypatch: Any
) -> None:
    """Sliding windows of 8 tokens lie across pieces of 30 positions; of the last block, residuals are read too."""
    model = model_of(family)
    encoded = ask(model, questions("facts", limit=12), scoring="cloze", shots=1)
    variants = [Intervention(), skip(5), skip(2, 4)]

    def read(**how: Any) -> list[Any]:
        look = [FinalObserver(), DecisionObserver(), StateObserver()]
        runs = list(evaluate(model, encoded, variants, look, **how))
        return [a for r in runs for a in (r["final"].scores, r["decisions"].scores, np.asarray(r["states"]))]

    whole, pieces = read(), read(max_tokens=30)
    plan = plan_for(model, encoded, variants, [FinalObserver()], max_tokens=30)
    assert max(len(make_pack(tree).pieces) for group in plan.groups for tree in group) > 2
    monkeypatch.setitem(model.__dict__, "packs", False)
    for a, b, c in zip(whole, pieces, read(), strict=True):
        np.testing.assert_allclose(a, c, atol=2e-5)
        np.testing.assert_allclose(b, c, atol=2e-5)


def test_a_variant_gives_the_same_bits_alone_and_among_others(tiny: ModelAccess) -> None:
    encoded = ask(tiny, questions("facts", limit=8))
    variants = [skip(5), Intervention(), skip(1), skip(1, 5)]
    together = [r["final"].scores for r in evaluate(tiny, encoded, variants, [FinalObserver()])]
    for variant, scores in zip(variants, together, strict=True):
        (alone,) = evaluate(tiny, encoded, [variant], [FinalObserver()])
        assert np.array_equal(alone["final"].scores, scores)


def test_the_plan_says_how_many_positions_are_computed(tiny: ModelAccess) -> None:
    rows = of([[5, 6, 7, 8], [5, 6, 9], [5, 7]], 1)
    encoded = ask(tiny, questions("facts", limit=4))
    said = plan_for(tiny, encoded, [skip(1)], [FinalObserver()]).explain()
    beginnings = {s.tokens[: i + 1] for s in encoded.sequences for i in range(len(s))}
    assert f"{len(beginnings)} token positions side by side, without padding" in said
    (tree,) = make_trees(rows, share=True)
    assert len(make_pack(tree)) == 4 + 1 + 1


def test_attention_that_wants_more_than_a_mask_is_refused(tiny: ModelAccess) -> None:
    """A bias by position would be read off the wrong positions."""
    module = tiny.engine_blocks[0].get_submodule("self_attn")
    x = torch.zeros(1, 4, 3, 8)
    call = Attending(None)
    call.layout = object()  # type: ignore[assignment]  # not reached
    with pytest.raises(NotImplementedError, match="position_bias"):
        attend(module, x, x, x, call, scaling=1.0, position_bias=torch.zeros(3, 3))
