"""From residual streams to decisions: lenses, margins, phases."""
