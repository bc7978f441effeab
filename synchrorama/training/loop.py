"""The loop of a training run: steps, their log, what is saved, and going on from it. What a step is comes in.

A run can be stopped at any time and goes on as if it had not been: what a step sees depends on its number and on the
process, of which `accelerate launch` may start several, one for each GPU.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from accelerate import Accelerator, DistributedDataParallelKwargs
from diffusers.training_utils import EMAModel
from torch import nn

from synchrorama.diffusion import DiffusionNetworks
from synchrorama.errors import InputError
from synchrorama.training.run_config import LoopConfig

T = TypeVar("T")
TakeStep = Callable[[nn.Module, np.random.Generator, int, Accelerator], dict[str, float]]
"""The objective, as ``accelerate`` has prepared it, the step's random numbers, its number and the accelerator → the
losses of the step, whose gradients are then in the parameters."""
Pictures = Callable[[int, torch.device], np.ndarray | None]
"""The number of steps done and the device → a picture (H, W, 3) uint8 for the log, or none this time."""

_STATE = "state.pt"
_LAST_RATE = 0.03


def run(
    config: LoopConfig,
    networks: DiffusionNetworks,
    objective: nn.Module,
    take_step: TakeStep,
    *,
    resume: bool,
    pictures: Pictures = lambda step, device: None,
) -> dict[str, list[float]]:
    """Train those parameters of ``networks`` that require a gradient.

    Args:
        config: of the run.
        networks: what is saved.
        objective: holds them; a batch → losses.
        take_step: see ``TakeStep``.
        resume: whether to go on from the state that the run has saved.
        pictures: see ``Pictures``; called when something is saved, while the networks hold their average.

    Returns:
        Name of the loss → its value, averaged over the processes, at each step that this call made.

    Raises:
        InputError: there is nothing to go on with, or the losses are no longer finite.
    """
    # Frozen networks, and conditions left out of a step, leave parameters without a gradient: not an error here.
    unused = DistributedDataParallelKwargs(find_unused_parameters=True)
    accelerator = Accelerator(
        mixed_precision=config.mixed_precision,
        log_with="tensorboard",
        project_dir=str(config.run),
        kwargs_handlers=[unused],
    )
    if config.gradient_checkpointing:
        networks.enable_gradient_checkpointing()
    trained = [each for each in networks.parameters() if each.requires_grad]
    optimiser = torch.optim.AdamW(trained, config.learning_rate, weight_decay=config.weight_decay)
    average = EMAModel(trained, decay=config.moving_average) if config.moving_average else None
    done = _restore(config, networks, optimiser, average) if resume else 0
    objective.to(accelerator.device, memory_format=torch.channels_last)
    if average is not None:
        average.to(accelerator.device)
    objective, optimiser = accelerator.prepare(objective, optimiser)
    accelerator.init_trackers("tensorboard")

    history: dict[str, list[float]] = {}
    since, started = done, time.time()
    for step in range(done, config.steps):
        generator = np.random.default_rng((config.seed, step, accelerator.process_index))
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(config, step)
        terms = _everywhere(take_step(objective, generator, step, accelerator), accelerator)
        if not all(map(np.isfinite, terms.values())):
            raise InputError(
                f"The losses of step {step} are not finite; lower learning_rate, or check the data, and go on with "
                "--resume from the state that was last saved."
            )
        accelerator.clip_grad_norm_(trained, config.gradient_clip)
        optimiser.step()
        optimiser.zero_grad()
        if average is not None:
            average.step(trained)
        for name, value in terms.items():
            history.setdefault(name, []).append(value)
        step += 1
        if step % config.log_every == 0 or step == config.steps:
            means = {name: float(np.mean(values[since - step :])) for name, values in history.items()}
            accelerator.log(means | {"learning_rate": learning_rate(config, step - 1)}, step=step)
            speed = (step - since) / (time.time() - started)
            told = " ".join(f"{name} {value:.4f}" for name, value in means.items())
            accelerator.print(f"{step}/{config.steps} {told} ({speed:.2f} steps/s)", flush=True)
            since, started = step, time.time()
        if accelerator.is_main_process and (step % config.save_every == 0 or step == config.steps):
            _save_state(config, step, networks, optimiser, average)
            with _averaged(trained, average):
                save_networks(networks, config.output)
                picture = pictures(step, accelerator.device)
            if picture is not None:
                accelerator.get_tracker("tensorboard").log_images({"dev": picture[None]}, step, dataformats="NHWC")
    accelerator.wait_for_everyone()
    accelerator.end_training()
    return history


def learning_rate(config: LoopConfig, step: int) -> float:
    """Of a step, counted from 0: up during the warm-up, then down in a line."""
    return config.learning_rate * min(1, (step + 1) / config.warm_up) * max(_LAST_RATE, 1 - step / config.steps)


@contextmanager
def processor(threads: int) -> Iterator[None]:
    """So many threads, and the smallest numbers of AdamW's moments taken for zero, which else slow a CPU down; for the
    time of the training only, because MediaPipe does not start in this mode."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)
        torch.set_num_threads(before)


