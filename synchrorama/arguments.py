"""How every command of ``python -m synchrorama`` reads its arguments."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from .components import CHOICES, COMPONENTS
from .errors import InputError
from .settings import Control

if TYPE_CHECKING:
    from .profile import Profile

_SHORTER = {"speech_emotion": "emotion", "scene_description": "description"}


class ArgumentParser(argparse.ArgumentParser):
    """Argument errors in one sentence, like all others, instead of the usage and a message."""

    def error(self, message: str) -> None:
        raise InputError(f"{message[0].upper()}{message[1:]}; see {self.prog} --help.")


def option_name(setting: str) -> str:
    """The command-line option of a setting: --head-motion for head_motion; two have shorter ones."""
    return {"framing": "--full-picture", "face_index": "--face"}.get(setting, "--" + setting.replace("_", "-"))


def add_setting(parser: argparse.ArgumentParser, name: str, control: Control) -> None:
    """Options without a default: what is absent comes from --settings or from GenerationSettings."""
    common = {"dest": name, "default": argparse.SUPPRESS, "help": control.help}
    if name == "framing":
        parser.add_argument(option_name(name), action="store_const", const="full_picture", **common)
    elif control.kind is str:
        choices = "|".join(control.choices)
        parser.add_argument(option_name(name), metavar=f"{{{choices}}}" if choices else "TEXT", **common)
    elif control.kind is bool:
        parser.add_argument(option_name(name), action="store_true", **common)
    else:
        metavar = f"{control.minimum:.0f}..{control.maximum:.0f}"
        parser.add_argument(option_name(name), type=number_or_text, metavar=metavar, **common)


def number_or_text(text: str) -> float | str:
    """Words pass on to Control.check, which has the better sentence for them."""
    try:
        return float(text)
    except ValueError:
        return text


def add_profile_options(parser: argparse.ArgumentParser) -> None:
    """Which backend a component has, and whether licences that forbid commercial use are accepted."""
    for component in CHOICES:
        purpose, backends = COMPONENTS[component].purpose, "|".join(COMPONENTS[component].backends)
        parser.add_argument(
            backend_option(component), dest=f"{component}_backend", metavar=f"{{{backends}}}",
            help=f"what is used for this: {purpose}; what the profile says if left out",
        )  # fmt: skip
    parser.add_argument(
        "--accept-non-commercial", action="store_true",
        help="accept licences that forbid commercial use, of backends that have one; see the command licenses",
    )  # fmt: skip


def backend_option(component: str) -> str:
    """The command-line option that chooses a component's backend."""
    return f"--{_SHORTER.get(component, component).replace('_', '-')}-backend"


def find_profile_of(arguments: argparse.Namespace) -> Profile:
    """The profile that the options name; says on standard error what it needs that is not here."""
    from .profile import find_profile

    backends = {name: getattr(arguments, f"{name}_backend") for name in CHOICES}
    profile = find_profile(
        arguments.checkpoint,
        getattr(arguments, "revision", None),
        {name: backend for name, backend in backends.items() if backend is not None},
        accept_non_commercial=arguments.accept_non_commercial,
    )
    needs = profile.needs
    if needs.download:
        print(f"{profile.name}: {needs.to_text()}.", file=sys.stderr, flush=True)
    if needs.problem:
        print(f"Note: {needs.problem}", file=sys.stderr, flush=True)
    return profile
