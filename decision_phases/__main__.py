"""`python -m decision_phases`."""

from decision_phases.cli import main

if __name__ == "__main__":
    main(prog_name="decision-phases")
