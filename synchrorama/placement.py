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

    def place(self, *networks: nn.Module) -> None:
        """Put networks on the device for good, in this precision; they learn nothing there."""
        import torch

        for network in networks:
            network.eval().requires_grad_(False).to(self.device, self.dtype, memory_format=torch.channels_last)

    def place_by_turns(self, *networks: nn.Module) -> None:
        """The same for large networks that ``bring`` may move later."""
        import torch

        home = torch.device("cpu") if self.plan is MemoryPlan.OFFLOADED else self.device
        for network in networks:
            network.eval().requires_grad_(False).to(home, self.dtype, memory_format=torch.channels_last)

    def bring(self, wanted: Sequence[nn.Module], networks: Sequence[nn.Module]) -> None:
        """Of networks that take turns, have those that are wanted on the device, and the others away first."""
        if self.plan is MemoryPlan.OFFLOADED:
            for network in networks:
                if not any(network is each for each in wanted):
                    network.to("cpu")
            for network in wanted:
                network.to(self.device)


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
