"""How fast and how large the full profile would be: python benchmarks/gpu.py --device cuda [--steps 40] [--json].

One clip at the full size of Hallo (Stable Diffusion 1.5, 2.4 billion weights) and of its autoencoder, with random
weights, so nothing is downloaded and the picture is noise; time and memory are what real weights would take. For each
stage: seconds, and peak memory of the device (CUDA) or of the process (CPU, Linux). On a GPU all networks stay there
and every stage runs once before it is timed. On a CPU each network is made when its stage begins and dropped after it.
Fetching and reading the weights is not measured, nor what the networks are told: face embedding, wav2vec, face mesh.
"""

from __future__ import annotations

import argparse
import gc
import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPOSITORY))

import torch  # noqa: E402
from diffusers import AutoencoderKL, DDIMScheduler, logging  # noqa: E402
from torch import Tensor, nn  # noqa: E402

from synchrorama.diffusion.denoising_unet import FACE_REGIONS, region_masks  # noqa: E402
from synchrorama.diffusion.hallo import SCHEDULER, reference_features  # noqa: E402
from synchrorama.diffusion.networks import PARTS  # noqa: E402
from synchrorama.diffusion.reference_net import ReferenceFeatures  # noqa: E402
from synchrorama.diffusion.sampling import AUDIO, WITHOUT, Sampler, guided  # noqa: E402

FPS = 25
MOTION_FRAMES = 2
SHRINK = 8  # pixels of the autoencoder's picture for each of its latents
# https://huggingface.co/stabilityai/sd-vae-ft-mse/blob/main/config.json
AUTOENCODER = {
    "down_block_types": ("DownEncoderBlock2D",) * 4, "up_block_types": ("UpDecoderBlock2D",) * 4,
    "block_out_channels": (128, 256, 512, 512), "layers_per_block": 2, "latent_channels": 4, "sample_size": 256,
}  # fmt: skip
KINDS: dict[str, Callable[[], nn.Module]] = {**PARTS, "autoencoder": lambda: AutoencoderKL(**AUTOENCODER)}


@dataclass
class Bench:
    """Where the networks run, and what was measured of each stage.

    Attributes:
        device, dtype: of networks and inputs.
        compiles: whether ``torch.compile`` prepares the UNets and the autoencoder.
        stages: stage → seconds and peak memory in GB; on a CPU without the making of its network.
    """

    device: torch.device
    dtype: torch.dtype
    compiles: bool
    stages: dict[str, dict[str, float]] = field(default_factory=dict)
    _networks: dict[str, nn.Module] = field(default_factory=dict)

    @property
    def on_gpu(self) -> bool:
        return self.device.type == "cuda"

    def network(self, name: str) -> nn.Module:
        """A network of full size with random weights; made at the first call."""
        if name not in self._networks:
            with torch.device("meta"):
                network = KINDS[name]()
            network = network.to(self.dtype).to_empty(device=self.device).eval().requires_grad_(False)
            for key, tensor in network.state_dict().items():
                if tensor.dim() > 1:  # keeps the size of what passes through, so nothing becomes slow by being tiny
                    reach = tensor[0].numel() ** -0.5
                    tensor.uniform_(-reach, reach)
                else:
                    tensor.fill_(1 if key.endswith("weight") else 0)
            network = network.to(memory_format=torch.channels_last)
            if self.compiles and name in ("reference_net", "denoising_unet"):
                network.compile()
            elif self.compiles and name == "autoencoder":
                network.decoder.compile()
            self._networks[name] = network
        return self._networks[name]

    def drop(self, *names: str) -> None:
        """Forget networks, unless there is a GPU to hold them all."""
        if not self.on_gpu:
            for name in names:
                self._networks.pop(name, None)
            gc.collect()

    def random(self, *shape: int) -> Tensor:
        return torch.randn(shape).to(self.device, self.dtype)

    def timed(self, stage: str, function: Callable[[], Any]) -> Any:
        """What a function returns; its seconds and memory are noted."""
        if self.on_gpu or self.compiles:
            function()  # chooses and compiles kernels
        self._reset_peak()
        start = time.perf_counter()
        result = function()
        if self.on_gpu:
            torch.cuda.synchronize()
        self.stages[stage] = {"seconds": time.perf_counter() - start, "peak_gb": self._peak()}
        print(f"{stage:32s}{self.stages[stage]['seconds']:10.2f} s{self.stages[stage]['peak_gb']:8.2f} GB", flush=True,
              file=sys.stderr)  # fmt: skip
        return result

    def _reset_peak(self) -> None:
        if self.on_gpu:
            torch.cuda.synchronize()
            torch.cuda.reset_peak_memory_stats()
        elif sys.platform == "linux":
            Path("/proc/self/clear_refs").write_text("5")  # sets VmHWM back to what is resident now

    def _peak(self) -> float:
        if self.on_gpu:
            return torch.cuda.max_memory_allocated() / 1e9
        if sys.platform != "linux":
            return float("nan")
        return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) * 1024 / 1e9


