"""A photo in one or two plain sentences, by a small vision-language model such as SmolVLM (arXiv 2504.05299)."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn
from transformers import AutoModelForImageTextToText, AutoProcessor

from synchrorama.backends.loading import load_companion, load_network, quiet
from synchrorama.backends.repetition import repeats_itself
from synchrorama.scene.description import STATEMENT, describe

_PART = "the vision-language model"
# What scene.describe refuses to guess is not asked for either.
_QUESTION = (
    "Describe in one or two short, plain sentences what the person in the photo looks like and does: hair, clothes, "
    "expression, pose and background. Do not guess name, age, origin, health or character."
)
_TOKENS = 64
_SENTENCES, _LETTERS, _FEWEST_LETTERS = 2, 200, 8  # what is kept, of each sentence, and what makes one
_MARKUP = re.compile(r"[<>{}\[\]|\\*_#`\"]+")
_SENTENCE = re.compile(r"[^.!?]+(?:[.!?]+|$)")
_OPENINGS = re.compile(
    r"^(?:assistant\s*:|answer\s*:|(?:in|on) (?:the|this) (?:photo|image|picture),?|"
    r"(?:the|this) (?:photo|image|picture) (?:shows|features|depicts|is of))\s*",
    re.IGNORECASE,
)


class VisionLanguageDescriber:
    """Portrait → the description that a user may edit, as ``scene.describe`` gives it."""

    def __init__(self, network: nn.Module, processor: Any) -> None:
        self.network, self.processor = network, processor

    @classmethod
    def from_pretrained(
        cls, folder: Path, *, device: str | torch.device = "cpu", dtype: torch.dtype = torch.float32
    ) -> VisionLanguageDescriber:
        """From a folder as HuggingFaceTB/SmolVLM-256M-Instruct. Raises InputError if it cannot be used."""
        processor = load_companion(AutoProcessor, folder, _PART)
        return cls(load_network(AutoModelForImageTextToText, folder, _PART, device=device, dtype=dtype), processor)

    def __call__(self, crop: np.ndarray, landmarks: np.ndarray, expression: np.ndarray, rotation: np.ndarray) -> str:
        """Put a portrait into words; the same one always into the same.

        Args: as those of ``scene.describe``, which speaks where the model says nothing that can be used.

        Returns:
            One or two sentences of about 200 letters at most, in one line. Each begins with "In the photo": it says
            what is there, and asks for nothing.
        """
        return statements(self._answer(crop)) or describe(crop, landmarks, expression, rotation)

    @torch.inference_mode()
    def _answer(self, crop: np.ndarray) -> str:
        asked = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": _QUESTION}]}]
        prompt = self.processor.apply_chat_template(asked, add_generation_prompt=True)
        options = {}
        if hasattr(self.processor.image_processor, "do_image_splitting"):
            options["do_image_splitting"] = False  # one look at 512 pixels instead of seventeen at its parts
        inputs = self.processor(text=[prompt], images=[[Image.fromarray(crop)]], return_tensors="pt", **options)
        inputs = inputs.to(self.network.device, self.network.dtype)
        with quiet():
            tokens = self.network.generate(**inputs, max_new_tokens=_TOKENS, do_sample=False)
        answer = tokens[:, inputs["input_ids"].shape[1] :]
        return self.processor.batch_decode(answer, skip_special_tokens=True)[0]


def statements(answer: str) -> str:
    """What a model has said → at most two sentences about the photo in one line; empty if it said none.

    An unfinished last sentence is left out, unless it is the only one.
    """
    text = " ".join(_MARKUP.sub(" ", answer).split())
    parts = [part.strip() for part in _SENTENCE.findall(text) if sum(map(str.isalpha, part)) >= _FEWEST_LETTERS]
    finished = [part for part in parts if part[-1] in ".!?"]
    kept: list[str] = []
    for part in finished or parts:
        said = _OPENINGS.sub("", part.rstrip(".!? ")).lstrip(",;: ")
        if said[1:2].islower() or said[1:2] == " ":  # not an abbreviation, nor anything else written in capitals
            said = said[0].lower() + said[1:]
        if len(said) > _LETTERS:
            said = said[:_LETTERS].rsplit(" ", 1)[0].rstrip(", ")
        sentence = f"{STATEMENT}, {said}."
        if said and sentence not in kept and not repeats_itself(said):
            kept.append(sentence)
    return " ".join(kept[:_SENTENCES])
