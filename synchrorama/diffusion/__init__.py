"""The paper's second stage: ReferenceNet and the denoising UNet, and what they are told."""

from synchrorama.diffusion.networks import DiffusionNetworks

__all__ = ["DiffusionNetworks"]
