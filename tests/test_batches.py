"""How many images go at once: even chunks, a comfortable number, and less where memory runs out."""

import gc
import weakref
from typing import Any

import numpy as np
import pytest

from agnoscope import GradCAM, Occlusion, OutOfMemoryError, Saliency, wrap
from agnoscope.batches import ran_out_of_memory, within_memory
from agnoscope.testing import deep_network, images

X = images(6)


@pytest.fixture
def model() -> Any:
    """A network that has room for so many images at once, and notes what it was given."""
    model = wrap(deep_network())
    seen: list[int] = []
    plain = model.run

    def run(images: Any, *rest: Any) -> Any:
        seen.append(images.shape[0])
        if images.shape[0] > model.room:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")
        return plain(images, *rest)

    model.run, model.room, model.seen = run, 2, seen
    return model


@pytest.mark.parametrize("explainer", [Saliency(), GradCAM(), Occlusion(window=3, stride=2)])
def test_the_batch_is_halved_until_it_fits_and_that_is_remembered(model: Any, explainer: Any) -> None:
    found = explainer(model, X)
    np.testing.assert_allclose(found.values, explainer(wrap(deep_network()), X).values, rtol=1e-5, atol=1e-7)
    assert found.provenance.batch_size == 2
    assert any("Memory ran out" in warning for warning in found.provenance.warnings)
    model.seen.clear()
    explainer(model, X)
    assert max(model.seen) == 2
    assert "Memory ran out with 64 at once: 2 went through." in explainer(model, X).provenance.warnings


def test_a_batch_size_that_was_asked_for_is_halved_too(model: Any) -> None:
    assert Saliency()(model, X, batch_size=4).provenance.batch_size == 2
    assert Saliency()(model, X, batch_size=1).provenance.batch_size == 1


def test_where_one_image_does_not_fit_it_is_said(model: Any) -> None:
    model.room = 0
    with pytest.raises(OutOfMemoryError, match=r"one image at a time.*can't allocate memory"):
        Saliency()(model, X)
    assert isinstance(OutOfMemoryError(), MemoryError)


def test_other_errors_pass() -> None:
    def broken(batch: int) -> None:
        raise ValueError("out of order")

    with pytest.raises(ValueError, match="out of order"):
        within_memory(wrap(deep_network()), "key", 8, broken)


@pytest.mark.parametrize(
    "words",
    [
        "CUDA out of memory. Tried to allocate 20.00 MiB",
        "RESOURCE_EXHAUSTED: Out of memory while trying to allocate 9 bytes",
        "OOM when allocating tensor with shape[1,2]",
        "[enforce fail at alloc_cpu.cpp:117] err == 0. DefaultCPUAllocator: can't allocate memory",
        "Unable to allocate 9 bytes; failed to allocate",
    ],
)
def test_the_words_of_the_frameworks_are_known(words: str) -> None:
    assert ran_out_of_memory(RuntimeError(words))
    assert ran_out_of_memory(MemoryError())
    assert not ran_out_of_memory(RuntimeError("the room is full"))


def test_what_failed_is_let_go_before_the_next_try() -> None:
    class Large:
        pass

    held: list[Any] = []

    def work(batch: int) -> int:
        gc.collect()
        assert all(ref() is None for ref in held)
        large = Large()
        held.append(weakref.ref(large))
        if batch > 1:
            raise MemoryError
        return batch

    assert within_memory(wrap(deep_network()), "key", 8, work) == (1, 1)
    assert len(held) == 4
