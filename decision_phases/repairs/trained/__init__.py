"""Repairs that train on text: the maps at a cut, or the blocks around it, a few directions of each matrix."""

from decision_phases.repairs.trained.lora import LORA, LORA_DISTIL, LORA_LENS, LORA_TRAJECTORY, LoraRepair
from decision_phases.repairs.trained.losses import LOSSES, Loss
from decision_phases.repairs.trained.patch import PATCH_DISTIL, PatchRepair

__all__ = [
    "LORA",
    "LORA_DISTIL",
    "LORA_LENS",
    "LORA_TRAJECTORY",
    "LOSSES",
    "PATCH_DISTIL",
    "LoraRepair",
    "Loss",
    "PatchRepair",
]
