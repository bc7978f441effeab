"""What a profile needs of a computer, before anything is fetched."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from .converted import is_converted
from .errors import InputError

if TYPE_CHECKING:
    from .profile import Part, Profile


def in_words(size: int) -> str:
    """A number of bytes as people say it: 900 B, 27.3 MB."""
    amount, unit = float(size), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if amount < 999.5:
            break
        amount, unit = amount / 1000, larger
    return f"{size} B" if unit == "B" else f"{amount:.1f} {unit}"


@dataclass(frozen=True)
class Needs:
    """Sizes are in bytes, and about right: those that the profile states.

    Attributes:
        download: what is still to be fetched, if everything is used.
        disk: what it takes on the disk when all of it is there, converted copies included.
        missing_disk: the part of that which is not there yet.
        vram: memory that a GPU should have; 0 if none is needed.
        problem: why the profile cannot well be used here, in a sentence for the user; "" if it can.
    """

    download: int
    disk: int
    missing_disk: int
    vram: int
    problem: str

    def to_text(self) -> str:
        """For people, in a sentence without its full stop."""
        parts = [f"{in_words(self.download)} to be fetched, each part when it is first used" if self.download else ""]
        parts += [f"{in_words(self.disk)} on the disk in all" if self.download else ""]
        parts += [f"made for a GPU with {in_words(self.vram)} of memory" if self.vram else ""]
        return ", ".join(part for part in parts if part)


def needs_of(profile: Profile) -> Needs:
    """See ``Needs``. Nothing is fetched, but a profile that lies on the Hub. Raises InputError if it cannot be had."""
    download = disk = missing = 0
    for part in profile.with_weights:
        copy = part.entry.hallo.bytes if part.entry.hallo else 0
        disk += part.entry.bytes + copy
        if is_converted_here(part):
            continue
        if not _is_here(part):
            download += part.entry.bytes
            missing += part.entry.bytes
        missing += copy
    return Needs(download, disk, missing, profile.file.vram_bytes, _problem(profile))


def is_converted_here(part: Part) -> bool:
    """Whether the converted copy is there, which makes the published file unnecessary."""
    place = part.conversion_place
    return place is not None and is_converted(place)


def _is_here(part: Part) -> bool:
    if part.source is None:
        return True
    repository, files = part.source
    return repository.has(files)


def _problem(profile: Profile) -> str:
    if not profile.file.vram_bytes:
        return ""
    import torch

    from .placement import Placement, on_zero_gpu

    if not torch.cuda.is_available() and not on_zero_gpu():
        return (
            f"The profile {Path(profile.name).stem} paints every pixel with networks that need a GPU, and there is "
            "none here: a second of video would take hours; take the profile mini instead."
        )
    try:
        Placement.for_this_machine()
    except InputError as error:
        return str(error)
    return ""
