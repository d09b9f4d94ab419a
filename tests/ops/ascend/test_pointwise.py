"""The pointwise AscendC operators inside MindSpore, on the emulator: results, every gradient, a block on them."""

import ctypes
import math

import mindspore as ms
import numpy as np
import pytest
from mindspore import Parameter, Tensor, nn

from neonext_ms.models.layers import Block
from neonext_ms.ops import fallback, parse_spec
from neonext_ms.ops.ascend import pointwise
from neonext_ms.ops.ascend.pointwise import AscendBranch, AscendPointwise
from neonext_ms.ops.ascend.tiling import pointwise_refusal, prefers_mlp, weight_splits
from tests.ascend_kernels.pointwise import gelu, gelu_slope
from tests.support.gradients import ForwardAndGradients

LIMITS = {ms.float16: 2.0**-10, ms.bfloat16: 2.0**-7}


class Given(nn.Cell):
    """An operator's Cell on parameters, so that all of them have gradients."""

    def __init__(self, cell, parameters, before=(), after=()):
        super().__init__()
        self.cell, self.before, self.after = cell, before, after
        self.given = ms.ParameterTuple([Parameter(value, name=name) for name, value in parameters.items()])

    def construct(self, x):
        return self.cell(*self.before, x, *self.given, *self.after)


def draw(rng, shape, dtype, scale=1.0):
    """A tensor of a 16-bit type and its values in float64."""
    tensor = Tensor((rng.standard_normal(shape) * scale).astype(np.float32)).astype(dtype)
    return tensor, tensor.astype(ms.float32).asnumpy().astype(np.float64)


def compare(found, truth, scale, limit):
    for value, exact, size in zip(found, truth, scale, strict=True):
        value = value.astype(ms.float32).asnumpy().astype(np.float64)
        assert value.shape == exact.shape
        assert np.all(abs(value - exact) <= limit * size)


@pytest.mark.parametrize("dtype", LIMITS)
def test_pointwise(emulator_library, dtype):
    rng = np.random.default_rng(0)
    x, w, b, dy = (draw(rng, shape, dtype) for shape in ((3, 20, 7, 6), (40, 20), (40,), (3, 40, 7, 6)))

    def expected(x, w, b, dy):
        y = np.einsum("mk,nkhw->nmhw", w, x) + b.reshape(-1, 1, 1)
        dx, dw = np.einsum("mk,nmhw->nkhw", w, dy), np.einsum("nmhw,nkhw->mk", dy, x)
        return [y, dx, dw, dy.sum((0, 2, 3))]

    cell = Given(AscendPointwise(f"{emulator_library}:"), {"w": w[0], "b": b[0]})
    y, dx, gradients = ForwardAndGradients(cell)(x[0], dy[0])
    exact = [t[1] for t in (x, w, b, dy)]
    compare([y, dx, *gradients], expected(*exact), expected(*map(np.abs, exact)), LIMITS[dtype])


def branch_truth(trunk, x, w1, b1, w2, b2, s, dy):
    """y, dx, dw1, db1, dw2, db2 in float64."""
    z = np.einsum("mk,nkhw->nmhw", w1, x) + b1.reshape(-1, 1, 1)
    a, s = gelu(z), s.reshape(-1, 1, 1, 1)
    y = trunk + s * (np.einsum("km,nmhw->nkhw", w2, a) + b2.reshape(-1, 1, 1))
    dz = np.einsum("km,nkhw->nmhw", w2, s * dy) * gelu_slope(z)
    sums = [np.einsum("nmhw,nkhw->mk", dz, x), dz.sum((0, 2, 3))]
    sums += [np.einsum("nkhw,nmhw->km", s * dy, a), (s * dy).sum((0, 2, 3))]
    return [y, np.einsum("mk,nmhw->nkhw", w1, dz), *sums]


