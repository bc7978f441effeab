"""CLIP (Radford et al. 2021): scene descriptions and pictures as vectors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import AutoImageProcessor, CLIPTextModel, CLIPTokenizer, CLIPVisionModelWithProjection

from synchrorama.backends.loading import load_companion, load_network
from synchrorama.errors import InputError
from synchrorama.scene.text_encoder import MAX_WORDS

_TEXT_PART = "the text encoder (CLIP)"
_IMAGE_PART = "the image encoder (CLIP)"


class ClipTextEncoder:
    """Description → C_t."""

    def __init__(self, network: CLIPTextModel, tokenizer: CLIPTokenizer) -> None:
        self.network, self.tokenizer = network, tokenizer

    @classmethod
    def from_pretrained(
        cls, folder: Path, *, device: str | torch.device = "cpu", dtype: torch.dtype = torch.float32
    ) -> ClipTextEncoder:
        """From a folder as openai/clip-vit-large-patch14, with all of CLIP or the text encoder alone, and a tokenizer.

        Raises InputError if it cannot be used.
        """
        tokenizer = load_companion(CLIPTokenizer, folder, _TEXT_PART)
        return cls(load_network(CLIPTextModel, folder, _TEXT_PART, device=device, dtype=dtype), tokenizer)

    @torch.inference_mode()
    def encode(self, text: str) -> Tensor:
        """Read a description.

        Returns:
            (n, width) on the network's device: the last hidden states, normalised, padded to 77 as Stable Diffusion
            has them. A text that is longer is read in parts of 75 tokens, 77 rows each.

        Raises:
            InputError: the text has more than 600 words.
        """
        count = len(text.split())
        if count > MAX_WORDS:
            raise InputError(f"The description has {count} words; give at most {MAX_WORDS}.")
        tokenizer = self.tokenizer
        length = self.network.config.max_position_embeddings
        tokens = tokenizer(text, add_special_tokens=False, verbose=False).input_ids
        rows = []
        for start in range(0, max(1, len(tokens)), length - 2):
            row = [tokenizer.bos_token_id, *tokens[start : start + length - 2], tokenizer.eos_token_id]
            rows.append(row + [tokenizer.pad_token_id] * (length - len(row)))
        hidden = self.network(torch.tensor(rows, device=self.network.device)).last_hidden_state
        return hidden.flatten(0, 1)


class ClipImageEncoder:
    """Portrait → one vector in the space that CLIP's pictures and texts share."""

    def __init__(self, network: CLIPVisionModelWithProjection, processor: Any) -> None:
        self.network, self.processor = network, processor

    @classmethod
    def from_pretrained(
        cls, folder: Path, *, device: str | torch.device = "cpu", dtype: torch.dtype = torch.float32
    ) -> ClipImageEncoder:
        """From a folder as openai/clip-vit-large-patch14. Raises InputError if it cannot be used."""
        processor = load_companion(AutoImageProcessor, folder, _IMAGE_PART, backend="pil")
        network = load_network(CLIPVisionModelWithProjection, folder, _IMAGE_PART, device=device, dtype=dtype)
        return cls(network, processor)

    @torch.inference_mode()
    def __call__(self, crop: np.ndarray, landmarks: np.ndarray) -> Tensor:
        """
        Args:
            crop: (H, W, 3) uint8 RGB, the head in a square; CLIP sees all of it.
            landmarks: (478, 2 or 3), not used: what encodes a face alone needs them.

        Returns:
            (width,) on the network's device, not normalised.
        """
        pixels = self.processor(crop, return_tensors="pt", input_data_format="channels_last").pixel_values
        return self.network(pixels.to(self.network.device, self.network.dtype)).image_embeds[0]
