"""SynchroRaMa: one face photo and one speech recording become a talking video."""

from .errors import Cancelled, InputError
from .generation import Result
from .motion import Motion
from .pipeline import SynchroRaMaPipeline
from .settings import GenerationSettings

__all__ = ["Cancelled", "GenerationSettings", "InputError", "Motion", "Result", "SynchroRaMaPipeline"]
__version__ = "0.1.0"
