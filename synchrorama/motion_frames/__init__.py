"""Motion frames: a photo moved by a mesh, one picture per frame of a ``Motion``."""

from synchrorama.motion_frames.renderer import MotionFrameRenderer

__all__ = ["MotionFrameRenderer"]
