"""Repairs that train the blocks around a cut, a few directions of each matrix."""

from decision_phases.repairs.lora.losses import LOSSES, Loss
from decision_phases.repairs.lora.repair import LORA, LORA_DISTIL, LORA_LENS, LORA_TRAJECTORY, LoraRepair

__all__ = ["LORA", "LORA_DISTIL", "LORA_LENS", "LORA_TRAJECTORY", "LOSSES", "LoraRepair", "Loss"]
