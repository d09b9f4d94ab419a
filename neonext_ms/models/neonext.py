"""NeoNeXt (paper, section 4): stem, four stages of blocks with down-sampling between them, head."""

import functools
import logging
from collections.abc import Sequence

from mindspore import Tensor, mint, nn, ops

from neonext_ms.checks import plain, whole_number
from neonext_ms.errors import UserError
from neonext_ms.models.layers import Block, Downsample, Head, Stem, check_image_type, check_images, check_input_size
from neonext_ms.models.spec import NeoNeXtSpec
from neonext_ms.ops.neocell import generator

log = logging.getLogger(__name__)
# A constant of the graph: an input that does not fit is refused by name when it is compiled, not by a failed reshape.
_check_images, _check_image_type, _check_input_size = map(
    ops.constexpr, (check_images, check_image_type, check_input_size)
)


@ops.constexpr
@functools.cache
def _warn_that_nothing_is_dropped(rate: float):
    """Once for every rate: at the first call, or when its graph is compiled."""
    log.warning(
        "drop_path_rate=%g drops nothing here: a NeoNeXt in training mode was called without masks; give it those of "
        "neonext_ms.training.drop_path.drop_path_masks as its second input, or create it with drop_path_rate=0",
        rate,
    )


class NeoNeXt(nn.Cell):
    """The network; usually made by `create_model`.

    Args:
        spec: its structure.
        num_classes: outputs of the classifier; 0 leaves it out and the head returns features.
        drop_path_rate: the last block's probability of dropping its branch; from 0 in the first it grows linearly. The
            network does not draw: whoever trains it makes the masks (`neonext_ms.training.drop_path`) and gives them as
            an input. In training mode without masks nothing is dropped, and one warning says so.
        features_only: return the outputs of stages instead of logits; there is no head.
        out_indices: of those stages, from 0; None for all. Negative ones count from the last.
        backend: of every NeoCell.
        init: of every NeoCell, "neo", "normal" or "identity".
        seed: of the initial weights; None draws from NumPy's global generator, which `mindspore.set_seed` seeds.

    Inputs:
        x: (N, in_chans, H, W), H and W multiples of 4 and at least 32, float32 or float16.
        drop_path: (blocks, N) float32 from `drop_path_masks`, or None to keep every branch.

    Outputs:
        (N, num_classes); with num_classes=0 (N, dims[-1]); with features_only a tuple of (N, dims[i], H_i, W_i),
        one for each of out_indices.

    Raises:
        UserError (a ValueError): a size that the network cannot take; names the stage and the sizes that work.
    """

    def __init__(
        self,
        spec: NeoNeXtSpec,
        num_classes: int = 1000,
        drop_path_rate: float = 0.0,
        features_only: bool = False,
        out_indices: Sequence[int] | None = None,
        backend: str = "auto",
        init: str = "neo",
        seed: int | None = None,
    ):
        super().__init__()
        num_classes = whole_number("num_classes", num_classes, 0)
        if not 0 <= drop_path_rate < 1:
            raise UserError(f"drop_path_rate must be at least 0 and below 1, got {drop_path_rate}")
        self.spec = spec
        self.num_classes = num_classes
        self.drop_path_rate = drop_path_rate
        self.features_only = features_only
        self.out_indices = _stages(out_indices, len(spec.dims), features_only)
        rng = generator(seed)
        self.stem = Stem(spec.in_chans, spec.dims[0], backend, rng)
        downsamples, stages = [], []
        for i, (depth, dim) in enumerate(zip(spec.depths, spec.dims)):
            if i:
                downsamples.append(Downsample(spec.dims[i - 1], dim, backend, init, rng))
            parts = spec.stage_groups(i), rng, spec.linear_bias, spec.layer_scale, backend, init, spec.form
            blocks = [Block(*parts) for _ in range(depth)]
            stages.append(nn.CellList(blocks))
        self.downsamples = nn.CellList(downsamples)
        self.stages = nn.CellList(stages)
        self.head = None if features_only else Head(spec.dims[-1], num_classes, rng)
        # A new Cell is in evaluation but has the phase of training: a graph compiled before set_train(True) would serve
        # after it as well (MindSpore 2.10).
        self.set_train(False)
        self.default_cfg = {}  # whoever makes the network by name fills it, see `default_cfg`

    @property
    def feature_info(self) -> list[dict]:
        """Channels, reduction of the image's height and width, and module of the output of each of out_indices."""
        return [
            {"num_chs": self.spec.dims[i], "reduction": Stem.patch * 2**i, "module": f"stages.{i}"}
            for i in self.out_indices
        ]

    @property
    def num_features(self) -> int:
        """Channels of the last stage, which are those that the classifier takes."""
        return self.spec.dims[-1]

    def get_classifier(self) -> nn.Cell | None:
        """The linear layer from features to logits; None where there is none."""
        return self.head and self.head.fc

    def reset_classifier(self, num_classes: int, seed: int | None = None):
        """Draw a new classifier for another number of classes; 0 removes it, and the network gives pooled features.

        Args:
            num_classes: outputs.
            seed: of its weights; None draws from NumPy's global generator.

        Raises:
            UserError: no such number, or a network with features_only, which has no head.
        """
        if self.head is None:
            raise UserError("a network with features_only has no classifier: create it without")
        self.num_classes = whole_number("num_classes", num_classes, 0)
        self.head.reset(self.num_features, self.num_classes, generator(seed))
        self.default_cfg = {**self.default_cfg, "num_classes": self.num_classes, "label_names": None}
        self.compile_cache.clear()  # of graphs with the classifier that was

    def extend_repr(self) -> str:
        """What `print` shows beside the layers."""
        count = sum(p.size for p in self.trainable_params())
        outputs = f"out_indices={self.out_indices}" if self.features_only else f"num_classes={self.num_classes}"
        return f"in_chans={self.spec.in_chans}, {outputs}, {count:,} trainable parameters"

    def stage_outputs(self, x, drop_path=None):
        """Outputs of all stages, a tuple of (N, dims[i], H_i, W_i)."""
        if self.training and self.drop_path_rate > 0 and drop_path is None:
            _warn_that_nothing_is_dropped(self.drop_path_rate)
        x = self.stem(x)
        outputs = ()
        block = 0
        for i in range(len(self.stages)):
            if i > 0:
                x = self.downsamples[i - 1](x)
            for cell in self.stages[i]:
                x = cell(x, None if drop_path is None else mint.select(drop_path, 0, block))
                block += 1
            outputs += (x,)
        return outputs

    def forward_features(self, x, drop_path=None):
        """(N, in_chans, H, W) -> (N, dims[-1], H', W'), the last stage's output."""
        return self.stage_outputs(x, drop_path)[-1]

    def forward_head(self, x):
        """(N, dims[-1], H', W') -> (N, num_classes)."""
        return self.head(x)

    def __call__(self, x, *others, **named):
        """As `construct`; what cannot be the network's input is refused before anything is compiled."""
        if not isinstance(x, Tensor):
            raise UserError(f"the network takes a mindspore.Tensor, got a {type(x).__name__}: use Tensor(x)")
        check_input(x.shape, str(x.dtype), self.spec)
        return super().__call__(x, *others, **named)

    def construct(self, x, drop_path=None):
        rank = len(x.shape)
        _check_images(rank, x.shape[1] if rank > 1 else 0, x.shape[-1] if rank else 0, self.spec.in_chans)
        _check_image_type(str(x.dtype))
        _check_input_size(x.shape[2], x.shape[3], len(self.stages))
        outputs = self.stage_outputs(x, drop_path)
        if not self.features_only:
            return self.forward_head(outputs[-1])
        chosen = ()
        for i in self.out_indices:
            chosen += (outputs[i],)
        return chosen


def check_input(shape: tuple[int, ...], dtype: str, spec: NeoNeXtSpec):
    """Raise UserError for images of a shape or type that a network does not take."""
    rank = len(shape)
    check_images(rank, shape[1] if rank > 1 else 0, shape[-1] if rank else 0, spec.in_chans)
    check_image_type(dtype)
    check_input_size(shape[2], shape[3], len(spec.dims))


def _stages(out_indices: Sequence[int] | None, stages: int, features_only: bool) -> tuple[int, ...]:
    """The stages whose outputs are asked for, counted from the first."""
    if out_indices is None:
        return tuple(range(stages))
    if not features_only:
        raise UserError("out_indices chooses stages of features_only=True: give both, or neither")
    chosen = tuple(plain(i) for i in out_indices)
    if not chosen or not all(isinstance(i, int) and -stages <= i < stages for i in chosen):
        raise UserError(f"out_indices must be numbers of stages, 0 to {stages - 1}, got {chosen}")
    return tuple(i % stages for i in chosen)
