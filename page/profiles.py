"""The profiles that a server offers, each with a pipeline of its own: what they need, and whether that is here."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from functools import cached_property
from typing import Any

from synchrorama import GenerationSettings, InputError, SynchroRaMaPipeline
from synchrorama.needs import in_words
from synchrorama.placement import on_zero_gpu

from .described import SUITED

VARIABLE = "SYNCHRORAMA_PROFILE"  # of the environment: a profile, a folder or owner/repository
MINI, FULL = "mini", "full"


class Offer:
    """A profile as visitors choose it. Nothing of it is fetched or loaded before it is used.

    Args:
        pipeline: of the profile.
        ahead: whether it is loaded when the server starts.
    """

    def __init__(self, pipeline: SynchroRaMaPipeline, *, ahead: bool = False) -> None:
        self.pipeline, self.profile, self.name = pipeline, pipeline.profile, pipeline.profile.label
        self._ahead = ahead
        self._in_use = False
        self.loaded = threading.Event()

    @cached_property
    def needs_gpu(self) -> bool:
        """Raises InputError if the profile cannot be had."""
        return bool(self.profile.file.vram_bytes)

    @property
    def problem(self) -> str:
        """Why it cannot be used here, in a sentence; "" if it can. Nothing is fetched, but its own file."""
        if self._in_use:
            return ""  # now it has the memory for which it would look
        try:
            if not self.needs_gpu:
                return ""
            if on_zero_gpu() and not self._ahead:
                return (
                    f"This Space has not loaded the profile {self.name} at its start, without which a GPU cannot be "
                    f"borrowed for it; take the profile {MINI}, or a copy of the Space with {VARIABLE}={self.name}."
                )
            return self.profile.needs.problem
        except InputError as error:
            return str(error)

    def check(self) -> None:
        """Raises InputError if it cannot be used here."""
        if problem := self.problem:
            raise InputError(problem)

    def load(self) -> None:
        """Fetch and load everything. Raises InputError if that is not possible; the sentence says why."""
        self.check()
        self._in_use = True
        try:
            self.pipeline.load()
        except BaseException:
            self._in_use = False
            raise
        self.loaded.set()

    def settings(self, **given: Any) -> GenerationSettings:
        """Settings as they are given, and the others as they suit the profile. Raises InputError."""
        return self.profile.settings(**given)

    def facts(self) -> str:
        """What it needs, and how long it takes here, in a sentence or two for the visitor; its problem if it has one.

        Raises InputError if the profile cannot be had.
        """
        needs = self.profile.needs
        facts = []
        if self.needs_gpu:
            facts.append(f"for an NVIDIA GPU with {in_words(needs.vram)} of memory")
        if needs.download:
            facts.append(f"{in_words(needs.download)} to be downloaded at its first use")
            facts.append(f"{in_words(needs.disk)} on the disk")
        else:
            facts.append("nothing to be downloaded")
        if not self.problem:
            speed = self.pipeline.speed
            seconds = speed.seconds(10, self.settings()) / 10
            guess = " (worked out, not measured yet)" if self.needs_gpu and not speed.has_learnt else ""
            facts.append(f"about {seconds:.1f} s per second of video{guess}")
        if self.name == MINI:
            facts.append("weights for non-commercial use only")
        told = ", ".join(facts)
        return f"{told[0].upper()}{told[1:]}."


class Profiles:
    """What visitors may choose from: the server's own profile, mini and full.

    Args:
        own: what is used where nothing is chosen.

    Raises InputError if that cannot be had.
    """

    def __init__(self, own: SynchroRaMaPipeline) -> None:
        self.default = Offer(own, ahead=True)
        self._offers = {
            name: Offer(SynchroRaMaPipeline.from_pretrained(name)) for name in (MINI, FULL) if name != self.default.name
        }
        self._offers[self.default.name] = self.default
        self.base = self._offers[MINI] if self.default.needs_gpu else self.default
        """What answers at once, from the start of the server on: the server's own if it needs no GPU, else mini."""
        self.gpu = threading.Lock()
        """Held by whoever paints on the GPU of this machine."""

    @classmethod
    def from_environment(cls) -> Profiles:
        """Raises InputError if the environment names a profile that cannot be had."""
        return cls(SynchroRaMaPipeline.from_pretrained(os.environ.get(VARIABLE) or MINI))

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(sorted(self._offers, key=lambda name: (name != MINI, name != FULL)))

    @property
    def suited(self) -> tuple[str, ...]:
        """The settings for which any of them has a default of its own."""
        return tuple(dict.fromkeys((*SUITED, *(name for offer in self for name in offer.profile.defaults))))

    def __iter__(self) -> Iterator[Offer]:
        return iter(self._offers.values())

    def __getitem__(self, name: str | None) -> Offer:
        """The profile of this name, the server's own if None. Raises InputError if there is none."""
        if name is None:
            return self.default
        if name not in self._offers:
            raise InputError(f"There is no profile {name!r} here; choose one of {', '.join(self.names)}.")
        return self._offers[name]

    def shown(self, name: str | None) -> SynchroRaMaPipeline:
        """What previews come from: the profile of this name as soon as it is loaded, the base until then."""
        offer = self[name]
        return offer.pipeline if offer.loaded.is_set() else self.base.pipeline

    def place(self) -> None:
        """Load what has to be there before the first visitor: on ZeroGPU a GPU is lent to what it was placed on.

        Raises InputError if that is not possible.
        """
        if on_zero_gpu() and self.default.needs_gpu:
            self.default.load()
