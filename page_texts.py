"""What the demo page says about itself, and its style sheet."""

TITLE = """
# SynchroRaMa
One photo and one recording become a talking video whose lips follow the sound and whose face carries the emotion.
It runs on the processor alone.
"""
CONSENT = (
    "By pressing *Generate* you confirm that the person in the photo and the speaker agree, or that you may use both. "
    "Every video says in its file that it is AI-generated. The recording is read for emotion: guesses about how it "
    "sounds, not about what anybody feels; choose an emotion yourself, or set the strength to 0, to do without."
)
NOTICE = """
**What is stored.** Your photo, recording and video lie in a temporary folder of this server and are deleted within
two hours; what was found in the last few photos and recordings stays in its memory until others follow. Your own
browser remembers your last runs (*Runs*, at the foot of the page) until you clear its data. Nothing is sent anywhere
else.

**From Python.** `gradio_client.Client(address).predict(..., api_name="/generate")`; *Use via API* below shows it whole.
"""
CSS = """
.gradio-container { max-width: 1080px !important; margin: 0 auto !important; }
#title h1 { font-size: 2.1rem; letter-spacing: -0.02em; margin-bottom: 0.1rem; }
#consent, #notice { font-size: 0.85rem; opacity: 0.85; }
#result video { background: #111; }
#timeline { overflow-x: auto; background: #fff; border-radius: 8px; }
#timeline svg { width: 100%; height: auto; max-height: 420px; }
td { overflow-wrap: anywhere; }
"""


def notes_on(seed: int, seconds: float, timings: dict[str, float], warnings: list[str]) -> str:
    """What is said under a finished video."""
    took = sum(timings.values())
    lines = [f"{seconds:.1f} s of video in {took:.1f} s · seed {seed}", *map(note, warnings)]
    return "\n\n".join(lines)


def note(warning: str) -> str:
    """A warning as Markdown; what a visitor wrote in it stays text."""
    return "⚠ " + "".join("\\" + sign if sign in "\\`*_{}[]<>#|~$" else sign for sign in warning)
