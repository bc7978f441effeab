"""Where the networks of the full profile run, in which precision, and how they share a device's memory."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from .errors import InputError

if TYPE_CHECKING:
    import torch
    from torch import nn


class MemoryPlan(Enum):
    """How memory is spared; the frames are the same but for rounding.

    GIGABYTES is what each needs of a GPU at 512 × 512 and clips of 16 frames in bfloat16 or float16, computed
    (``python benchmarks/arithmetic.py``) and not measured, with a tenth for what the libraries take.
    """

    RESIDENT = "resident"
    """All networks stay on the device, all passes of guidance are run at once, frames are decoded four at a time."""
    SEQUENTIAL = "sequential"
    """All networks stay; passes are run one after the other, and frames are decoded one by one."""
    OFFLOADED = "offloaded"
    """As SEQUENTIAL, and a network is on the device only while it works."""


@dataclass(frozen=True, kw_only=True)
class Placement:
    """Where and how the networks run.

    Attributes:
        device: such as torch.device("cuda").
        dtype: of weights and of what they compute.
        plan: how memory is shared.
        compile: whether ``torch.compile`` prepares the UNets: minutes at first, some tenths faster afterwards. On
            ZeroGPU, where each request is a new process, it is never done. (Kernels that are compiled ahead of time
            would be the way there; that is not built.)
    """

    device: torch.device
    dtype: torch.dtype
    plan: MemoryPlan = MemoryPlan.RESIDENT
    compile: bool = False

    @classmethod
    def for_this_machine(cls, *, compile: bool = False) -> Placement:
        """On a CUDA device if there is one, as its free memory allows; else on the CPU.

        Raises:
            InputError: the GPU has too little free memory.
        """
        import torch

        if not torch.cuda.is_available():
            return cls(device=torch.device("cpu"), dtype=torch.float32, plan=MemoryPlan.SEQUENTIAL, compile=compile)
        # Cards before Ampere only emulate bfloat16. Hallo's weights were made for float16.
        dtype = torch.bfloat16 if on_zero_gpu() or torch.cuda.get_device_capability() >= (8, 0) else torch.float16
        plan = MemoryPlan.RESIDENT
        if not on_zero_gpu():  # there the GPU comes later, and is a large one
            plan = plan_for(torch.cuda.mem_get_info()[0])
        return cls(device=torch.device("cuda"), dtype=dtype, plan=plan, compile=compile)

    @property
    def for_analysis(self) -> Placement:
        """Where speech and photo are looked at: on ZeroGPU on the CPU, where that costs the visitor no GPU time."""
        if not on_zero_gpu():
            return self
        import torch

        return Placement(device=torch.device("cpu"), dtype=torch.float32, plan=self.plan)

    @property
    def compiles(self) -> bool:
        return self.compile and not on_zero_gpu()

    @property
    def passes_at_once(self) -> bool:
        """Whether all passes of guidance are one batch."""
        return self.plan is MemoryPlan.RESIDENT

    @property
    def decoded_at_once(self) -> int:
        """How many pictures the autoencoder takes together."""
        return 4 if self.plan is MemoryPlan.RESIDENT else 1

    def place(self, networks: Sequence[nn.Module], taking_turns: Sequence[nn.Module]) -> None:
        """Put networks on the device for good, in this precision; they learn nothing there.

        Args:
            networks: the small ones.
            taking_turns: the large ones, which ``bring`` may move.
        """
        import torch
        from torch import nn

        home = torch.device("cpu") if self.plan is MemoryPlan.OFFLOADED else self.device
        for network in (*networks, *taking_turns):
            place = home if any(network is each for each in taking_turns) else self.device
            # diffusers' own ``to`` warns of every change of precision, because some of its models cannot bear it
            nn.Module.to(network.eval().requires_grad_(False), place, self.dtype, memory_format=torch.channels_last)

    def bring(self, wanted: nn.Module, taking_turns: Sequence[nn.Module]) -> None:
        """Have the one that is wanted on the device, after the others have left it if there is no room for all."""
        if self.plan is MemoryPlan.OFFLOADED:
            for network in taking_turns:
                if network is not wanted:
                    network.to("cpu")
            wanted.to(self.device)


GIGABYTES = {MemoryPlan.RESIDENT: 10.0, MemoryPlan.SEQUENTIAL: 8.5, MemoryPlan.OFFLOADED: 6.5}


def plan_for(free: int) -> MemoryPlan:
    """The fastest plan for so many free bytes.

    Raises:
        InputError: none is enough.
    """
    for plan, needed in GIGABYTES.items():
        if free >= needed * 1e9:
            return plan
    raise InputError(
        f"The full profile needs {GIGABYTES[MemoryPlan.OFFLOADED]} GB of free GPU memory and {free / 1e9:.1f} GB "
        "are free; end other programs that use the GPU, or take the profile mini."
    )


def on_zero_gpu() -> bool:
    """Whether this is a Space of the Hugging Face Hub that borrows a GPU for each request."""
    return bool(os.environ.get("SPACES_ZERO_GPU"))
