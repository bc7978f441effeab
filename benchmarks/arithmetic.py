"""What the full profile costs a GPU, by arithmetic: python benchmarks/arithmetic.py.

The stage itself (synchrorama/frame_stage.py) runs on tensors without contents, so no GPU and hardly any memory is
needed; counted are multiplications and additions (matrix products, convolutions, attentions) and the bytes that are
alive at once. What counts on a GPU as well is not seen: kernels that fill it badly, the work space of convolutions,
memory that is freed but kept in pieces, and CUDA's own.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch
from full_size import frame, stage, told
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from synchrorama import GenerationSettings
from synchrorama.diffusion.frame_denoiser import FRAMES_BEFORE
from synchrorama.frame_stage import CLIP_FRAMES, OVERLAP
from synchrorama.placement import MemoryPlan, Placement

FPS, SIZE = 25, 512
CUDA_CONTEXT = 0.5  # GB that a process takes of a GPU before it does anything; of recent drivers
WAV2VEC = 0.2  # GB, weights of wav2vec2-base in half precision


class Meter(TorchDispatchMode):
    """Floating-point operations by what is at work, and the most bytes that were alive at once meanwhile."""

    def __init__(self, weights: Iterable[Tensor]) -> None:
        super().__init__()
        self.work, self.operations, self.peak = "", Counter(), Counter()
        self._weights = {StorageWeakRef(each.untyped_storage()) for each in weights}
        self._alive: dict[StorageWeakRef, int] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        count = flop_registry.get(func._overloadpacket)
        if count is None:
            with self:  # inference mode leaves some operations whole, such as linear layers
                result = func.decompose(*args, **(kwargs or {}))
            if result is not NotImplemented:
                return result
        result = func(*args, **(kwargs or {}))
        if count is not None:
            self.operations[self.work] += count(*args, **(kwargs or {}), out_val=result)
        for tensor in result if isinstance(result, (tuple, list)) else (result,):
            if isinstance(tensor, Tensor) and tensor.device.type == "meta":
                storage = tensor.untyped_storage()
                if (place := StorageWeakRef(storage)) not in self._weights:  # no view of a weight
                    self._alive.setdefault(place, storage.nbytes())
        self._alive = {storage: size for storage, size in self._alive.items() if not storage.expired()}
        self.peak[self.work] = max(self.peak[self.work], sum(self._alive.values()))
        return result


class FusedAttention(TorchFunctionMode):
    """Attention that keeps no scores, as the kernels of a GPU do."""

    def __init__(self, meter: Meter) -> None:
        super().__init__()
        self._meter = meter

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is not nn.functional.scaled_dot_product_attention:
            return func(*args, **(kwargs or {}))
        query, key, _ = args
        self._meter.operations[self._meter.work] += 4 * query.numel() * key.shape[-2]
        return torch.empty_like(query)


@dataclass
class Cost:
    """Of one clip: work → operations, work → peak bytes besides the weights; weights → bytes; frames that it adds."""

    operations: Counter
    peak: Counter
    weights: Counter
    frames: int

    @property
    def per_second(self) -> float:
        """Operations per second of video."""
        return sum(self.operations.values()) * FPS / self.frames

    def gigabytes(self, plan: MemoryPlan) -> float:
        """The most that a GPU has to hold under a plan."""
        held = sum(self.weights.values())
        most = 0
        for work, peak in self.peak.items():
            here = self.weights["small"] + self.weights[work] if plan is MemoryPlan.OFFLOADED else held
            most = max(most, here + peak)
        return most / 1e9 + CUDA_CONTEXT + WAV2VEC


@dataclass
class Recipe:
    name: str
    plan: MemoryPlan
    settings: dict[str, Any]
    options: dict[str, Any] = field(default_factory=dict)


HALLO = {"sampler": "euler", "inference_steps": 40, "guidance_scale": 3.5, "diffusion_strength": 1.0}
OURS = {**HALLO, "inference_steps": 8}  # the solver itself costs next to nothing
SIX = {**OURS, "inference_steps": 6, "diffusion_strength": 0.6}
RECIPES = (
    Recipe("Hallo's: 40 steps, passes one by one, no overlap", MemoryPlan.SEQUENTIAL, HALLO, {"overlap": 0}),
    Recipe("8 steps from noise", MemoryPlan.RESIDENT, OURS),
    Recipe("6 steps from motion frames", MemoryPlan.RESIDENT, SIX),
    Recipe("8 steps from noise, deep features every 2nd", MemoryPlan.RESIDENT, {**OURS, "feature_caching": 2}),
    Recipe("8 steps from noise, guidance off", MemoryPlan.RESIDENT, {**OURS, "guidance_scale": 1.0}),
    Recipe("6 steps from motion frames", MemoryPlan.SEQUENTIAL, SIX),
    Recipe("6 steps from motion frames", MemoryPlan.OFFLOADED, SIX),
)


def cost(recipe: Recipe) -> Cost:
    """A clip in the midst of a video: what belongs to the whole video is left out."""
    steps = recipe.settings["inference_steps"]
    counted = recipe.settings.get("feature_caching", 1)  # the others cost as much
    settings = {**recipe.settings, "inference_steps": counted, "diffusion_strength": 1.0}
    settings = GenerationSettings(seed=1, **settings)
    plan = MemoryPlan.SEQUENTIAL if recipe.plan is MemoryPlan.OFFLOADED else recipe.plan  # they compute the same
    placement = Placement(device=torch.device("meta"), dtype=torch.bfloat16, plan=plan)
    made = stage(placement, **recipe.options)
    overlap = recipe.options.get("overlap", OVERLAP)
    frames = 2 * CLIP_FRAMES - overlap
    meter = Meter([*made.networks.state_dict().values(), *made.autoencoder.state_dict().values()])
    parts = {
        "reference_net": made.networks.reference_net, "denoising_unet": made.networks.denoising_unet,
        "encoder": made.autoencoder.encoder, "decoder": made.autoencoder.decoder,
    }  # fmt: skip
    for name, part in parts.items():
        part.register_forward_pre_hook(lambda *_, name=name: setattr(meter, "work", name))
        part.register_forward_hook(lambda *_: setattr(meter, "work", "small"))
    clips = made._clips(
        (frame(t, SIZE) for t in range(frames)), frame(0, SIZE), told(frames), settings, lambda *_: None
    )
    meter.work = "small"
    with meter, FusedAttention(meter):
        next(clips)
        meter.operations.clear()
        meter.peak.clear()
        _, latents = next(clips)
        new = latents.transpose(0, 1)[overlap:]
        if recipe.settings["diffusion_strength"] < 1:  # then all motion frames are encoded, not two a clip
            made._encode([made._shown(frame(t, SIZE)) for t in range(len(new) - FRAMES_BEFORE)])
        for group in new.split(placement.decoded_at_once):
            made.codec.decode(group)
    meter.operations["denoising_unet"] = meter.operations["denoising_unet"] * steps // counted
    weights = Counter({name: _bytes(part) for name, part in parts.items()})
    weights["small"] = _bytes(made.networks) - weights["reference_net"] - weights["denoising_unet"]
    return Cost(meter.operations, meter.peak, weights, CLIP_FRAMES - overlap)


def _bytes(network: nn.Module) -> int:
    return sum(tensor.numel() * 2 for tensor in network.state_dict().values())


def main() -> None:
    baseline = None
    print("| at 512 × 512 in bfloat16 | memory plan | TFLOP for a second of video | ratio | GPU memory |")
    print("|---|---|---|---|---|")
    for recipe in RECIPES:
        each = cost(recipe)
        baseline = baseline or each.per_second
        print(
            f"| {recipe.name} | {recipe.plan.value} | {each.per_second / 1e12:,.0f} "
            f"| {baseline / each.per_second:.1f} | {each.gigabytes(recipe.plan):.1f} GB |",
            flush=True,
        )
        if recipe is RECIPES[0] or (recipe.settings is SIX and recipe.plan is MemoryPlan.RESIDENT):
            parts = {part: f"{count * FPS / each.frames / 1e12:.1f}" for part, count in each.operations.items()}
            print(f"of which: {parts}", file=sys.stderr)


if __name__ == "__main__":
    main()
