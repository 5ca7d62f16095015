"""Mixed precision and compilation of repeated blocks: what makes training faster on a GPU."""

from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum

import torch
from torch import nn


class Precision(StrEnum):
    """What matrix products are computed in; weights, sums and losses stay in float32."""

    FULL = "full"  # float32
    BF16 = "bf16"  # float32's range at 8 bits: no scaling needed
    FP16 = "fp16"  # for GPUs before Ampere; losses are scaled, or small gradients would vanish

    def autocast(self, device: torch.device) -> torch.autocast:
        """Return the context that a step's loss is computed in."""
        kind = torch.float16 if self is Precision.FP16 else torch.bfloat16
        return torch.autocast(device.type, dtype=kind, enabled=self is not Precision.FULL)

    def scaler(self, device: torch.device) -> torch.amp.GradScaler:
        """Return the loss scaler; it does nothing where none is needed."""
        return torch.amp.GradScaler(device.type, enabled=self is Precision.FP16)


def best_precision(device: torch.device) -> Precision:
    """Return what is fastest without harm: bf16 or fp16 on a GPU; on a CPU bf16 is mostly emulated, so float32."""
    if device.type != "cuda":
        return Precision.FULL
    return Precision.BF16 if torch.cuda.is_bf16_supported(including_emulation=False) else Precision.FP16


@contextmanager
def compiled_blocks(model: nn.Module, enabled: bool) -> Iterator[None]:
    """Compile the blocks that a model repeats (those in its ``ModuleList``s) while it trains.

    Block by block instead of the whole: one compilation serves all layers, and drawing batches stays plain Python.
    Afterwards the model is as it was, for export.
    """
    lists = [module for module in model.modules() if isinstance(module, nn.ModuleList)] if enabled else []
    blocks = [block for repeated in lists for block in repeated if not isinstance(block, nn.ModuleList)]
    for block in blocks:
        block.compile(dynamic=True)  # batches differ in length: one program for all of them
    try:
        yield
    finally:
        for block in blocks:
            block._compiled_call_impl = None  # torch has no other way to undo it