@dataclass(frozen=True)
class Told:
    """What the denoising UNet is told about a clip, without and with the sound: each (2, …), without first."""

    image: Tensor
    audio: Tensor
    guide: Tensor


def project(bench: Bench, frames: int, size: int) -> Told:
    tokens = bench.network("image_projection")(torch.cat([torch.zeros_like(e := bench.random(1, 512)), e]))
    audio = bench.network("audio_projection")(bench.random(1, frames, 5, 12, 768))
    # Hallo's picture of where the face is does not move, so one frame of it is enough.
    guide = bench.network("face_locator")(bench.random(1, 3, size, size).clamp(0, 1))
    guide = guide.transpose(0, 1)[None].expand(-1, -1, frames, -1, -1)
    return Told(tokens, *(torch.cat([torch.zeros_like(each), each]) for each in (audio, guide)))


def read_reference(bench: Bench, encoded: Tensor, image: Tensor, frames: int, *, both: bool) -> ReferenceFeatures:
    """What ReferenceNet reads; ``both``: without and with the face, as guidance compares."""
    photo, motion = encoded[:1], encoded[None, 1:]
    network, without, tokens = bench.network("reference_net"), image[:1], image[1:]
    if both:
        return reference_features(network, photo, motion, tokens, without, frames)
    return network(photo, tokens, motion, tokens[:, None].expand(-1, MOTION_FRAMES, -1, -1))


def passes(
    bench: Bench, features: ReferenceFeatures, told: Told, frames: int, cells: int, guidance: float, *, batched: bool
) -> Callable[[Tensor, Tensor], Tensor]:
    """The prediction of a step from one pass (guidance 1), two passes in one batch, or one after the other."""
    network = bench.network("denoising_unet")
    mask = {region: torch.rand(1, frames, cells, cells) for region in FACE_REGIONS}
    masks = {region: [each.to(bench.device, bench.dtype) for each in region_masks(mask, 4)[region]] for region in mask}
    whole = guidance != 1

    def run(latents: Tensor, timestep: Tensor, halves: slice) -> Tensor:
        sees = torch.tensor([False, True], device=bench.device)[halves]
        count = len(sees)
        # With guidance, ReferenceNet read twice: its lists hold both halves.
        reference = [each.unflatten(0, (2, -1))[halves].flatten(0, 1) if whole else each for each in features.reference]
        motion = [each[halves] if whole else each for each in features.motion]
        predicted = network(
            latents.to(bench.dtype).expand(count, -1, -1, -1, -1),
            timestep.to(bench.device),
            features=ReferenceFeatures(reference, motion),
            sees_reference=sees,
            image_tokens=told.image[halves],
            audio_tokens=told.audio[halves],
            masks={region: [each.expand(count, -1, -1) for each in levels] for region, levels in masks.items()},
            guide=told.guide[halves],
        )
        return predicted.float()  # the scheduler needs more digits than bfloat16 has

    halves = {WITHOUT: slice(0, 1), AUDIO: slice(1, 2)}

    def predict(latents: Tensor, timestep: Tensor) -> Tensor:
        if not whole:
            return run(latents, timestep, halves[AUDIO])
        if batched:
            without, given = run(latents, timestep, slice(0, 2)).chunk(2)
            return without + guidance * (given - without)
        weights = {WITHOUT: 1 - guidance, AUDIO: guidance}
        return guided(lambda x, t, what: run(x, t, halves[what]), latents, timestep, weights)

    return predict


def denoise(bench: Bench, features: ReferenceFeatures, told: Told, arguments: argparse.Namespace) -> Tensor:
    """Noise to latents in all steps."""
    frames, cells = arguments.frames, arguments.size // SHRINK
    batched = arguments.passes == "batched"
    predict = passes(bench, features, told, frames, cells, arguments.guidance, batched=batched)
    sampler = Sampler(DDIMScheduler(**SCHEDULER), arguments.steps)
    noise = torch.randn(1, 4, frames, cells, cells).to(bench.device)
    return bench.timed("denoising", lambda: sampler(predict, noise, torch.zeros_like(noise)))


