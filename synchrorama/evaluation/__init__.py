"""Measuring finished videos: lip sync, closures, blinks, head motion, picture quality."""
