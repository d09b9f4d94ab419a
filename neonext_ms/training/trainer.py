"""A training run from its configuration, or from a checkpoint, to its summary."""

import math
import time

import numpy as np

from neonext_ms.errors import DivergedError, Stopped, UnsavedError, UserError
from neonext_ms.evaluation.evaluate import evaluate
from neonext_ms.runtime import heartbeat
from neonext_ms.runtime.ranks import join_ranks
from neonext_ms.terminal import messages_shown
from neonext_ms.texts import to_json
from neonext_ms.training import keys
from neonext_ms.training.config import TrainConfig
from neonext_ms.training.inputs import open_sources
from neonext_ms.training.run.folder import open_folder
from neonext_ms.training.run.ledger import Interval
from neonext_ms.training.run.profile import StepProfile
from neonext_ms.training.run.progress import Progress
from neonext_ms.training.run.reporter import Reporter
from neonext_ms.training.run.saver import Saver, copy_of
from neonext_ms.training.run.signals import StopRequest
from neonext_ms.training.run.summary import read_summary, summary_of
from neonext_ms.training.run.trackers import check_installed
from neonext_ms.training.state import RunState


@messages_shown()
def train(config: TrainConfig) -> dict:
    """Train, evaluate and checkpoint as configured; rank 0 writes the run folder and reports progress.

    Progress goes to the logger "neonext_ms", or to stdout where no logging is set up.

    Returns:
        the summary, which is also written to summary.json.

    Raises:
        UserError: the configuration, the data or the machine do not allow the run.
        DivergedError: the loss is no longer a number.
        Stopped: a signal came; the run has saved a checkpoint.
        UnsavedError: the last checkpoint, or the summary, could not be written.
    """
    begin = time.perf_counter()
    stop = StopRequest(config.preempt_signal)
    check_installed(config.tracker_names)
    sources = open_sources(config)  # mistakes so far are told before MindSpore is imported
    ranks = join_ranks(config.device, config.jit_level)
    from neonext_ms.training.assemble import assemble

    job, run, checkpoint = assemble(config, sources, ranks)
    state = RunState(job.config, job.loader, begin)
    if checkpoint:
        state.read(checkpoint.manifest)
    folder = open_folder(job.config, run, checkpoint, state) if ranks.first else None
    trainer = Trainer(job, state, folder, stop)
    if config.resume:
        trainer.reporter.resumed(checkpoint and checkpoint.path)
    del checkpoint  # and its copy of the weights
    try:
        with stop:
            summary = trainer.run()
    finally:
        trainer.close()
    heartbeat.done()
    return summary


