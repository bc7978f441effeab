"""Functions that take every setting by its name, described in one place: settings.py.

Gradio makes the documentation of an endpoint, and the tools of its MCP server, from a function's parameters, type
hints and docstring.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, TypeVar

from synchrorama.settings import Control, controls, defaults

F = TypeVar("F", bound=Callable[..., Any])

SETTINGS = tuple(name for name in controls() if name not in ("preview", "max_seconds"))
"""What the page sets, in the order of GenerationSettings; the other two are for the command line."""

SUITED = ("inference_steps", "guidance_scale", "diffusion_strength", "sampler", "feature_caching")
"""Those that are as they suit the profile where a program leaves them out."""

_LAST = ("request", "progress")  # what gradio puts in by itself


def takes_settings(function: F) -> F:
    """Give a method ``function(self, ..., **settings)`` a parameter, and a line of its docstring, for each setting.

    The docstring must end its Args with the method's own arguments and go on with Returns.
    """
    signature = inspect.signature(function, eval_str=True)
    own = [each for each in signature.parameters.values() if each.kind is not inspect.Parameter.VAR_KEYWORD]
    added = [
        inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD, default=_default(name), annotation=_type(name))
        for name in SETTINGS
    ]
    last = [each for each in own if each.name in _LAST]
    signature = signature.replace(parameters=[*(each for each in own if each not in last), *added, *last])

    @functools.wraps(function)
    def described(*args: Any, **options: Any) -> Any:
        bound = signature.bind(*args, **options)
        bound.apply_defaults()
        return function(**bound.arguments)

    del described.__wrapped__  # whose signature would count instead of ours
    described.__signature__ = signature
    described.__annotations__ = {each.name: each.annotation for each in signature.parameters.values()}
    described.__annotations__ |= {"return": signature.return_annotation}
    del described.__annotations__["self"]
    lines = "\n".join(f"    {name}: {_told(name, controls()[name])}" for name in SETTINGS)
    described.__doc__ = inspect.cleandoc(function.__doc__).replace("\n\nReturns:", f"\n{lines}\n\nReturns:")
    return described


def shown(name: str, value: Any) -> Any:
    """What the control of a setting shows for a value: the value, or where that is None what a control can hold."""
    return value if value is not None else controls()[name].kind()


def _default(name: str) -> Any:
    return None if name in SUITED else shown(name, defaults()[name])


def _type(name: str) -> type:
    return controls()[name].kind


def _told(name: str, control: Control) -> str:
    """The help of a control with its range, on one line."""
    told = control.help
    if control.choices:
        told += f" One of {', '.join(control.choices)}."
    elif control.minimum is not None:
        told += f" {control.minimum:g} to {control.maximum:g}."
    return f"{told} Left out: as it suits the profile." if name in SUITED else told
