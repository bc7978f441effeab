"""The demo page, and the entry point of a Hugging Face Space: python app.py, then open http://127.0.0.1:7860.

GRADIO_SERVER_NAME and GRADIO_SERVER_PORT choose where it listens. SYNCHRORAMA_PROFILE names the profile that is used
where nothing is chosen: mini (if left out), full, a folder of weights, or owner/repository on the Hub. The page itself
is in ``page``.
"""

from __future__ import annotations

import contextlib
import os
import sys

# The pieces of work are small: more threads than one each wait for those of the other visitors.
os.environ.setdefault("OMP_NUM_THREADS", "1")

with contextlib.suppress(ImportError):
    import spaces  # noqa: F401 - on a ZeroGPU Space it must come before torch; elsewhere it does nothing

from page import workplace

place = workplace.claim()  # before gradio is asked for its folder

from page import server  # noqa: E402
from page.profiles import Profiles  # noqa: E402
from synchrorama import InputError  # noqa: E402

try:
    demo, service = server.build(Profiles.from_environment())
except InputError as error:
    print(f"Error: {error}", file=sys.stderr)
    sys.exit(2)

if __name__ == "__main__":
    code = server.serve(demo, service)
    place.leave()
    sys.stdout.flush()
    os._exit(code)  # a generation may still run in native code, which would abort an ordinary end