class Trainer:
    """Makes the updates, evaluations and checkpoints of a run, in an order that depends on its state alone.

    Args:
        job: the parts.
        state: where the run stands.
        folder: to write to; None on all ranks but the first.
        stop: asked between updates.
    """

    def __init__(self, job, state: RunState, folder, stop: StopRequest):
        self.job = job
        self.state = state
        self.folder = folder
        self.stop = stop
        steps_left = state.total_steps - state.step
        self.progress = Progress(steps_left, state.evaluations_left, job.global_batch)
        self.reporter = Reporter(job.config, folder, state.steps_an_epoch, self.progress)
        steps = keys.steps(job.config.profile_steps, "profile_steps")
        self.profile = StepProfile(steps, folder and folder.path / "profile", job.ranks.device)
        self.saver = Saver(job.network, job.train_step, folder, job.ranks, self.reporter)

    def run(self) -> dict:
        """From wherever the run is to its summary."""
        self.reporter.start(self.job)
        if self.state.finished:
            summary = self._summary()
            if self.job.ranks.total([summary is not None])[0]:
                return summary or summary_of(self.job, self.state, self.progress, None, 0.0)
        compile_seconds = self.job.compile()
        self.reporter.compiled(compile_seconds)
        while not self.state.finished:
            if self.state.evaluation_is_due:
                self._evaluate()
            else:
                self._train_epoch()
        failure = self.saver.finish()
        summary = summary_of(self.job, self.state, self.progress, self.folder, compile_seconds)
        if self.folder:
            try:
                self.folder.write("summary.json", to_json(summary, indent=1))
            except OSError as error:
                failure = failure or str(error)
        self.reporter.done(summary, saved=failure is None)
        if failure:
            raise self._unsaved("the run has come to its end", failure)
        return summary

    def _summary(self) -> dict | None:
        """That a start before this one has written, where this rank can read it."""
        try:
            # The folder may have been moved, or named from another place.
            return self.folder and {
                **read_summary(self.folder.path / "summary.json"),
                "run": str(self.folder.path),
            }
        except UserError:
            return None

    def close(self):
        """Wait for what is being written, and let another process have the folder."""
        self.saver.wait()
        self.profile.close()
        self.reporter.close()
        if self.folder:
            self.folder.close()

    def _train_epoch(self):
        """Updates up to the end of the epoch, from wherever the run is in it."""
        job, state = self.job, self.state
        epoch, first = divmod(state.step, state.steps_an_epoch)
        self.progress.begin()
        unreported = 0
        for batch in self.progress.waiting(job.loader.epoch(epoch, first)):
            self.profile.before(state.step + 1)
            inputs = job.inputs(batch.images, batch.targets, batch.positions, state.step)
            result = job.train_step(*inputs, state.updates.limit, self._flags())
            state.step += 1
            unreported += 1
            heartbeat.beat(state.step)
            state.updates.add(state.step, result, self.reporter)
            self.profile.after(state.step, state.updates.wait)
            i = state.step - epoch * state.steps_an_epoch
            if i % job.config.log_interval == 0 or i == state.steps_an_epoch:
                self._report(i, unreported)
                unreported = 0
            self._save_or_stop()

    def _evaluate(self):
        job, state = self.job, self.state
        with job.statistics.averaged() as own:
            job.check_ranks(state.step, f"after epoch {state.epoch}")
            self.progress.begin()
            found = {"raw": self._metrics_and_weights()}
            if job.train_step.update.ema is not None:
                with job.train_step.update.ema.in_place():
                    found["ema"] = self._metrics_and_weights()
            if None in found.values():
                self._save(own)
                self._end()
            seconds = self.progress.evaluation()
            best = state.evaluate({kind: metrics for kind, (metrics, _) in found.items()})
            self.reporter.evaluation(state.final, best is not None, seconds)
            self._save(own, found[best][1] if best else None)

    def _metrics_and_weights(self) -> tuple[dict, dict] | None:
        """Of the weights that the network has now; None if a signal asks to stop."""
        job = self.job
        metrics = evaluate(job.eval_step, job.val_loader, job.ranks, self._is_to_stop, job.card.threshold)
        if metrics is None:
            return None
        if not math.isfinite(metrics["loss"]):
            raise DivergedError(
                f"the validation loss is {metrics['loss']} after epoch {self.state.epoch}: use a lower lr or a longer "
                "warm-up"
            )
        return metrics, copy_of({p.name: p.asnumpy() for p in job.network.get_parameters()})

    def _report(self, i: int, count: int):
        """Report the updates since the last time; `count` of them were made here and now."""
        state = self.state
        begin = time.perf_counter()
        state.updates.wait()
        drain = time.perf_counter() - begin
        state.updates.read(self.reporter)
        rate, wait = self.progress.steps(count, drain)
        if state.updates.interval.updates:
            metrics = {
                **state.updates.interval.metrics(self.job.global_batch),
                "lr": self.job.rate(state.step - 1),
                "images_per_second": round(rate, 1),
                "data_wait": round(wait, 4),
            }
            self.reporter.steps(state.epoch, i, state.step, metrics)
        state.updates.interval = Interval()

    def _save_or_stop(self):
        """Between two updates: save if it is time, and stop if a signal asks for it. All ranks decide alike."""
        config = self.job.config
        # With other ranks, by what travelled with an update: to ask them would make the device wait.
        stop, save = self._flags() if self.job.ranks.world == 1 else self.state.updates.flags()
        save = save or (config.save_steps and self.state.step % config.save_steps == 0)
        if stop or (save and not self.state.evaluation_is_due):  # which saves too
            with self.job.statistics.averaged() as own:
                self._save(own)
            self.state.updates.forget_flags()
        if stop:
            self._end()

    def _flags(self) -> tuple[bool, bool]:
        """Whether this rank is to stop, and whether it is time to save."""
        minutes = self.job.config.save_minutes
        minutes_over = bool(minutes) and self.saver.seconds_since >= 60 * minutes
        return self.stop.signal is not None, self.job.ranks.first and minutes_over

    def _is_to_stop(self) -> bool:
        """Whether any rank is; the same on all."""
        return bool(self.job.ranks.total([self.stop.signal is not None])[0])

    def _save(self, own: np.ndarray, best: dict[str, np.ndarray] | None = None):
        """Save a checkpoint, while BatchNorm's statistics are the means over the ranks.

        Args:
            own: this rank's statistics.
            best: the weights of the evaluation just made, if it is the best one.
        """
        job, state = self.job, self.state
        state.updates.read(self.reporter)
        written = state.write()
        card = {**job.card.to_dict(), **written, "training": {**job.identity, **written["training"]}}
        if best is not None:
            best = best, {**job.card.to_dict(), **state.write_best()}
        self.saver.save(card, best, job.statistics.gather(own))

    def _end(self):
        """Leave a run whose last update is saved."""
        why = self.stop.signal or "a signal to another rank"
        what = f"{why} has stopped the run after update {self.state.step} of {self.state.total_steps}"
        if failure := self.saver.finish():
            raise self._unsaved(what, failure)
        raise Stopped(f"{what}, which is saved: go on with --resume {self._name}")

    def _unsaved(self, what: str, failure: str) -> UnsavedError:
        return UnsavedError(
            f"{what}, but this could not be written ({failure}): make room or mend the permissions, then --resume "
            f"{self._name} goes on from the newest checkpoint that is there"
        )

    @property
    def _name(self) -> str:
        return str(self.folder.path) if self.folder else "the run folder"
