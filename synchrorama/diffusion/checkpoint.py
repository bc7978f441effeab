"""Weights from a file into a network: all of them, checked, or none."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

_NAMED = 3  # names in a message; more help nobody


def load_strictly(network: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Make ``tensors`` those of ``network``, which may be on the meta device; nothing is copied.

    Raises:
        ValueError: which tensors are missing, left over, of another shape or not finite; nothing is loaded then.
    """
    own = network.state_dict()
    wrong = {
        "lacks": [name for name in own if name not in tensors],
        "has too many": [name for name in tensors if name not in own],
        "has another shape for": [
            f"{name} {tuple(tensors[name].shape)} instead of {tuple(own[name].shape)}"
            for name in own
            if name in tensors and tensors[name].shape != own[name].shape
        ],
        "has values that are not finite in": [
            name for name, tensor in tensors.items() if not torch.isfinite(tensor).all()
        ],
    }
    told = [f"{what} {_listed(names)}" for what, names in wrong.items() if names]
    if told:
        raise ValueError(f"The checkpoint does not fit: it {'; it '.join(told)}.")
    network.load_state_dict(tensors, assign=True)


def _listed(names: list[str]) -> str:
    shown = ", ".join(names[:_NAMED])
    return shown if len(names) <= _NAMED else f"{shown} and {len(names) - _NAMED} more"
