"""Where the full profile's networks go, and working ahead in a thread."""

from __future__ import annotations

import contextvars
import threading
import time
from itertools import count

import pytest
import torch

from synchrorama import InputError
from synchrorama.background import ahead
from synchrorama.placement import GIGABYTES, MemoryPlan, Placement, plan_for


@pytest.fixture
def gpu(monkeypatch):
    """A CUDA device as far as its properties go: function of free bytes and compute capability."""

    def found(gigabytes: float, capability: tuple[int, int] = (8, 9)) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (int(gigabytes * 1e9), int(24e9)))
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: capability)

    monkeypatch.delenv("SPACES_ZERO_GPU", raising=False)
    return found


def test_without_a_gpu_it_is_the_cpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    placement = Placement.for_this_machine()
    assert (placement.device.type, placement.dtype) == ("cpu", torch.float32) and not placement.compiles


@pytest.mark.parametrize(
    ("free", "plan"),
    [(23, MemoryPlan.RESIDENT), (9.9, MemoryPlan.SEQUENTIAL), (7.5, MemoryPlan.OFFLOADED)],
)
def test_the_plan_follows_free_memory(gpu, free, plan):
    gpu(free)
    placement = Placement.for_this_machine()
    assert (placement.device.type, placement.dtype, placement.plan) == ("cuda", torch.bfloat16, plan)


def test_every_budget_is_enough_for_its_plan_and_the_bar_is_kept():
    assert max(GIGABYTES.values()) <= 10
    for plan, needed in GIGABYTES.items():
        assert plan_for(int(needed * 1e9)) is plan


def test_cards_without_bfloat16_take_float16(gpu):
    gpu(15, (7, 5))
    assert Placement.for_this_machine().dtype is torch.float16


def test_a_gpu_that_is_full_is_said(gpu):
    gpu(2.04)
    with pytest.raises(InputError, match=r"[\d.]+ GB of free GPU memory and 2\.0 GB are free; end other"):
        Placement.for_this_machine()


def test_zero_gpu_is_taken_for_large_and_never_compiled_for(gpu, monkeypatch):
    gpu(0)
    assert Placement(device=torch.device("cuda"), dtype=torch.bfloat16, compile=True).compiles
    monkeypatch.setenv("SPACES_ZERO_GPU", "true")
    placement = Placement.for_this_machine(compile=True)
    assert placement.plan is MemoryPlan.RESIDENT and placement.compile and not placement.compiles


# ------------------------------------------------------------------------------------------ ahead


def names() -> list[str]:
    return [thread.name for thread in threading.enumerate()]


def test_items_keep_their_order_and_wait_in_bounded_number():
    made = []

    def numbers(_stopped):
        for i in range(50):
            made.append(i)
            yield i

    iterator = ahead(numbers, 3)
    assert not made  # nothing before it is asked for
    assert next(iterator) == 0
    time.sleep(0.1)
    assert len(made) <= 5
    assert list(iterator) == list(range(1, 50))
    assert "ahead" not in names()


def test_errors_come_after_what_was_made_before_them():
    def broken(_stopped):
        yield 1
        raise KeyError("here")

    iterator = ahead(broken, 5)
    assert next(iterator) == 1
    with pytest.raises(KeyError, match="here"):
        next(iterator)
    assert "ahead" not in names()


@pytest.mark.parametrize("taken", [0, 1, 4])
def test_closing_ends_the_thread_and_the_generator_in_it(taken):
    ended = []

    def numbers(_stopped):
        try:
            yield from count()
        finally:
            ended.append(threading.current_thread().name)

    iterator = ahead(numbers, 2)
    for i in range(taken):
        assert next(iterator) == i
    iterator.close()
    assert ended == (["ahead"] if taken else []) and "ahead" not in names()


def test_long_work_can_ask_whether_it_is_still_wanted():
    waiting = threading.Event()

    def patient(stopped):
        yield 0
        waiting.set()
        while not stopped():
            time.sleep(0.01)

    iterator = ahead(patient, 2)
    assert next(iterator) == 0 and waiting.wait(10)
    iterator.close()
    assert "ahead" not in names()


def test_the_thread_has_the_context_of_its_caller():
    variable = contextvars.ContextVar("variable", default="outside")
    variable.set("of the caller")
    assert list(ahead(lambda _: iter_of(variable), 1)) == ["of the caller"]


def iter_of(variable):
    yield variable.get()