@pytest.mark.parametrize("training, whole", [(False, False), (False, True), (True, False)])
@pytest.mark.parametrize("scaled", [False, True])
def test_branch(emulator_library, monkeypatch, scaled, training, whole):
    """A dropped image is its trunk; gradients agree within a few roundings of 16 bits, s has none."""
    monkeypatch.setattr(pointwise, "prefers_mlp", lambda *shape: whole)
    n, c, hidden, h, w = 3, 24, 48, 5, 7
    rng = np.random.default_rng(0)
    tensors = [draw(rng, (n, c, h, w), ms.float16), draw(rng, (n, c, h, w), ms.float16)]
    tensors += [draw(rng, (hidden, c), ms.float16, c**-0.5), draw(rng, (hidden,), ms.float16)]
    tensors += [draw(rng, (c, hidden), ms.float16, hidden**-0.5), draw(rng, (c,), ms.float16)]
    dy, factors = draw(rng, (n, c, h, w), ms.float16), np.array([0, 1.25, 0.5] if scaled else [1, 1, 1], np.float32)
    cell = Given(
        AscendBranch(f"{emulator_library}:"),
        {name: tensor for name, (tensor, _) in zip(("w1", "b1", "w2", "b2"), tensors[2:], strict=True)},
        before=(tensors[0][0],),
        after=(Tensor(factors) if scaled else None,),
    )
    cell.set_train(training)
    truth = branch_truth(*(exact for _, exact in tensors), factors.astype(np.float64), dy[1])
    if not training:
        compare([cell(tensors[1][0])], truth[:1], [np.abs(truth[0]) + 4], 2.0**-9)
        return
    y, dx, gradients = ForwardAndGradients(cell)(tensors[1][0], dy[0])
    scale = [np.abs(truth[0]) + 4, np.full(truth[1].shape, 4), *(np.abs(t) + 8 for t in truth[2:])]
    compare([y, dx, *gradients], truth, scale, 2.0**-9)
    if scaled:
        np.testing.assert_array_equal(y.asnumpy()[0], tensors[0][0].asnumpy()[0])


class Kept(nn.Cell):
    """A block with a drop path that drops the first image."""

    def __init__(self, block):
        super().__init__(auto_prefix=False)
        self.block = block
        self.keep = Tensor(np.array([0, 1.25, 1.25, 1.25], np.float32))

    def construct(self, x):
        return self.block(x, self.keep)


def test_block(emulator_library):
    """A block on the operators against MindSpore's own, with layer scale and drop path, recomputed or not."""
    found = []
    for fused, again in ((False, False), (True, False), (True, True)):
        block = Block(parse_spec("7", 24), np.random.default_rng(0), linear_bias=True, layer_scale=0.5, backend="dense")
        if fused:
            block.branch = AscendBranch(f"{emulator_library}:")
        if again:
            block.branch.recompute()
        block.set_train()
        rng = np.random.default_rng(1)
        x, dy = (Tensor(rng.standard_normal((4, 24, 7, 7)).astype(np.float16)) for _ in range(2))
        y, dx, gradients = ForwardAndGradients(Kept(block))(x, dy)
        found.append([t.astype(ms.float32).asnumpy() for t in (y, dx, *gradients)])
    assert len(found[0]) == len(found[1]) >= 8
    assert all(np.array_equal(kept, again) for kept, again in zip(found[1], found[2], strict=True))
    for plain, fused in zip(*found[:2], strict=True):
        np.testing.assert_allclose(fused, plain, atol=2.0**-7 * max(1, np.abs(plain).max()), rtol=2.0**-7)


def test_float32_falls_back_with_a_warning(emulator_library, monkeypatch, caplog):
    monkeypatch.setattr(fallback, "_given", set())
    assert not AscendPointwise(f"{emulator_library}:").serves(Tensor(np.zeros((1, 8, 4, 4), np.float32)))
    assert "take float16 and bfloat16, not float32" in caplog.text


def test_splits_are_those_of_the_tiling(emulator):
    rng = np.random.default_rng(0)
    shapes = [(128, dim << s, 4 * dim << s, (56 >> s) ** 2) for dim in (96, 128, 192, 256) for s in range(4)]
    shapes += [(n, m, k, pixels) for n, k, m, pixels in shapes]
    shapes += [tuple(math.ceil(1.5 ** rng.uniform(0, top)) for top in (13, 17, 17, 21)) for _ in range(300)]
    for shape in shapes:
        assert weight_splits(*shape) == emulator.library.pointwise_splits((ctypes.c_uint32 * 4)(*shape)), shape


def test_the_choice_of_the_mlp_is_that_of_the_tiling(emulator):
    rng = np.random.default_rng(0)
    dims = (96, 128, 192, 256)
    shapes = [(n, d << s, 4 * d << s, (56 >> s) ** 2) for n in (1, 8, 128) for d in dims for s in range(4)]
    shapes += [tuple(math.ceil(1.5 ** rng.uniform(0, top)) for top in (13, 15, 18, 21)) for _ in range(300)]
    chosen = [prefers_mlp(*shape) for shape in shapes]
    assert chosen == [bool(emulator.library.pointwise_prefers_mlp((ctypes.c_uint32 * 4)(*s))) for s in shapes]
    # at 128 images of 224 pixels: stages 1 and 2 of T and B, and stage 1 of L and XL
    assert [shape[1] for shape, mlp in zip(shapes, chosen, strict=True) if mlp and shape[0] == 128][:6] == [
        *(96, 192, 128, 256, 192, 256)
    ]


def test_refusals():
    assert pointwise_refusal(96, 384, 3136) == ""
    assert "at most 65535 channels and pixels, given 70000" in pointwise_refusal(96, 384, 70000)
