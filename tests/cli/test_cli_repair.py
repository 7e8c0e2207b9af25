"""`decision-phases repair`, on a small random model."""

import json

from decision_phases.interventions import Intervention, skip

SMALL = ("--model", "tiny-llama", "--limit", 20, "--windows", 8, "--window", 32, "--threads", 1)


def test_it_compares_prints_and_keeps(type_in, tmp_path):
    path = tmp_path / "texts.txt"
    path.write_text("\n\n".join(f"Is water number {i} wet? Yes, it is, and fire is hot." for i in range(80)))
    cut = ("--skip", "2-3", "--skip-mlp", 4)
    result = type_in("repair", *SMALL, *cut, "--method", "ghost,diagonal", "--texts", path, "--out", "out")
    assert result.exit_code == 0, result.output
    kept = json.loads((tmp_path / "out" / "repairs.json").read_text())
    assert [row["method"] for row in kept["rows"]] == ["intact", "nothing", "ghost", "diagonal"]
    assert kept["cut"] == "skip {2, 3} + skip mlp {4}"
    assert kept["command"].startswith("decision-phases repair --model tiny-llama")
    for row in kept["rows"]:
        assert f"accuracy {row['accuracy']:.3f}" in result.stdout
    maps = Intervention.load(tmp_path / "out" / "fitted" / "ghost")
    assert (skip(2, 3) + skip(4, part="mlp") + maps).removed_blocks == (2, 3)
    assert result.stdout.splitlines()[-2] == "folder  out"


def test_what_cannot_be_used_is_said_at_once(type_in):
    nothing = type_in("repair", *SMALL)
    assert nothing.exit_code == 2
    assert "nothing is removed" in nothing.stderr
    unknown = type_in("repair", *SMALL, "--skip", 2, "--method", "goast")
    assert unknown.exit_code == 2
    assert "did you mean 'ghost'" in unknown.stderr
    everything = type_in("repair", *SMALL, "--skip", "0-5")
    assert everything.exit_code == 2
    assert "leaves nothing" in everything.stderr
