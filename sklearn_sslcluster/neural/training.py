"""The one training loop: phases of a private skorch net, with early stopping, best weights, checkpoints and callbacks.

All randomness of an epoch comes from a seed that belongs to its number, so that a fit that was killed and resumed takes
the same course as one that was not, and nothing but weights has to be stored.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cached_property
from math import cos, pi
from pathlib import Path
from pickle import UnpicklingError
from typing import Any
from zipfile import BadZipFile

import numpy as np
import torch
from skorch import NeuralNet
from skorch.callbacks import Callback, GradientNormClipping
from torch import nn

from .incremental import RunningState
from .objectives import Batch, check_objective
from .phases import Phase, Trained, TrainingSettings
from .processes import SharedGradients, agree, averaged, counted, from_first, is_first, n_processes, rank, share
from .samplers import batch_ends, check_sampler
from .tables import RowStream

_FORMAT = 3
# Networks with fewer weights train on one thread: more cost more than they save.
_LARGE_NETWORK = 2_000_000
_EMBEDDED_ROWS = 8192
# What torch raises for a file that it did not write, or not to the end.
_UNREADABLE = (
    UnpicklingError,
    RuntimeError,
    EOFError,
    OSError,
    LookupError,
    ValueError,
    AttributeError,
    TypeError,
    BadZipFile,
)
Now = Callable[[Callable[[Trained], Any]], Any]
_OPTIMIZERS = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW, "sgd": torch.optim.SGD}


class _PhaseOver(Exception):
    """Ends a phase from inside the loop of skorch, which takes KeyboardInterrupt for its own such signal."""


class _Batches:
    """Rows in batches; when training, those of the stream or the sampler, which belong to the number of the epoch."""

    def __init__(self, trainer: Trainer, rows: np.ndarray, phase: Phase, training: bool) -> None:
        self.trainer, self.rows, self.phase, self.training = trainer, rows, phase, training

    def __iter__(self) -> Iterator[Batch]:
        trainer, size = self.trainer, self.phase.batch_size or self.trainer.settings.batch_size
        if self.training and trainer.stream is not None:
            held_out = trainer.valid_rows if self.phase.hold_out else None
            for rows, codes in trainer.stream.batches(trainer.epoch, size, trainer.stream_seed(), held_out):
                mine, trainer.share = share(len(rows))
                given = torch.as_tensor(codes[mine], device=trainer.X.device).long()
                yield Batch(trainer.on_device(rows[mine]), None, given, counted(len(rows)))
            return
        if self.training:
            random_state = np.random.RandomState(trainer.epoch_seed())
            places = self.phase.sampler.batches(len(self.rows), size, random_state)
        else:
            places = np.split(np.arange(len(self.rows)), batch_ends(len(self.rows), size))
            # Held-out rows are seen the same way in every epoch: views that are drawn would only add noise.
            _seed_generators(trainer.settings.seed, trainer.settings.device)
        for place in places:
            mine, trainer.share = share(len(place)) if self.training else (slice(None), 1.0)
            index = torch.as_tensor(self.rows[place[mine]], device=trainer.X.device)
            yield Batch(trainer.X[index], index, trainer.codes[index], counted(len(place)))


class _Net(NeuralNet):
    """A skorch net whose criterion is an objective and whose rows are tensors on the device."""

    trainer: Trainer
    phase: Phase
    further_optimizers: list[torch.optim.Optimizer]

    def initialize_optimizer(self, *args: Any, **kwargs: Any) -> Any:
        """One optimizer for each learning rate of the phase, all of them over all weights."""
        super().initialize_optimizer(*args, **kwargs)
        self.further_optimizers = []
        for lr in _learning_rates(self.phase, self.lr)[1:]:
            parameters, settings = self.get_params_for_optimizer("optimizer", self.get_all_learnable_params())
            self.further_optimizers.append(self.optimizer(*parameters, **{**settings, "lr": lr}))
        return self

    @cached_property
    def learned(self) -> list[tuple[str, nn.Parameter]]:
        """What the optimizers of the phase change: weights of network and objective."""
        # A list: an interrupt while a generator is closed would be lost.
        return list(super().get_all_learnable_params())

    def get_all_learnable_params(self) -> Any:
        """Those of network and objective; one without entries where there are none, which optimizers refuse."""
        return iter(self.learned or [("nothing", nn.Parameter(torch.zeros(0)))])

    @property
    def optimizers(self) -> list[torch.optim.Optimizer]:
        return [self.optimizer_, *self.further_optimizers]

    def get_split_datasets(self, X: Any, y: Any = None, **fit_params: Any) -> tuple[Any, Any]:
        return self.trainer.trained_rows(self.phase), self.trainer.valid_rows if self.phase.hold_out else None

    def get_iterator(self, dataset: Any, training: bool = False) -> Any:
        return _Batches(self.trainer, dataset, self.phase, training)

    def train_step(self, batch: Batch, **fit_params: Any) -> dict[str, Any]:
        if not hasattr(self.criterion_, "steps"):
            return super().train_step(batch, **fit_params)
        self._set_training(True)
        losses = self.criterion_.steps(batch, self.module_)
        total = torch.zeros((), device=batch.rows.device)
        for optimizer in self.optimizers:
            with self.trainer.precision():
                loss = next(losses)
            if loss is None:
                continue
            optimizer.zero_grad()
            (self.trainer.share * loss).backward()
            self.notify("on_grad_computed", named_parameters=self.get_all_learnable_params(), batch=batch)
            optimizer.step()
            total += loss.detach()
        return {"loss": total, "y_pred": None}

    def train_step_single(self, batch: Batch, **fit_params: Any) -> dict[str, Any]:
        self._set_training(True)
        with self.trainer.precision():
            loss = self.criterion_.loss(batch, self.module_)
        if self.learned:
            (self.trainer.share * loss).backward()
        return {"loss": loss.detach(), "y_pred": None}

    def validation_step(self, batch: Batch, **fit_params: Any) -> dict[str, Any]:
        self._set_training(False)
        with torch.no_grad(), self.trainer.precision():
            return {"loss": self.criterion_.loss(batch, self.module_), "y_pred": None}

    def _set_training(self, training: bool = True) -> None:
        # All modules hang on these two; going through them takes as long as a step of a small network.
        if self.module_.training != training or self.criterion_.training != training:
            super()._set_training(training)

    def check_data(self, X: Any, y: Any = None) -> None:
        """Rows come from the trainer."""


class _Watch(Callback):
    """Refreshes, monitors, stores and stops."""

    def __init__(self, trainer: Trainer, phase: Phase) -> None:
        self.trainer, self.phase = trainer, phase

    def on_epoch_begin(self, net: NeuralNet, **kwargs: Any) -> None:
        self.trainer._begin_epoch(net, self.phase)

    def on_epoch_end(self, net: NeuralNet, **kwargs: Any) -> None:
        self.trainer._end_epoch(net, self.phase)


class Trainer:
    """Runs the phases.

    Parameters
    ----------
    X : ndarray of shape (n_rows, n_features)
        Standardized rows.
    codes : ndarray of shape (n_rows,)
        Codes of known classes, -1 for unlabeled rows.
    network : torch.nn.ModuleDict
        Its part "encoder" gives the embedding.
    settings : TrainingSettings
    on_epoch : callable, optional
        Called after each epoch; True stops the training, with what it has reached. Its argument tells what that would
        be: a callable that applies a function to the `Trained` that a stop would leave, while the objective holds
        what it would then hold, and returns the result.
    stream : RowStream, optional
        All rows, of a table that is not held in memory: those of training steps. `X` is a sample then, which objectives
        start from and refresh by, and whose part that is held out monitors losses.
    """

    def __init__(
        self,
        X: np.ndarray,
        codes: np.ndarray,
        network: nn.ModuleDict,
        settings: TrainingSettings,
        on_epoch: Callable[[Now], bool] | None = None,
        stream: RowStream | None = None,
    ) -> None:
        self.settings, self.on_epoch, self.stream = settings, on_epoch, stream
        self.X = self.on_device(X)
        self.codes = torch.tensor(np.asarray(codes), dtype=torch.int64, device=settings.device)
        self.network = network.to(settings.device)
        self.train_rows, self.valid_rows = self._split()
        self.history: dict[str, list[dict[str, float]]] = {}
        self.starts: dict[str, dict[str, torch.Tensor]] = {}
        self.collapsed: dict[str, bool] = {}
        self.n_phase, self.epoch, self.stopped = 0, 0, False
        self.best: dict[str, Any] = {}
        self.last_codes: torch.Tensor | None = None
        self.n_clusters = 0
        self.first_counts: torch.Tensor | None = None
        # Weight of the rows of this process in the loss of a batch.
        self.share = 1.0
        self.begin: RunningState | None = None
        self.end: RunningState | None = None

    def train(self, phases: list[Phase], begin: RunningState | None = None) -> Trained:
        """Run all phases, from a checkpoint if there is one, or the first from where an earlier training has ended."""
        stored = self._stored()
        done = stored["n_phase"] if stored else 0
        self.begin = begin
        with _local_randomness(self.settings.device), _few_threads(self.network, self.settings.device):
            for self.n_phase, phase in enumerate(phases):
                check_objective(phase.objective, self.network)
                check_sampler(phase.sampler)
                if stored and self.n_phase < done:
                    continue
                self._run(phase, stored if stored and self.n_phase == done else None)
            self.network.eval()
        if self.settings.checkpoint is not None and is_first():
            for path in (Path(self.settings.checkpoint), _partial(self.settings.checkpoint)):
                path.unlink(missing_ok=True)
        return Trained(self.network.cpu(), self.history, self.starts, self.collapsed, self.end)

    def on_device(self, rows: np.ndarray) -> torch.Tensor:
        """Rows as the network takes them."""
        return torch.as_tensor(np.ascontiguousarray(rows, dtype=np.float32), device=self.settings.device)

    def embed(self) -> torch.Tensor:
        """Embedding of all rows, without dropout."""
        self.network.eval()
        with torch.no_grad():
            return torch.cat([self.network["encoder"](rows) for rows in self.X.split(_EMBEDDED_ROWS)])

    def _finite_embedding(self, phase: Phase) -> torch.Tensor:
        embedding = self.embed()
        if not torch.isfinite(embedding).all():
            raise ValueError(
                f"The embedding in phase {phase.name!r} is no longer finite after epoch {self.epoch}; a smaller "
                "optimizer__lr?"
            )
        return embedding

    def trained_rows(self, phase: Phase) -> np.ndarray:
        """Numbers of the rows that a phase trains on."""
        return self.train_rows if phase.hold_out else np.arange(len(self.X))

    def precision(self) -> Any:
        """Half precision on a GPU that has it."""
        enabled = self.X.is_cuda and torch.cuda.is_bf16_supported()
        return torch.autocast(self.X.device.type, dtype=torch.bfloat16, enabled=enabled)

    def epoch_seed(self) -> int:
        """Seed of the randomness of this epoch."""
        return int(np.random.SeedSequence([self.settings.seed, self.n_phase, self.epoch]).generate_state(1)[0])

    def stream_seed(self) -> int:
        """Seed of the order of the rows of a stream, in all epochs of a phase."""
        return int(np.random.SeedSequence([self.settings.seed, self.n_phase]).generate_state(1)[0])

    def _split(self) -> tuple[np.ndarray, np.ndarray | None]:
        n_rows = len(self.X)
        n_valid = int(self.settings.validation_share * n_rows)
        if n_valid < 1 or n_rows - n_valid < 2:
            return np.arange(n_rows), None
        order = np.random.RandomState(self.settings.seed).permutation(n_rows)
        return np.sort(order[n_valid:]), np.sort(order[:n_valid])

    def _run(self, phase: Phase, stored: dict[str, Any] | None) -> None:
        self.epoch, self.best, self.last_codes, self.n_clusters, self.first_counts = 0, {}, None, 0, None
        if stored:
            self.history, self.starts, self.collapsed = stored["history"], stored["starts"], stored["collapsed"]
            self.network.load_state_dict(self.starts[phase.name])
        else:
            if self.begin is not None:
                self.begin.fill(self.network)
            self.history[phase.name], self.collapsed[phase.name] = [], False
            self.starts[phase.name] = _copied(self.network.state_dict())
        _seed_generators(self.epoch_seed(), self.settings.device)
        phase.objective.to(self.settings.device)
        embedding = self._finite_embedding(phase)
        phase.objective.start(embedding)
        if self.begin is not None:
            phase.objective.go_on(embedding, self.begin.of_objective(self.settings.device))
        agree(self.network)
        agree(phase.objective)
        rows = torch.as_tensor(self.trained_rows(phase), device=embedding.device)
        phase.sampler.start(self.X[rows], embedding[rows])
        net = self._net(phase)
        if stored:
            self._restore(net, phase, stored)
        elif self.begin is not None:
            self.begin.fill_optimizers(net.optimizers)
        # After a stop the phases that are left only start, so that their objectives can be asked for what they have.
        if self.epoch < phase.max_epochs and not self.stopped and not self._is_over(phase):
            with suppress(_PhaseOver):
                net.fit_loop(None, epochs=phase.max_epochs - self.epoch)
        self._restore_best(phase)
        self._finite_embedding(phase)
        if self.begin is not None:
            self.begin, self.end = None, RunningState.of(self.network, phase.objective, net.optimizers)

    def _net(self, phase: Phase) -> _Net:
        optimizer = self.settings.optimizer.checked()
        lr = _learning_rates(phase, optimizer.lr)[0]
        # Numbers of numpy, as a search may give them, would make a checkpoint that cannot be read safely.
        extra: dict[str, Any] = {"weight_decay": float(optimizer.weight_decay), "fused": True}
        if optimizer.name == "sgd":
            extra["momentum"] = float(optimizer.momentum)
        callbacks: list[Any] = [("watch", _Watch(self, phase))]
        if n_processes() > 1:
            callbacks.append(("share", SharedGradients()))
        if optimizer.max_grad_norm is not None:
            callbacks.append(("clip", GradientNormClipping(optimizer.max_grad_norm)))
        net = _Net(
            self.network,
            criterion=phase.objective,
            optimizer=_OPTIMIZERS[optimizer.name],
            lr=lr,
            train_split=None,
            callbacks=callbacks,
            callbacks__print_log=None,
            device=self.settings.device,
            verbose=0,
            **{f"optimizer__{name}": value for name, value in extra.items()},
        )
        net.trainer, net.phase = self, phase
        return net.initialize()

    def _begin_epoch(self, net: NeuralNet, phase: Phase) -> None:
        # Shares of a batch have noise of their own.
        _seed_generators(self.epoch_seed() + rank(), self.settings.device)
        optimizer = self.settings.optimizer
        if optimizer.schedule == "cosine":
            lrs = _learning_rates(phase, optimizer.lr)
            for lr, stepped in zip(lrs, net.optimizers, strict=True):
                for group in stepped.param_groups:
                    group["lr"] = lr * (1 + cos(pi * self.epoch / phase.max_epochs)) / 2
        if phase.refresh_every is None or self.epoch % phase.refresh_every:
            return
        codes = phase.objective.refresh(self._finite_embedding(phase))
        agree(phase.objective)
        if codes is None:
            return
        codes = from_first(codes)
        # Clusters without rows count: those that an earlier refresh of the phase has seen.
        counts = torch.bincount(codes, minlength=self.n_clusters)
        self.n_clusters = len(counts)
        last_codes, self.last_codes = self.last_codes, codes
        if last_codes is None or self.first_counts is None:
            self.first_counts = counts
            return
        changed = float((codes != last_codes).float().mean())
        self.history[phase.name][-1] |= {"changed": changed, "smallest_share": float(counts.min()) / len(codes)}
        # What had no rows at first cannot lose them.
        seen = torch.nonzero(self.first_counts).ravel()
        if counts[seen].min() < phase.smallest_share * self.first_counts[seen].min():
            self.collapsed[phase.name] = True
            raise _PhaseOver
        if phase.tol is not None and changed <= phase.tol:
            raise _PhaseOver

    def _end_epoch(self, net: NeuralNet, phase: Phase) -> None:
        # What follows the rows and not the gradients, as batch normalization does, has seen a share of them only.
        agree(self.network)
        agree(phase.objective)
        n_rows = sum(net.history[-1, "batches", :, "train_batch_size"])
        entry = {"epoch": float(self.epoch), "train_loss": averaged(float(net.history[-1]["train_loss"]), n_rows)}
        monitored = entry["train_loss"]
        if self.valid_rows is not None and phase.hold_out:
            monitored = entry["valid_loss"] = from_first(float(net.history[-1]["valid_loss"]))
        self.history[phase.name].append(entry)
        if not np.isfinite(monitored):
            raise ValueError(
                f"The loss of phase {phase.name!r} became {monitored} in epoch {self.epoch}; a smaller optimizer__lr?"
            )
        if not self.best or monitored < self.best["loss"]:
            self.best = {"loss": monitored, "epoch": self.epoch}
            if phase.restore_best:
                self.best["network"] = _copied(self.network.state_dict())
                self.best["objective"] = _copied(phase.objective.state_dict())
        self.epoch += 1
        self._store(net, phase)
        stop = self.on_epoch is not None and self.on_epoch(lambda look: self._as_if_over(phase, look))
        if from_first(stop):
            self.stopped = True
            raise _PhaseOver
        if self._is_over(phase):
            raise _PhaseOver

    def _as_if_over(self, phase: Phase, look: Callable[[Trained], Any]) -> Any:
        """Look at what the training would leave if it ended here; it goes on unaffected."""
        now = [_copied(module.state_dict()) for module in (self.network, phase.objective)]
        self._restore_best(phase)
        try:
            network, history = copy.deepcopy(self.network).cpu().eval(), copy.deepcopy(self.history)
            return look(Trained(network, history, self.starts, dict(self.collapsed)))
        finally:
            for module, state in zip((self.network, phase.objective), now, strict=True):
                module.load_state_dict(state)

    def _restore_best(self, phase: Phase) -> None:
        if phase.restore_best and self.best:
            self.network.load_state_dict(self.best["network"])
            phase.objective.load_state_dict(self.best["objective"])

    def _is_over(self, phase: Phase) -> bool:
        return phase.patience is not None and bool(self.best) and self.epoch - 1 - self.best["epoch"] >= phase.patience

    def _store(self, net: NeuralNet, phase: Phase) -> None:
        if self.settings.checkpoint is None or not is_first():
            return
        path, partial = Path(self.settings.checkpoint), _partial(self.settings.checkpoint)
        state = {
            "format": _FORMAT,
            "fingerprint": self.settings.fingerprint,
            "n_phase": self.n_phase,
            "epoch": self.epoch,
            "network": self.network.state_dict(),
            "objective": phase.objective.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in net.optimizers],
            "best": self.best,
            "last_codes": self.last_codes,
            "n_clusters": self.n_clusters,
            "first_counts": self.first_counts,
            "history": self.history,
            "starts": self.starts,
            "collapsed": self.collapsed,
        }
        torch.save(state, partial)
        # Whoever is killed here leaves a whole file behind.
        os.replace(partial, path)

    def _stored(self) -> dict[str, Any] | None:
        """What a checkpoint holds; that of the first process, the only one that is sure to see the file."""
        if self.settings.checkpoint is None:
            return None
        stored, refused = None, None
        if is_first():
            try:
                stored = self._read_checkpoint(Path(self.settings.checkpoint))
            except ValueError as error:
                refused = error
        stored, refused = from_first((stored, refused))
        if refused is not None:
            raise refused
        return stored

    def _read_checkpoint(self, path: Path) -> dict[str, Any] | None:
        if path.is_dir() or not path.parent.is_dir():
            raise ValueError(f"checkpoint={str(path)!r} must be a file in a folder that exists.")
        if not path.exists():
            return None
        try:
            state = torch.load(path, map_location=self.settings.device, weights_only=True)
        except _UNREADABLE as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise ValueError(f"checkpoint={str(path)!r} is no checkpoint that can be read: {reason}") from None
        if not isinstance(state, dict) or state.get("format") != _FORMAT:
            raise ValueError(f"checkpoint={str(path)!r} is no checkpoint of this package; remove it to start anew.")
        if state["fingerprint"] != self.settings.fingerprint:
            raise ValueError(
                f"checkpoint={str(path)!r} belongs to a fit with other data or parameters; remove it to start anew."
            )
        return state

    def _restore(self, net: NeuralNet, phase: Phase, stored: dict[str, Any]) -> None:
        self.network.load_state_dict(stored["network"])
        phase.objective.load_state_dict(stored["objective"])
        for optimizer, state in zip(net.optimizers, stored["optimizers"], strict=True):
            optimizer.load_state_dict(state)
        self.epoch, self.best = stored["epoch"], stored["best"]
        self.last_codes, self.n_clusters = stored["last_codes"], stored["n_clusters"]
        self.first_counts = stored["first_counts"]


def _learning_rates(phase: Phase, default: float) -> tuple[float, ...]:
    lr = default if phase.lr is None else phase.lr
    return tuple(float(rate) for rate in (lr if isinstance(lr, tuple) else (lr,)))


def _partial(checkpoint: Any) -> Path:
    """File beside a checkpoint, in which the next one is written."""
    path = Path(checkpoint)
    return path.with_name(path.name + ".part")


def _seed_generators(seed: int, device: str) -> None:
    """Seed the generator of the CPU and that of the device, and no other."""
    torch.default_generator.manual_seed(seed)
    if device.startswith("cuda"):
        with torch.cuda.device(device):
            torch.cuda.manual_seed(seed)


def _copied(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().clone() for name, tensor in state.items()}


@contextmanager
def _local_randomness(device: str) -> Iterator[None]:
    """Leave the generators of torch as they were."""
    devices = []
    if device.startswith("cuda"):
        index = torch.device(device).index
        devices = [torch.cuda.current_device() if index is None else index]
    with torch.random.fork_rng(devices=devices):
        yield


@contextmanager
def _few_threads(network: nn.Module, device: str) -> Iterator[None]:
    """One thread for small networks on the CPU."""
    before = torch.get_num_threads()
    small = sum(weights.numel() for weights in network.parameters()) < _LARGE_NETWORK
    if small and not device.startswith("cuda"):
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
