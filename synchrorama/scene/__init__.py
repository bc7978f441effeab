"""The scene: what a photo shows, what the person is said to do in it, and C_t, the description as vectors."""

from synchrorama.scene.actions import ACTIONS, Action, ScenePlan
from synchrorama.scene.description import describe, is_statement
from synchrorama.scene.text_encoder import SceneText, TextEncoder

__all__ = ["ACTIONS", "Action", "ScenePlan", "SceneText", "TextEncoder", "describe", "is_statement"]
