"""The timeline of a recording: its words, and what they and the voice feel like, as a picture and as a report."""

from __future__ import annotations

import html
import io
import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .audio import loudness
from .emotion.categories import EMOTIONS
from .errors import InputError
from .motion import FPS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from .analysis import Analysis

COLOURS: dict[str, str] = {
    "neutral": "#e7e5e4", "happy": "#f5b82e", "sad": "#5b8fc7", "angry": "#d64545", "fearful": "#8e6bbf",
    "disgusted": "#7ba05b", "surprised": "#ee8f54", "contempt": "#9a8478",
}  # fmt: skip
_INK, _QUIET = "#292524", "#a8a29e"
_SHORTEST_WIDTH, _LONGEST_WIDTH, _WIDTH_PER_SECOND = 8.0, 30.0, 0.55  # inches
_MOST_WORDS = 120  # in a picture; beyond, they would only be a smear

_PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title><style>
body {{ font: 16px/1.5 system-ui, sans-serif; color: #292524; max-width: 1100px; margin: 2rem auto; padding: 0 1rem; }}
.wide {{ overflow-x: auto; }}
table {{ border-collapse: collapse; }} td, th {{ padding: .2rem .8rem; text-align: left; }}
td.number {{ text-align: right; font-variant-numeric: tabular-nums; }} .quiet {{ color: #78716c; }}
</style></head><body><h1>{title}</h1>
<p>{summary}</p>
<div class="wide">{picture}</div>
{scene}<h2>Words</h2>
<table><tr><th>from</th><th>to</th><th>polarity</th><th></th></tr>{rows}</table>
{notes}<p class="quiet">The emotions are guesses from acted training speech and from English words; they say what a
listener might hear, not what anybody feels.</p></body></html>
"""


def draw(analysis: Analysis) -> Figure:
    """Loudness with the words, the emotions as shares, and valence and arousal, over time."""
    from matplotlib.figure import Figure

    seconds = analysis.recording.seconds
    width = float(np.clip(seconds * _WIDTH_PER_SECOND, _SHORTEST_WIDTH, _LONGEST_WIDTH))
    figure = Figure((width, 4.6), layout="constrained")
    sound, shares, plane = figure.subplots(3, sharex=True, height_ratios=(1.0, 2.2, 1.3))
    clock = (np.arange(len(analysis.emotion)) + 0.5) / FPS
    _draw_sound(sound, analysis, clock)
    shares.stackplot(
        clock, analysis.emotion.probabilities.T, labels=EMOTIONS, colors=[COLOURS[name] for name in EMOTIONS]
    )
    shares.set_ylim(0, 1)
    shares.set_yticks([0, 0.5, 1])
    shares.set_ylabel("emotion")
    handles, labels = shares.get_legend_handles_labels()
    shares.legend(handles[::-1], labels[::-1], loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False, fontsize=8)
    plane.axhline(0, color=_QUIET, linewidth=0.6)
    plane.plot(clock, analysis.emotion.valence, color="#0f766e", label="valence")
    plane.plot(clock, analysis.emotion.arousal, color="#c2410c", label="arousal", linestyle=(0, (4, 1.5)))
    plane.set_ylim(-1.05, 1.05)
    plane.set_xlabel("seconds")
    plane.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False, fontsize=8)
    for axes in (sound, shares, plane):
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelsize=8, colors=_INK)
        axes.set_xlim(0, seconds)
    return figure


def svg(analysis: Analysis) -> str:
    """The timeline as an SVG element with real text, to stand inside a page.

    Its attributes data-left and data-right say where the clock begins and ends, in shares of the width, and
    data-seconds how long it runs.
    """
    from matplotlib import rc_context

    buffer, figure = io.StringIO(), draw(analysis)
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "timeline"}):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    text = buffer.getvalue()
    clock = figure.axes[0].get_position()
    extent = f'data-left="{clock.x0:.4f}" data-right="{clock.x1:.4f}" data-seconds="{analysis.recording.seconds:.3f}"'
    label = f"Words, emotions, valence and arousal over time; mostly {analysis.emotion.prevailing}"
    return f'<svg {extent} role="img" aria-label="{label}"' + text[text.index("<svg") + len("<svg") :]


def report(analysis: Analysis) -> str:
    """A page of HTML that stands alone. Whatever anyone said or typed appears as text, never as markup."""
    rows = "".join(
        f'<tr><td class="number">{each.start:.1f}</td><td class="number">{each.end:.1f}</td>'
        f'<td class="number">{each.polarity:+.2f}</td><td>{html.escape(each.text)}</td></tr>'
        for each in analysis.sentiment.utterances
    )
    track = analysis.emotion
    summary = (
        f"{analysis.recording.seconds:.1f} s of sound; mostly {track.prevailing}, "
        f"mean valence {track.valence.mean():+.2f}, mean arousal {track.arousal.mean():+.2f}."
    )
    scene = "" if analysis.description is None else f"<h2>Photo</h2><p>{html.escape(analysis.description)}</p>\n"
    notes = "".join(f'<p class="quiet">{html.escape(warning)}</p>\n' for warning in analysis.warnings)
    return _PAGE.format(
        title="What is heard", summary=summary, picture=svg(analysis), scene=scene, rows=rows, notes=notes
    )


def save(analysis: Analysis, path: str | os.PathLike[str]) -> None:
    """Write the report as .html, or its picture as .png or .svg.

    Raises InputError for another ending, where there is no recording to draw, and where nothing can be written.
    """
    path = Path(path)
    if path.suffix.lower() not in (".html", ".png", ".svg"):
        raise InputError("The report is written as .html, .png or .svg; give the file one of these endings.")
    if analysis.recording is None:
        raise InputError("There is no recording to draw a timeline of; give one beside the photo.")
    try:
        if path.suffix.lower() == ".png":
            draw(analysis).savefig(path, dpi=120)
        else:
            text = report(analysis) if path.suffix.lower() == ".html" else svg(analysis)
            path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(
            f"The report cannot be written to {path.name!r} ({error.strerror}); choose another place."
        ) from None


def _draw_sound(axes: Axes, analysis: Analysis, clock: np.ndarray) -> None:
    loud = loudness(analysis.recording.samples)[: len(clock)]
    axes.fill_between(clock[: len(loud)], loud, -loud, color=_QUIET, linewidth=0)
    axes.set_ylim(-1.15, 2.6)
    axes.set_yticks([])
    axes.set_ylabel("sound")
    words = analysis.transcript.words
    every = max(1, -(-len(words) // _MOST_WORDS))
    for i, word in enumerate(words[::every]):
        middle, height = (word.start + word.end) / 2, 1.25 + 0.65 * (i % 2)  # two rows, so that neighbours stay apart
        axes.text(
            middle, height, word.text[:24], ha="center", fontsize=7, color=_INK, parse_math=False, clip_on=True
        )
