"""The loss, and one evaluation step, computed in a graph."""

import mindspore as ms
from mindspore import nn, ops


def soft_cross_entropy(logits, targets):
    """Cross-entropy of (N, K) logits with (N, K) soft targets, a value an image, computed in float32."""
    return -ops.sum(targets * ops.log_softmax(logits.astype(targets.dtype), -1), -1)


class EvalStep(nn.Cell):
    """Sums over a batch in evaluation mode.

    Args:
        network: NeoNeXt.
        dtype: of the activations.

    Inputs:
        images: (n, 3, S, S) float32.
        targets: (n, K) float32 one-hot; rows of zeros mark padding, which counts for nothing.

    Outputs:
        (4,) float32: sum of the cross-entropies, number of right answers, number of images whose true class is among
        the five largest logits (equal ones count against it), number of images.
    """

    def __init__(self, network, dtype=ms.float32):
        super().__init__(auto_prefix=False)
        self.network = network
        self.dtype = dtype
        self.set_train(False)

    def construct(self, images, targets):
        logits = self.network(images.astype(self.dtype))
        valid = ops.sum(targets, -1)
        losses = soft_cross_entropy(logits, targets) * valid
        correct = (ops.argmax(logits, -1) == ops.argmax(targets, -1)).astype(targets.dtype) * valid
        own = ops.sum(logits * targets.astype(logits.dtype), -1, keepdim=True)
        as_large = ops.sum((logits >= own).astype(targets.dtype), -1)  # itself among them
        among_five = (as_large <= 5).astype(targets.dtype) * valid
        return ops.stack([ops.sum(losses), ops.sum(correct), ops.sum(among_five), ops.sum(valid)])