@torch.inference_mode()
def measure(bench: Bench, arguments: argparse.Namespace) -> dict[str, Any]:
    """One clip, from pictures to pictures."""
    frames, size = arguments.frames, arguments.size
    torch.manual_seed(1)
    autoencoder = bench.network("autoencoder")
    pictures = bench.random(1 + MOTION_FRAMES, 3, size, size).clamp(-1, 1)
    encoded = bench.timed("autoencoder, encoding", lambda: autoencoder.encode(pictures).latent_dist.mode())
    for name in ("image_projection", "audio_projection", "face_locator"):
        bench.network(name)
    told = bench.timed("projections", lambda: project(bench, frames, size))
    bench.drop("image_projection", "audio_projection", "face_locator")
    bench.network("reference_net")
    both = arguments.guidance != 1
    features = bench.timed("ReferenceNet", lambda: read_reference(bench, encoded, told.image, frames, both=both))
    bench.drop("reference_net")
    latents = denoise(bench, features, told, arguments)
    del features
    bench.drop("denoising_unet")
    parts = latents[0].transpose(0, 1).to(bench.dtype).split(arguments.decoded)
    decoded = bench.timed("autoencoder, decoding", lambda: [autoencoder.decode(part).sample for part in parts])
    assert all(torch.isfinite(part).all() for part in decoded) and sum(map(len, decoded)) == frames
    seconds = sum(stage["seconds"] for stage in bench.stages.values())
    return {
        "device": torch.cuda.get_device_name() if bench.on_gpu else f"CPU, {torch.get_num_threads()} threads",
        **{name: getattr(arguments, name) for name in ("dtype", "frames", "size", "steps", "guidance", "passes")},
        "compiled": arguments.compile,
        "stages": bench.stages,
        "seconds_per_step": bench.stages["denoising"]["seconds"] / arguments.steps,
        "seconds_per_second_of_video": seconds / frames * FPS,
        "peak_gb": max(stage["peak_gb"] for stage in bench.stages.values()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--dtype", choices=("bfloat16", "float32"), default="bfloat16")
    parser.add_argument("--frames", type=int, default=16, help="of the clip, 1 to 30 (default 16)")
    parser.add_argument("--size", type=int, default=512, help="pixels of a side, a multiple of 64 (default 512)")
    parser.add_argument("--steps", type=int, default=40, help="inference steps (default 40)")
    parser.add_argument("--guidance", type=float, default=3.5, help="1 is off and needs one pass (default 3.5)")
    parser.add_argument("--batched", action="store_const", const="batched", dest="passes", default="batched",
                        help="both passes of guidance at once (default)")  # fmt: skip
    parser.add_argument("--unbatched", action="store_const", const="unbatched", dest="passes",
                        help="one after the other: slower, with less memory")  # fmt: skip
    parser.add_argument("--decoded", type=int, default=4, help="frames that are decoded at once (default 4)")
    parser.add_argument("--compile", action="store_true", help="torch.compile the UNets and the decoder")
    parser.add_argument("--threads", type=int, default=2, help="on a CPU (default 2)")
    parser.add_argument("--json", action="store_true", help="print the figures as one JSON object")
    arguments = parser.parse_args()
    if not 1 <= arguments.frames <= 32 - MOTION_FRAMES or arguments.size < 64 or arguments.size % 64:
        parser.error("--frames must be 1 to 30 and --size a multiple of 64")
    logging.set_verbosity_error()  # each network would warn that nothing of it is kept in float32
    torch.set_num_threads(arguments.threads)
    bench = Bench(torch.device(arguments.device), getattr(torch, arguments.dtype), arguments.compile)
    figures = measure(bench, arguments)
    if arguments.json:
        print(json.dumps(figures))
        return
    print(f"{figures['device']}, {arguments.dtype}, {arguments.frames} frames of {arguments.size} pixels")
    for name, stage in bench.stages.items():
        print(f"  {name:32s}{stage['seconds']:10.2f} s   peak {stage['peak_gb']:6.2f} GB")
    print(f"  {'a step of denoising':32s}{figures['seconds_per_step']:10.2f} s")
    print(f"  {'for a second of video':32s}{figures['seconds_per_second_of_video']:10.2f} s")


if __name__ == "__main__":
    main()
