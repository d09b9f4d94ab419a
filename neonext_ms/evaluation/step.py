"""The loss of training, and a network in evaluation, as a function from images to logits."""

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn, ops


def soft_cross_entropy(logits, targets):
    """Cross-entropy of (N, K) logits with (N, K) soft targets, a value an image, computed in float32."""
    return -ops.sum(targets * ops.log_softmax(logits.astype(targets.dtype), -1), -1)


class EvalStep:
    """A network in evaluation mode, also between updates that put it into training mode.

    Args:
        network: NeoNeXt.
        dtype: of the activations.
    """

    def __init__(self, network, dtype=ms.float32):
        self._cell = _Logits(network, dtype)

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """(n, c, S, S) float32 -> (n, K) float32."""
        return self._cell.set_train(False)(Tensor(images)).asnumpy()

    def compile(self, images: np.ndarray):
        """Compile what a call with images of this shape runs, without running it."""
        self._cell.set_train(False).compile(Tensor(images))


class _Logits(nn.Cell):
    def __init__(self, network, dtype):
        super().__init__(auto_prefix=False)
        self.network = network
        self.dtype = dtype

    def construct(self, images):
        return self.network(images.astype(self.dtype)).astype(ms.float32)
