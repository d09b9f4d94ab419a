"""The parts of a run, as its configuration describes them, made so that every mistake shows before the first step."""

import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path

import mindspore as ms
from mindspore import nn

from neonext_ms.checkpoint.card import DatasetName, Model, ModelCard, model_structure
from neonext_ms.checkpoint.store import Checkpoint
from neonext_ms.data import Preprocess, Source
from neonext_ms.data.channels import RGB
from neonext_ms.errors import UserError
from neonext_ms.evaluation.loader import eval_loader
from neonext_ms.evaluation.step import EvalStep
from neonext_ms.models import create_model
from neonext_ms.models.layers import BatchNorm, check_input_size
from neonext_ms.ops.backend import check_precision
from neonext_ms.ops.precision import using_matmul_precision
from neonext_ms.runtime.ranks import Ranks
from neonext_ms.training.apply_gradients import Clip, Update
from neonext_ms.training.config import TrainConfig
from neonext_ms.training.criterion import BinaryCrossEntropy, CrossEntropy, Distillation, class_weights
from neonext_ms.training.drop_path import drop_path_masks, drop_path_rates
from neonext_ms.training.finetune import freeze_stages, load_pretrained
from neonext_ms.training.inputs import describe_data, preprocess, train_loader
from neonext_ms.training.job import Job
from neonext_ms.training.optim.adamw import AdamW
from neonext_ms.training.optim.ema import EMA
from neonext_ms.training.optim.layer_decay import layer_lr_scales
from neonext_ms.training.optim.loss_scale import LossScale
from neonext_ms.training.optim.optimizer import Optimizer
from neonext_ms.training.optim.schedule import learning_rate
from neonext_ms.training.optim.sgd import SGD
from neonext_ms.training.run.resume import find_resume, same_run
from neonext_ms.training.step import Gradient, TrainStep
from neonext_ms.training.teacher import open_teacher

log = logging.getLogger(__name__)


def assemble(config: TrainConfig, sources: tuple[Source, Source], ranks: Ranks):
    """Put a run together.

    Args:
        config: as given.
        sources: training and validation split.
        ranks: of the job.

    Returns:
        (Job, folder of the run that goes on or None, checkpoint that it goes on from or None); see `find_resume`.

    Raises:
        UserError: the configuration, the data or the machine do not allow the run.
    """
    train_source, val_source = sources
    data = describe_data(train_source, val_source)
    run, checkpoint = find_resume(config)
    if checkpoint:
        config = same_run(config, ranks.world, checkpoint, data)
    check_device(config, ranks.device)
    check_precision(config.matmul_precision, config.backend)
    loader, transform = train_loader(config, train_source, ranks), preprocess(config, train_source)
    evaluated = (config.eval_batch_size, config.num_workers, ranks, config.max_bad_share)
    network = _network(config, train_source.class_names, ranks.world, transform.channels)
    pretrained, digest = _begin(config, network, train_source.class_names, checkpoint)
    teacher = open_teacher(Path(config.teacher), transform, train_source) if config.teacher else None
    if checkpoint and checkpoint.manifest["training"].get("teacher") != (teacher and teacher.digest):
        raise UserError(f"{checkpoint.path} is of a run with another teacher than {config.teacher}: give that one")
    criterion = _criterion(config, train_source)
    train_step, eval_step = make_steps(config, network, ranks, criterion, teacher and teacher.cell)
    job = Job(
        config=config,
        ranks=ranks,
        loader=loader,
        val_loader=eval_loader(val_source, transform, *evaluated),
        network=network,
        train_step=train_step,
        eval_step=eval_step,
        card=_card(config, transform, train_source),
        data=data,
        pretrained=pretrained,
        pretrained_digest=digest,
        teacher=teacher,
        masks=_masks(config, network.spec.depths),
        rate=_schedule(config, len(loader), ranks.world),
    )
    if checkpoint:
        job.restore(checkpoint)
    else:
        job.check_ranks(0, "at the start")
    return job, run, checkpoint


def _card(config: TrainConfig, transform: Preprocess, source: Source) -> ModelCard:
    model = Model(config.model, len(source.class_names), _overrides(config, transform.channels))
    # As it is found from any folder: evaluations and exports take their images from it.
    data_dir = config.data_dir and str(Path(config.data_dir).expanduser().resolve())
    dataset, threshold = DatasetName(config.dataset, data_dir), config.threshold if source.multi_label else None
    return ModelCard(model, transform, tuple(source.class_names), dataset, threshold=threshold)


def _criterion(config: TrainConfig, source: Source):
    weights = class_weights(source.labels, len(source.class_names)) if config.class_weights == "balanced" else None
    if config.loss == "bce":
        criterion = BinaryCrossEntropy(weights, config.threshold if source.multi_label else None)
    else:
        criterion = CrossEntropy(weights)
    if config.teacher is None:
        return criterion
    return Distillation(criterion, config.distill_alpha, config.distill_temperature, config.distill == "hard")


def _overrides(config: TrainConfig, channels: int) -> dict:
    return config.model_overrides | ({} if channels == RGB else {"in_chans": channels})


def _network(config: TrainConfig, class_names: list[str], world: int, channels: int):
    overrides = _overrides(config, channels)
    model_structure(Model(config.model, len(class_names), overrides), "", "structure: ")
    own = {"backend": config.backend, "init": config.neocell_init, **overrides}
    with using_matmul_precision(config.matmul_precision):
        network = create_model(config.model, len(class_names), seed=config.seed, **own)
    *_, (h, w) = check_input_size(config.image_size, config.image_size, len(network.spec.dims))
    values = config.batch_size * (world if config.sync_bn else 1) * h * w
    if values == 1 and config.freeze_stages < len(network.spec.dims):
        raise UserError(
            f"batch_size={config.batch_size} with images of {config.image_size} pixels leaves BatchNorm one value a "
            "channel in the last stage, which has no variance: use a batch_size of at least 2, or larger images"
        )
    return network


