"""Motion frames: a photo moved by a mesh, one picture per frame of a ``Motion``."""

from synchrorama.motion_frames.renderer import MotionFrame, MotionFrameRenderer

__all__ = ["MotionFrame", "MotionFrameRenderer"]
