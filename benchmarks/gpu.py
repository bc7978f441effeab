"""How fast and how large the full profile is: python benchmarks/gpu.py --device cuda [--baseline] [--json].

The diffusion stage itself (synchrorama/frame_stage.py) at the full size of Hallo (Stable Diffusion 1.5, 2.4 billion
weights) and of its autoencoder, with random weights, so nothing is downloaded and the picture is noise; time and memory
are what real weights would take. Printed are seconds for a second of video, what each network takes of it, and the peak
memory of the device (CUDA) or of the process (CPU). On a GPU a clip is made before anything is timed. Fetching and
reading the weights is not measured, nor what the networks are told: face embedding, wav2vec2, motion frames.

--baseline makes the same video by Hallo's recipe as well, 40 steps of DDIM whose two passes are run one after the
other, in clips without overlap, and prints how many times faster the other one is.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch
from full_size import frame, stage, told

from synchrorama import GenerationSettings
from synchrorama.frame_stage import CLIP_FRAMES, OVERLAP, SAMPLERS, FrameStage
from synchrorama.placement import MemoryPlan, Placement

FPS = 25
HALLO = {"sampler": "euler", "inference_steps": 40, "guidance_scale": 3.5, "diffusion_strength": 1.0}


@dataclass
class Clock:
    """What each network takes.

    Attributes:
        on_gpu: whether to wait for the GPU before each look at the time.
        seconds: network → in all.
    """

    on_gpu: bool
    seconds: Counter = field(default_factory=Counter)
    _began: float = 0.0

    def watch(self, made: FrameStage) -> None:
        parts = {
            "autoencoder, encoding": made.autoencoder.encoder,
            "ReferenceNet": made.networks.reference_net,
            "projections": made.networks.audio_projection,
            "face locator": made.networks.face_locator,
            "denoising UNet": made.networks.denoising_unet,
            "autoencoder, decoding": made.autoencoder.decoder,
        }
        for name, part in parts.items():
            part.register_forward_pre_hook(self._start)
            part.register_forward_hook(lambda *_, name=name: self._stop(name))

    def _start(self, *_: Any) -> None:
        self._began = self.now()

    def _stop(self, name: str) -> None:
        self.seconds[name] += self.now() - self._began

    def now(self) -> float:
        if self.on_gpu:
            torch.cuda.synchronize()
        return time.perf_counter()


def measure(made: FrameStage, arguments: argparse.Namespace, settings: dict[str, Any]) -> dict[str, Any]:
    """One video."""
    frames, size = arguments.frames, arguments.size
    on_gpu = made.placement.device.type == "cuda"

    def video(count: int, **changed: Any) -> int:
        rendered = (frame(t, size) for t in range(count))
        chosen = GenerationSettings(seed=1, **{**settings, **changed})
        return sum(1 for _ in made(rendered, frame(0, size), told(count), chosen))

    if on_gpu:
        video(CLIP_FRAMES, inference_steps=2)  # chooses and compiles kernels
        torch.cuda.reset_peak_memory_stats()
    clock = Clock(on_gpu)
    clock.watch(made)
    start = clock.now()
    assert video(frames) == frames
    seconds = clock.now() - start
    return {
        "settings": settings,
        "seconds_per_second_of_video": seconds / frames * FPS,
        "stages": {name: each / frames * FPS for name, each in clock.seconds.items()},
        "peak_gb": _peak(on_gpu),
    }


def _peak(on_gpu: bool) -> float:
    if on_gpu:
        return torch.cuda.max_memory_reserved() / 1e9
    if sys.platform != "linux":
        return float("nan")
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) * 1024 / 1e9


def shown(title: str, figures: dict[str, Any]) -> None:
    print(f"{title}: {', '.join(f'{name} {value}' for name, value in figures['settings'].items())}")
    for name, seconds in figures["stages"].items():
        print(f"  {name:28s}{seconds:10.2f} s for a second of video")
    print(f"  {'everything':28s}{figures['seconds_per_second_of_video']:10.2f} s   peak {figures['peak_gb']:.2f} GB")


def read_arguments() -> argparse.Namespace:
    cuda = torch.cuda.is_available()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda" if cuda else "cpu")
    parser.add_argument("--dtype", choices=("bfloat16", "float16", "float32"), default="bfloat16")
    parser.add_argument("--plan", choices=[plan.value for plan in MemoryPlan], default="resident")
    parser.add_argument("--frames", type=int, default=44 if cuda else 16, help="of the video")
    parser.add_argument("--size", type=int, default=512, help="pixels of a side, a multiple of 64 (default 512)")
    parser.add_argument("--sampler", choices=SAMPLERS, default="unipc")
    parser.add_argument("--steps", type=int, default=6, help="inference steps (default 6)")
    parser.add_argument("--guidance", type=float, default=3.5, help="1 is off and needs one pass (default 3.5)")
    parser.add_argument("--strength", type=float, default=0.6, help="1 starts from noise alone (default 0.6)")
    parser.add_argument("--feature-caching", type=int, default=1, help="compute all at every n-th step (default 1)")
    parser.add_argument("--compile", action="store_true", help="torch.compile the UNets")
    parser.add_argument("--threads", type=int, default=2, help="on a CPU (default 2)")
    parser.add_argument("--baseline", action="store_true", help="Hallo's recipe too, and the ratio")
    parser.add_argument("--json", action="store_true", help="print the figures as one JSON object")
    arguments = parser.parse_args()
    if arguments.frames < 1 or arguments.size < 64 or arguments.size % 64:
        parser.error("--frames must be 1 or more and --size a multiple of 64")
    return arguments


def main() -> None:
    arguments = read_arguments()
    torch.set_num_threads(arguments.threads)

    def made(plan: str, **options: int) -> FrameStage:
        return stage(
            Placement(
                device=torch.device(arguments.device), dtype=getattr(torch, arguments.dtype), plan=MemoryPlan(plan),
                compile=arguments.compile,
            ),
            **options,
        )  # fmt: skip

    settings = {
        "sampler": arguments.sampler, "inference_steps": arguments.steps, "guidance_scale": arguments.guidance,
        "diffusion_strength": arguments.strength, "feature_caching": arguments.feature_caching,
    }  # fmt: skip
    name = torch.cuda.get_device_name() if arguments.device == "cuda" else f"CPU, {arguments.threads} threads"
    figures = {"device": name, "dtype": arguments.dtype, "frames": arguments.frames, "size": arguments.size}
    fast = made(arguments.plan, overlap=OVERLAP)
    figures["full"] = measure(fast, arguments, settings)
    if arguments.baseline:
        del fast  # its memory is needed
        figures["baseline"] = measure(made("sequential", overlap=0), arguments, HALLO)
        ratio = figures["baseline"]["seconds_per_second_of_video"] / figures["full"]["seconds_per_second_of_video"]
        figures["ratio"] = ratio
    if arguments.json:
        print(json.dumps(figures))
        return
    print(f"{name}, {arguments.dtype}, {arguments.plan} plan, {arguments.frames} frames of {arguments.size} pixels")
    shown("full profile", figures["full"])
    if arguments.baseline:
        shown("baseline", figures["baseline"])
        print(f"{figures['ratio']:.1f} times as fast as the baseline")


if __name__ == "__main__":
    main()