def _begin(config: TrainConfig, network, class_names: list[str], checkpoint: Checkpoint | None):
    """Give a network what training begins with; returns (`Job.pretrained`, `Job.pretrained_digest`)."""
    said = digest = None
    if checkpoint:
        digest = checkpoint.manifest["training"].get("pretrained")
    elif config.pretrained:
        said, digest = load_pretrained(network, Path(config.pretrained), class_names)
    freeze_stages(network, config.freeze_stages)
    return said, digest


def _masks(config: TrainConfig, depths: tuple[int, ...]):
    if not config.drop_path_rate:
        return None
    rates = drop_path_rates(config.drop_path_rate, sum(depths), sum(depths[: config.freeze_stages]))
    return partial(drop_path_masks, rates, seed=config.seed)


def _schedule(config: TrainConfig, steps_an_epoch: int, world: int) -> Callable[[int], float]:
    warmup = round(config.warmup_epochs * steps_an_epoch)
    return partial(
        learning_rate,
        total_steps=config.epochs * steps_an_epoch,
        warmup_steps=warmup,
        lr=config.peak_lr(world),
        min_lr=config.min_lr,
    )


def check_device(config: TrainConfig, device: str):
    """Refuse, before anything is built, what the device cannot do.

    Raises:
        UserError: bfloat16 or SyncBatchNorm on a CPU.
    """
    if device != "CPU":
        return
    if config.amp_level != "O0" and config.amp_dtype == "bfloat16":
        raise UserError("amp_dtype=bfloat16 needs an Ascend NPU, CPUs have no kernels for it: use float16")
    if config.sync_bn:
        raise UserError("sync_bn needs Ascend NPUs, CPUs have no kernel for it: use sync_bn=false")


def make_steps(config: TrainConfig, network, ranks: Ranks, criterion=None, teacher=None) -> tuple[TrainStep, EvalStep]:
    """The training and the evaluation step of a network whose weights are what training begins with.

    criterion, teacher: as for `Gradient`.
    """
    dtype = ms.float32 if config.amp_level == "O0" else getattr(ms, config.amp_dtype)
    for _, cell in network.cells_and_names():
        if isinstance(cell, BatchNorm):
            cell.in_float32 = config.amp_level != "O3"
    if config.sync_bn:
        _synchronise_batch_norms(network)
    if config.recompute:
        recompute_mlps(network)
    optimizer = _optimizer(config, network, ranks)
    loss_scale = None
    if dtype == ms.float16:
        window = config.loss_scale_window if config.loss_scale_type == "dynamic" else 0
        loss_scale = LossScale(config.loss_scale, window)
    ema = EMA(network, optimizer, config.ema_decay) if config.ema_decay else None
    gradient = Gradient(network, optimizer, dtype, loss_scale, criterion, teacher)
    update = Update(network, optimizer, ranks, Clip(config.clip_grad, loss_scale), ema)
    return TrainStep(gradient, update, config.micro_batches(ranks.world)), EvalStep(network, dtype)


def recompute_mlps(network):
    """Keep of each block's MLP its input alone for the backward pass.

    BatchNorm is not computed again: it would update its running statistics twice. Nor are the compiled operators of a
    block with a gate: they keep the products alone, never gelu() or what it is multiplied with.
    """
    for stage in network.stages:
        for block in stage:
            for cell in (block.mlp, block.branch, block.norm_branch):
                if cell is not None:
                    cell.recompute()


def _optimizer(config: TrainConfig, network, ranks: Ranks) -> Optimizer:
    parameters = network.trainable_params()
    grouping = {"lr_scales": layer_lr_scales(parameters, network.spec.depths, config.layer_decay)}
    if config.parallel_optimizer and ranks.world > 1:
        grouping["ranks"] = ranks
    elif config.parallel_optimizer:
        log.info("parallel_optimizer has no effect on one rank, which holds the optimizer's whole state")
    if config.optimizer == "adamw":
        return AdamW(parameters, config.weight_decay, (config.beta1, config.beta2), **grouping)
    return SGD(parameters, config.weight_decay, config.momentum, **grouping)


class SyncBatchNorm(nn.SyncBatchNorm):
    """In float32 whatever the input is, the only type that MindSpore's is sure to take."""

    def construct(self, x):
        return super().construct(x.astype(ms.float32)).astype(x.dtype)


def _synchronise_batch_norms(network):
    """Replace every BatchNorm by one whose batch statistics are those of all devices; the parameters stay."""
    names = {id(p): p.name for p in network.get_parameters()}
    for _, parent in list(network.cells_and_names()):
        for name, cell in list(parent.name_cells().items()):
            if isinstance(cell, BatchNorm):
                synchronised = SyncBatchNorm(cell.num_features, eps=cell.eps, momentum=1 - cell.momentum)
                for key in ("gamma", "beta", "moving_mean", "moving_variance"):
                    setattr(synchronised, key, getattr(cell, key))
                synchronised.use_batch_statistics = cell.use_batch_statistics
                setattr(parent, name, synchronised)
    for parameter in network.get_parameters():
        parameter.name = names[id(parameter)]  # which another Cell's attribute has changed
