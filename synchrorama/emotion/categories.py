"""The eight emotions that everything here speaks of, and where they lie in the valence-arousal plane."""

from __future__ import annotations

import numpy as np

EMOTIONS: tuple[str, ...] = (
    "neutral", "happy", "sad", "angry", "fearful", "disgusted", "surprised", "contempt",
)  # fmt: skip
EMOTION_INDEX: dict[str, int] = {name: i for i, name in enumerate(EMOTIONS)}

CIRCUMPLEX = np.array(
    [
        [0.00, 0.00], [0.81, 0.51], [-0.63, -0.27], [-0.51, 0.59],
        [-0.64, 0.60], [-0.60, 0.35], [0.40, 0.67], [-0.45, 0.10],
    ],
    np.float32,
)  # fmt: skip
"""(8, 2) valence and arousal in [-1, 1] of each emotion: mean ratings of Russell & Mehrabian (1977, "Evidence for a
three-factor theory of emotions"). They did not rate contempt; its place, weaker than disgust, is our choice."""
