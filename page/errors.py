"""What a visitor is told when something goes wrong: one sentence, nothing of the server, nothing that is markup."""

from __future__ import annotations

import functools
import html
import inspect
import logging
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import gradio as gr

from synchrorama import Cancelled, InputError

F = TypeVar("F", bound=Callable[..., Any])

UNEXPECTED = "Something went wrong here, which is not your fault; please try again, or with another photo or recording."
log = logging.getLogger("synchrorama.page")


def answered(function: F) -> F:
    """Have a function (or generator) that gradio calls raise nothing but gr.Error, with a sentence for the visitor."""
    if inspect.isgeneratorfunction(function):

        @functools.wraps(function)
        def answering(*args: Any, **options: Any) -> Any:
            try:
                yield from function(*args, **options)
            except Exception as error:
                raise told(error) from None
    else:

        @functools.wraps(function)
        def answering(*args: Any, **options: Any) -> Any:
            try:
                return function(*args, **options)
            except Exception as error:
                raise told(error) from None

    return answering


def told(error: Exception) -> gr.Error:
    """The error as the page shows it. The log gets the kind and the place of a bug, and nothing of what was given."""
    if isinstance(error, gr.Error):
        return error
    if isinstance(error, Cancelled):
        return gr.Error("Stopped; nothing was kept.", title="Generation", print_exception=False)
    if isinstance(error, InputError):
        return gr.Error(html.escape(str(error), quote=False), print_exception=False)
    where = traceback.extract_tb(error.__traceback__)[-1]
    log.error("%s in %s, line %s", type(error).__name__, Path(where.filename).name, where.lineno)
    return gr.Error(UNEXPECTED, print_exception=False)
