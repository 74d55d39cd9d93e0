"""In which precision this machine runs networks fast."""

from typing import Literal

import torch

Precision = Literal["bf16", "float32"]


def best_precision(device: torch.device | str = "cpu") -> Precision:
    """bfloat16 where the processor multiplies it faster than float32, float32 elsewhere.

    Processors without bfloat16 instructions emulate it, a hundred times slower than float32, so the flags are
    asked, not the library (which runs it anywhere). Intel's with avx512_bf16 alone (its Xeons in virtual
    machines that hide their tiles) do have the instruction, but a slow one: conv3d peaked at 0.20 TFLOP/s on
    one where float32 peaked at 0.39 (docs/speed.md).

    Args:
        device: where the network will run.
    """
    if torch.device(device).type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float32"
    flags = torch.cpu.get_capabilities()
    vectors = flags.get("avx512_bf16") and "Intel" not in str(flags.get("cpu_name"))
    return "bf16" if vectors or flags.get("amx_bf16") or flags.get("bf16") else "float32"
