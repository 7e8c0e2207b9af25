"""The weight matrices of every family: what they are called, how they lie, what enters them."""

from importlib.metadata import version

import pytest
import torch

from decision_phases.engine import applied
from decision_phases.errors import InputError
from decision_phases.interventions import Intervention, weights
from decision_phases.models import load, tiny_hf
from decision_phases.models.matrices import watching, weight_matrices
from decision_phases.models.plain_matrices import divided
from decision_phases.pruning.sparsity import sparsify

LAYER = 2
HAS_HOOKED = version("transformer-lens").startswith("3.")
# What stays as it is: all that is no matrix, the routers of a mixture, and Mamba's step size.
LEFT = {"mixtral": 4 * 32, "mamba": 64 * 8 + 64 * 4 + 64 * 2}


def seen(case, matrices):
    """What enters each matrix of a layer, `[token, in]` by place in the stack, and in which order tokens came."""
    found = {matrix.name: {} for matrix in matrices}

    def into(name):
        return lambda index, x: found[name].setdefault(index, []).append(x.detach().clone())

    with torch.no_grad(), watching({matrix: into(matrix.name) for matrix in matrices}):
        case.model.logits(case.tokens)
    return {name: {i: torch.cat(xs) for i, xs in stack.items()} for name, stack in found.items()}


def test_every_matrix_is_named_once_and_nothing_else(case):
    matrices = weight_matrices(case.model, LAYER)
    every = case.model.parameters(LAYER)
    assert len({matrix.name for matrix in matrices}) == len(matrices)
    for matrix in matrices:
        assert every[matrix.name] is matrix.parameter
        assert "_original" not in matrix.name
    plain = next(m for m in tiny_hf(case.family).modules() if isinstance(m, torch.nn.ModuleList))[LAYER]
    wide = sum(p.numel() for n, p in plain.named_parameters() if p.ndim > 1 and "time_mix" not in n)
    assert sum(m.parameter.numel() for m in matrices) == wide - LEFT.get(case.family, 0)


def test_parameters_have_the_names_that_their_author_gave_them(case):
    if case.backend == "hooked":
        return
    plain = next(m for m in tiny_hf(case.family).modules() if isinstance(m, torch.nn.ModuleList))[LAYER]
    theirs = {name: p.shape for name, p in plain.named_parameters()}
    own = {name: p.shape for name, p in case.model.parameters(LAYER).items()}
    divided = {"gpt2", "gpt_neox", "bloom", "falcon"}
    assert (own == theirs) != (case.family in divided)
    for name in set(own) - set(theirs):
        assert name.split(".")[1] in "qkvo", name


def test_a_stack_of_matrices_is_the_parameter_in_another_order(case):
    for matrix in weight_matrices(case.model, LAYER):
        stack = matrix.stacked(matrix.parameter.detach())
        assert tuple(stack.shape) == matrix.shape
        assert torch.equal(matrix.unstacked(stack), matrix.parameter)
        flags = stack.numpy() > 0
        assert matrix.unstacked(flags).shape == tuple(matrix.parameter.shape)


def test_parts_are_those_of_the_block(case):
    every = weight_matrices(case.model, LAYER)
    parts = {part: weight_matrices(case.model, LAYER, [part]) for part in ("attention", "mlp")}
    if case.family in ("mamba", "rwkv"):
        assert not parts["attention"] + parts["mlp"]
        assert {matrix.part for matrix in every} == {""}
        return
    names = [matrix.name for part in parts.values() for matrix in part]
    assert sorted(names) == sorted(matrix.name for matrix in every)
    assert all(matrix.part == part for part, some in parts.items() for matrix in some)
    assert len(parts["attention"]) == 4


def test_what_is_seen_is_what_is_multiplied(case):
    """A change of a matrix across all of its inputs changes nothing; one along its inputs does."""
    matrices = weight_matrices(case.model, LAYER)
    found = seen(case, matrices)
    intact = _logits(case)
    for matrix in matrices:
        rows = 3 * torch.randn(matrix.shape[1], generator=torch.Generator().manual_seed(0))
        stack = matrix.stacked(matrix.parameter.detach().clone())
        across, along = stack.clone(), stack.clone()
        assert set(found[matrix.name]) <= set(range(len(stack)))
        for index, x in found[matrix.name].items():
            assert x.shape[1] == matrix.shape[2]
            inside = torch.linalg.svd(x.double(), full_matrices=True)
            rank = int((inside.S / inside.S[0] > 1e-6).sum())
            across[index] += torch.outer(rows, inside.Vh[rank:].sum(0).to(stack))
            along[index] += torch.outer(rows, inside.Vh[0].to(stack))
        same, other = (_logits(case, {matrix.name: matrix.unstacked(new)}) for new in (across, along))
        torch.testing.assert_close(same, intact, rtol=0, atol=2e-3, msg=matrix.name)
        assert float((other - intact).abs().max()) > 1e-2, matrix.name


def _logits(case, parameters=None):
    under = weights(LAYER, parameters) if parameters else Intervention()
    with torch.no_grad(), applied(case.model, under):
        return case.model.logits(case.tokens)


def test_hooks_are_gone_afterwards_also_after_an_exception(case):
    matrices = weight_matrices(case.model, LAYER)

    def fail(index, x):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), torch.no_grad(), watching(dict.fromkeys(matrices, fail)):
        case.model.logits(case.tokens)
    hooks = [h for m in case.model.root.modules() for h in (m._forward_pre_hooks, m._forward_hooks)]
    before = sum(map(len, hooks))
    with watching(dict.fromkeys(matrices, fail)):
        assert sum(map(len, hooks)) == before + len(matrices)
    assert sum(map(len, hooks)) == before
    case.model.logits(case.tokens)


@pytest.mark.skipif(not HAS_HOOKED, reason="TransformerLens 4 has no HookedTransformer")
@pytest.mark.parametrize("family", ["llama", "gpt2", "gpt_neox"])
@pytest.mark.parametrize("spelled", ["wanda:2:4", "sparsegpt:0.5"])
def test_both_kinds_of_model_are_made_sparse_alike(family, spelled):
    """Heads that lie apart and matrices that lie the other way round come to the same."""
    texts = ["Question: Is water wet? Answer: Yes. " * 9 + str(i) for i in range(10)]
    found = []
    for backend in ("bridge", "hooked"):
        model = load(f"tiny-{family}", backend=backend, dtype="float64", quiet=True)
        made = sparsify(model, spelled, texts=texts, window=32)
        with torch.no_grad(), applied(model, made):
            found.append(model.logits(torch.arange(3, 15)[None]))
    torch.testing.assert_close(*found, rtol=0, atol=1e-3)


def test_experts_of_an_unknown_layout_are_refused(monkeypatch, tiny):
    block = tiny.engine_blocks[LAYER]
    monkeypatch.setitem(block._parameters, "mixture", torch.nn.Parameter(torch.ones(2, 3, 4)))
    with pytest.raises(InputError, match=r"keeps mixture of LlamaDecoderLayer in a layout that is not known"):
        weight_matrices(tiny, LAYER)
    assert weight_matrices(tiny, LAYER, ["mlp"])


def test_rows_that_are_alike_are_not_mistaken_for_each_other():
    """Of a joint matrix with equal rows nobody knows which are the queries, and which the keys."""
    values = torch.arange(24.0).view(6, 4)
    q, k = values[::2], values[1::2]
    assert [rows.tolist() for _, rows in divided(values, {"q": q, "k": k})] == [[0, 2, 4], [1, 3, 5]]
    values[3] = values[2]
    assert divided(values, {"q": values[::2], "k": values[1::2]}) == []
