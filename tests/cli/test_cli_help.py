"""Help teaches, is quick, and tells the truth about names and defaults."""

import subprocess
import sys

import pytest
from click.testing import CliRunner

from decision_phases.cli import main
from decision_phases.pruning import OBJECTIVES, SEARCHES, STRATEGIES
from decision_phases.repairs import COMPENSATIONS, REPAIRS
from decision_phases.studies import RunSettings
from decision_phases.tasks import SCORINGS, TEMPLATES

COMMANDS = ("run", "read", "prune", "compare", "spaces", "patch", "repair", "export", "models", "questions")
SHARED = "--model --questions --scoring --template --show-options --shots --limit --seed --device --dtype --backend"
KEPT = "--out --resume --quick --no-progress --threads --skip --skip-attention --skip-mlp"


def help_of(*command: str) -> str:
    result = CliRunner().invoke(main, [*command, "--help"], terminal_width=400, max_content_width=400)
    assert result.exit_code == 0
    return result.output


def test_the_group_lists_every_command():
    assert set(main.commands) == set(COMMANDS)
    text = help_of()
    assert all(f"  {name} " in text for name in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself_with_examples(command):
    text = help_of(command)
    assert "Examples:" in text
    assert text.count(f"decision-phases {command}") >= 3
    assert CliRunner().invoke(main, [command, "-h"]).exit_code == 0


@pytest.mark.parametrize("command", ["run", "read", "prune", "compare", "spaces"])
def test_options_are_the_same_wherever_a_model_is_run(command):
    names = {flag for option in main.commands[command].params for flag in option.opts}
    assert names >= {*SHARED.split(), *KEPT.split()}


@pytest.mark.parametrize("command", ["run", "prune", "compare"])
def test_pruning_options_and_their_defaults_are_those_of_the_library(command):
    options = {option.name: option.default for option in main.commands[command].params}
    defaults = RunSettings()
    for name in ("questions", "limit", "split", "up_to", "draws", "seed", "shots"):
        assert options[name] == getattr(defaults, name), name
    text = help_of(command)
    assert f"[default: {defaults.limit}]" in text
    assert f"[default: {defaults.split}]" in text


def test_help_names_everything_that_can_be_chosen():
    text = help_of("prune")
    for name in (
        *SCORINGS,
        *TEMPLATES,
        *STRATEGIES,
        *OBJECTIVES,
        *(n for n, s in SEARCHES.items() if s.by != "order"),
    ):
        assert name in text


def test_help_names_every_repair():
    text = help_of("repair")
    assert all(f" {name} " in text for name in REPAIRS)
    lora, bottleneck, patch = (REPAIRS[name] for name in ("lora", "bottleneck", "patch_distil"))
    assert f"({lora.steps} steps of {lora.batch} tokens" in text
    assert f"({bottleneck.steps} steps)" in text
    rank = COMPENSATIONS["lost_components"].rank
    assert f"[default: {lora.rank}; of a head {rank}]" in " ".join(text.split())
    assert f"trained ({COMPENSATIONS['learned_components'].steps} steps of" in " ".join(text.split())
    assert all(f" {name} " in text for name in COMPENSATIONS)
    assert f"[default: {lora.rate}; patch_distil {patch.rate:.4f}]" in " ".join(text.split())
    assert lora.rate == bottleneck.rate
    assert (lora.steps, lora.batch) == (patch.steps, patch.batch)
    assert f"the {['no', 'one', 'two'][lora.neighbours]} blocks on either side" in text


def test_help_does_not_wait_for_torch():
    script = (
        "import sys\n"
        "from decision_phases.cli import main\n"
        "main(['run', '--help'], standalone_mode=False)\n"
        "heavy = {'torch', 'numpy', 'pandas', 'transformers', 'transformer_lens'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_package_is_a_program():
    done = subprocess.run(
        [sys.executable, "-m", "decision_phases", "--version"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("decision-phases ")
    helped = subprocess.run(
        [sys.executable, "-m", "decision_phases", "--help"], capture_output=True, text=True, check=False
    )
    assert helped.stdout.startswith("Usage: decision-phases ")