def save_networks(networks: DiffusionNetworks, folder: Path) -> None:
    """The networks as safetensors in half precision, which replace what the folder held when they are whole.

    Half the size, and no level of a pixel changes by more than one.
    """
    with torch.device("meta"):
        copy = DiffusionNetworks(networks.config["parts"])
    tensors = {name: each.detach().to("cpu", torch.float16) for name, each in networks.state_dict().items()}
    copy.load_state_dict(tensors, assign=True)
    fresh = folder.with_name(f"{folder.name}.part")
    copy.save_pretrained(fresh)
    shutil.rmtree(folder, ignore_errors=True)
    fresh.replace(folder)


def _everywhere(terms: dict[str, float], accelerator: Accelerator) -> dict[str, float]:
    """The losses averaged over the processes: not a number in one of them is so in all, and all stop."""
    if accelerator.num_processes == 1:
        return terms
    values = torch.tensor(list(terms.values()), device=accelerator.device)
    return dict(zip(terms, accelerator.reduce(values, "mean").tolist(), strict=True))


@contextmanager
def _averaged(trained: list[nn.Parameter], average: EMAModel | None) -> Iterator[None]:
    """The networks hold their moving average, if there is one."""
    if average is None:
        yield
        return
    average.store(trained)
    average.copy_to(trained)
    try:
        yield
    finally:
        average.restore(trained)


def _save_state(
    config: LoopConfig,
    step: int,
    networks: DiffusionNetworks,
    optimiser: torch.optim.Optimizer,
    average: EMAModel | None,
) -> None:
    """What is needed to go on. Parameters that are not trained are those that the run began with."""
    config.run.mkdir(parents=True, exist_ok=True)
    state = {
        "step": step,
        "networks": {name: each.detach() for name, each in networks.named_parameters() if each.requires_grad},
        "optimiser": optimiser.state_dict(),
        "average": None if average is None else average.state_dict(),
    }
    torch.save(state, config.run / f"{_STATE}.part")
    (config.run / f"{_STATE}.part").replace(config.run / _STATE)


def _restore(
    config: LoopConfig, networks: DiffusionNetworks, optimiser: torch.optim.Optimizer, average: EMAModel | None
) -> int:
    """Load the state of the run; the steps that are done."""
    path = config.run / _STATE
    if not path.exists():
        raise InputError(f"{config.run} holds no state to go on from; start without --resume.")
    state = torch.load(path, map_location="cpu", weights_only=True)
    trained = {name for name, each in networks.named_parameters() if each.requires_grad}
    if set(state["networks"]) != trained or (average is None) != (state["average"] is None):
        raise InputError(f"The state in {config.run} is of a run with other settings; start without --resume.")
    networks.load_state_dict(state["networks"], strict=False)
    optimiser.load_state_dict(state["optimiser"])
    if average is not None:
        average.load_state_dict(state["average"])
    return state["step"]
