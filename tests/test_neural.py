"""The neural engine: networks, the contract of objectives, the training loop."""

import subprocess
import sys
import textwrap
from itertools import chain

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from torch import nn

from sklearn_sslcluster import neural
from sklearn_sslcluster.neural.networks import Normalize, build_perceptron
from sklearn_sslcluster.neural.settings import ACTIVATIONS
from tests.neural_tools import (
    N_FEATURES,
    N_ROWS,
    Log,
    Scripted,
    assert_equal_weights,
    make_network,
    make_trainer,
    weights_of,
)


@pytest.fixture(scope="module")
def rows():
    return np.random.RandomState(0).randn(N_ROWS, N_FEATURES)


# Networks and numpy


@pytest.mark.parametrize("batch_norm", [False, True])
@pytest.mark.parametrize("dropout", [0.0, 0.3])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_numpy_computes_what_torch_does_in_evaluation_mode(rows, activation, dropout, batch_norm):
    settings = neural.NetworkSettings([7, 6], activation=activation, batch_norm=batch_norm, dropout=dropout)
    module = nn.Sequential(build_perceptron(N_FEATURES, [7, 6], 3, settings), Normalize())
    X = torch.as_tensor(rows, dtype=torch.float32)
    for _ in range(5):
        module(2 * X + 1)
    if batch_norm:
        # Scale and shift of their own, which begin as 1 and 0.
        nn.init.uniform_(module[0][2].weight)
        nn.init.uniform_(module[0][2].bias)
    module.eval()
    with torch.no_grad():
        expected = module(X).numpy()
    assert_allclose(neural.apply_layers(neural.export_layers(module), rows), expected, atol=1e-5)


def test_output_does_not_depend_on_how_rows_are_batched():
    X = np.random.RandomState(0).randn(4100, N_FEATURES)
    layers = neural.export_layers(make_network()["encoder"])
    whole = neural.apply_layers(layers, X)
    one_by_one = np.concatenate([neural.apply_layers(layers, X[i : i + 1]) for i in range(4090, 4100)])
    assert_allclose(whole[4090:], one_by_one, rtol=1e-12)
    assert neural.apply_layers(layers, X[:0]).shape == (0, 3)


def test_linear_layer_without_bias_is_exported(rows):
    module = nn.Sequential(nn.Linear(N_FEATURES, 2, bias=False), nn.Identity())
    expected = rows @ module[0].weight.detach().numpy().T
    assert_allclose(neural.apply_layers(neural.export_layers(module), rows), expected, atol=1e-6)


def test_module_that_numpy_does_not_know_is_not_exported():
    assert neural.export_layers(nn.Sequential(nn.Linear(2, 2), nn.Softplus())) is None


def test_inference_and_settings_run_where_torch_cannot_be_imported():
    program = """
        import sys
        class Missing:
            @staticmethod
            def find_spec(name, path=None, target=None):
                if name.partition(".")[0] in ("torch", "skorch"):
                    raise ModuleNotFoundError("hidden: " + name, name=name)
        sys.meta_path.insert(0, Missing)
        import numpy as np
        from sklearn_sslcluster import neural
        neural.NetworkSettings([3]).widths(10, 2), neural.OptimizerSettings().checked()
        layers = [{"kind": "linear", "weight": np.eye(2), "bias": np.ones(2)}, {"kind": "relu"}]
        print(neural.apply_layers(layers, np.array([[-3.0, 1.0]])).tolist())
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[[0.0, 2.0]]"


def test_decoder_mirrors_the_encoder():
    network = make_network(neural.NetworkSettings([9, 4]))
    shapes = [
        [(layer.in_features, layer.out_features) for layer in network[part] if isinstance(layer, nn.Linear)]
        for part in ("encoder", "decoder")
    ]
    assert shapes == [[(5, 9), (9, 4), (4, 3)], [(3, 4), (4, 9), (9, 5)]]


def test_same_seed_draws_the_same_weights_and_leaves_the_generator_alone():
    before = torch.get_rng_state()
    first, second = make_network().state_dict(), make_network().state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert torch.equal(torch.get_rng_state(), before)


class OwnEncoder(nn.Module):
    def __init__(self, n_features, n_outputs):
        super().__init__()
        self.linear = nn.Linear(n_features, n_outputs)

    def forward(self, X):
        return torch.sinh(self.linear(X))


class WrongWidth(OwnEncoder):
    def __init__(self, n_features, n_outputs):
        super().__init__(n_features, n_outputs + 1)


def test_own_module_class_is_built_with_features_and_outputs():
    assert make_network(OwnEncoder)["encoder"].linear.weight.shape == (3, N_FEATURES)


@pytest.mark.parametrize(
    ("encoder", "error", "message"),
    [
        ("mlp", ValueError, "encoder must be None, 'identity', NetworkSettings or a module class, got 'mlp'"),
        (OwnEncoder(5, 3), TypeError, "encoder must be .* a module class, got OwnEncoder"),
        (neural.NetworkSettings, TypeError, "encoder must be"),
        (WrongWidth, ValueError, r"encoder=WrongWidth maps .* to shape \(2, 4\), expected \(2, 3\)"),
    ],
)
def test_encoder_of_another_kind_is_refused(encoder, error, message):
    with pytest.raises(error, match=message):
        make_network(encoder)


# Settings


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"hidden": "wide"}, "encoder__hidden must be 'auto' or widths, got 'wide'"),
        ({"hidden": [8, 0]}, r"encoder__hidden must hold positive integers, got \[8, 0\]"),
        ({"hidden": [8.5]}, "encoder__hidden"),
        ({"hidden": 64}, "encoder__hidden must be 'auto' or a sequence of widths, got 64"),
        ({"hidden": None}, "encoder__hidden"),
        ({"activation": "swish"}, "encoder__activation must be one of relu, .*, got 'swish'"),
        ({"dropout": 1.0}, r"encoder__dropout must be in \[0, 1\), got 1.0"),
        ({"dropout": "no"}, "encoder__dropout"),
    ],
)
def test_setting_of_a_network_out_of_its_range_is_named(settings, message):
    with pytest.raises((ValueError, TypeError), match=message):
        neural.NetworkSettings(**settings).widths(100, 5)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"name": "lion"}, "optimizer__name must be 'adam', 'adamw' or 'sgd', got 'lion'"),
        ({"lr": 0}, "optimizer__lr must be a finite positive number, got 0"),
        ({"lr": float("nan")}, "optimizer__lr"),
        ({"lr": "fast"}, "optimizer__lr"),
        ({"weight_decay": -1}, "optimizer__weight_decay must be a finite non-negative number, got -1"),
        ({"momentum": -0.1}, "optimizer__momentum"),
        ({"schedule": "steps"}, "optimizer__schedule must be None or 'cosine', got 'steps'"),
        ({"max_grad_norm": 0}, "optimizer__max_grad_norm must be a positive number or None, got 0"),
        ({"max_grad_norm": "no"}, "optimizer__max_grad_norm"),
    ],
)
def test_setting_of_an_optimizer_out_of_its_range_is_named(settings, message):
    with pytest.raises(ValueError, match=message):
        neural.OptimizerSettings(**settings).checked()


def test_automatic_widths_grow_with_the_table():
    small, large = neural.NetworkSettings().widths(500, 4), neural.NetworkSettings().widths(50_000, 300)
    assert small == [64, 256, 128]
    assert all(wide > narrow for wide, narrow in zip(large, small, strict=True))


def test_settings_can_be_cloned():
    settings = clone(neural.NetworkSettings([3], dropout=0.5))
    assert (settings.hidden, settings.dropout) == ([3], 0.5)


# The contract of objectives


class NoLoss(nn.Module):
    def start(self, embedding):
        pass

    def refresh(self, embedding):
        pass


class NoModule:
    def start(self, embedding):
        pass

    def loss(self, batch, network):
        pass

    def refresh(self, embedding):
        pass


class WantsHead(neural.Reconstruction):
    requires = ("encoder", "head")


@pytest.mark.parametrize(
    ("objective", "error", "message"),
    [
        (NoLoss(), TypeError, "NoLoss is no objective: it has no method 'loss'"),
        (NoModule(), TypeError, r"NoModule is no objective: it is no torch\.nn\.Module"),
        (WantsHead(), ValueError, "WantsHead requires a 'head', which the network does not have"),
    ],
)
def test_objective_that_breaks_the_contract_is_refused_before_training(rows, objective, error, message):
    trainer = make_trainer(rows)
    with pytest.raises(error, match=message):
        trainer.train([neural.Phase("only", objective, 1)])


# The training loop


def run_scripted(objective, n_epochs, *, optimizer=None, n_rows=8, **phase):
    given = {"name": "sgd", "lr": 1.0, "momentum": 0.0, "max_grad_norm": None} | (optimizer or {})
    X = np.random.RandomState(0).randn(n_rows, 2)
    trainer = make_trainer(
        X,
        make_network(n_features=2),
        codes=np.full(n_rows, -1),
        batch_size=n_rows,
        optimizer=neural.OptimizerSettings(**given),
    )
    return trainer.train([neural.Phase("only", objective, n_epochs, refresh_every=1, **phase)])


def test_phases_run_in_order_each_from_where_the_one_before_ended(rows):
    heard = []
    first, second = Log("a", heard), Log("b", heard)
    network = make_network()
    untrained = network["encoder"](torch.as_tensor(rows, dtype=torch.float32)).detach()
    trained = make_trainer(rows, network, batch_size=N_ROWS).train(
        [neural.Phase("a", first, 2), neural.Phase("b", second, 3)]
    )
    assert heard == ["start a", *2 * ["train a"], "start b", *3 * ["train b"]]
    assert [len(trained.history[name]) for name in "ab"] == [2, 3]
    assert torch.equal(first.embedding, untrained)
    encoder = neural.apply_layers(trained.layers("encoder", "b"), rows.astype(np.float32))
    assert_allclose(encoder, second.embedding.numpy(), atol=1e-5)
    assert not np.allclose(first.embedding, second.embedding)


def test_every_epoch_sees_each_row_once_in_an_order_of_its_own(rows):
    objective = Log()
    make_trainer(rows).train([neural.Phase("only", objective, 3)])
    epochs = [list(chain(*objective.trained[i : i + 3])) for i in (0, 3, 6)]
    for epoch in epochs:
        assert sorted(epoch) == list(range(N_ROWS))
    assert epochs[0] != epochs[1] != epochs[2] != epochs[0]


def test_a_last_batch_of_one_row_joins_the_one_before(rows):
    objective = Log()
    make_trainer(rows, batch_size=47).train([neural.Phase("only", objective, 1)])
    assert [len(batch) for batch in objective.trained] == [N_ROWS]


def test_held_out_rows_are_monitored_and_never_trained_on(rows):
    objective = Log()
    trainer = make_trainer(rows, validation_share=0.25)
    trained = trainer.train([neural.Phase("only", objective, 3)])
    seen, held_out = (set(chain(*batches)) for batches in (objective.trained, objective.monitored))
    assert len(held_out) == 12
    assert seen | held_out == set(range(N_ROWS))
    assert not seen & held_out
    assert all(np.isfinite(entry["valid_loss"]) for entry in trained.history["only"])


def test_training_stops_when_the_loss_has_not_improved_for_the_epochs_of_patience():
    trained = run_scripted(Scripted(losses=[5, 3, 2, 4, 2, 3, 1]), 7, patience=3)
    assert [entry["train_loss"] for entry in trained.history["only"]] == [5, 3, 2, 4, 2, 3]


@pytest.mark.parametrize(("restore_best", "expected"), [(True, 3), (False, 5)])
def test_weights_of_the_best_epoch_are_restored_where_asked_for(restore_best, expected):
    objective = Scripted(losses=[5, 3, 2, 4, 3])
    run_scripted(objective, 5, restore_best=restore_best)
    assert objective.weight.item() == expected


def test_training_stops_when_few_labels_change():
    start = [0, 0, 0, 0, 1, 1, 1, 1]
    clusters = [start, start[1:] + start[:1], [0, 0, 0, 1, 1, 1, 1, 0], [0] * 3 + [1] * 4 + [1], start]
    trained = run_scripted(Scripted(clusters=clusters), 10, tol=0.125)
    history = trained.history["only"]
    assert [entry["changed"] for entry in history] == [0.25, 0.0]
    assert [entry["smallest_share"] for entry in history] == [0.5, 0.5]


def test_cluster_that_loses_all_rows_counts_as_collapsed():
    clusters = [[0, 0, 0, 1, 1, 1, 2, 2], [0, 0, 0, 0, 1, 1, 1, 2], [0, 0, 0, 0, 1, 1, 1, 1], [0] * 8]
    trained = run_scripted(Scripted(clusters=clusters), 10, smallest_share=0.1)
    assert trained.collapsed == {"only": True}
    assert [entry["smallest_share"] for entry in trained.history["only"]] == [0.125, 0.0]


@pytest.mark.parametrize(
    ("clusters", "collapsed"),
    [
        # A cluster of one row in sixteen is small from the start; one without rows cannot lose them.
        ([[0] * 15 + [1], [0] * 15 + [1]], False),
        ([[0] * 14 + [2] * 2, [0] * 15 + [2]], False),
        ([[0] * 14 + [2] * 2, [0] * 16], True),
        ([[0] * 8 + [1] * 8, [0] * 15 + [1]], True),
    ],
)
def test_collapse_is_measured_by_the_smallest_cluster_at_the_first_look(clusters, collapsed):
    trained = run_scripted(Scripted(clusters=clusters), 2, n_rows=16, smallest_share=0.2, tol=None)
    assert trained.collapsed == {"only": collapsed}


def test_without_a_tolerance_clusters_that_stay_do_not_end_the_phase():
    clusters = [[0, 0, 0, 0, 1, 1, 1, 1]] * 4
    trained = run_scripted(Scripted(clusters=clusters), 4, tol=None)
    assert [entry.get("changed") for entry in trained.history["only"]] == [0.0, 0.0, 0.0, None]


def test_phase_that_keeps_its_clusters_has_not_collapsed():
    trained = run_scripted(Scripted(clusters=[[0, 0, 0, 1, 1, 1, 2, 2]] * 2), 10, smallest_share=0.1)
    assert trained.collapsed == {"only": False}


def test_cosine_schedule_lowers_the_learning_rate_to_zero():
    objective = Scripted()
    run_scripted(objective, 4, optimizer={"schedule": "cosine"})
    rates = np.diff([*objective.weights, objective.weight.item()])
    assert_allclose(rates, (1 + np.cos(np.pi * np.arange(4) / 4)) / 2, rtol=1e-5)


@pytest.mark.parametrize(("max_grad_norm", "step"), [(None, 100), (0.5, 0.5)])
def test_long_gradients_are_cut(max_grad_norm, step):
    objective = Scripted(pull=100.0)
    run_scripted(objective, 1, optimizer={"max_grad_norm": max_grad_norm})
    assert objective.weight.item() == pytest.approx(step, rel=1e-4)


def test_learning_rate_of_a_phase_goes_before_that_of_the_optimizer():
    objective = Scripted()
    run_scripted(objective, 1, lr=0.25)
    assert objective.weight.item() == 0.25


@pytest.mark.parametrize(("name", "lr"), [("adam", 1e-2), ("adamw", 1e-2), ("sgd", 0.2)])
def test_every_optimizer_lowers_the_loss(rows, name, lr):
    optimizer = neural.OptimizerSettings(name, lr=lr)
    trained = make_trainer(rows, optimizer=optimizer).train([neural.Phase("only", neural.Reconstruction(), 10)])
    losses = [entry["train_loss"] for entry in trained.history["only"]]
    assert losses[-1] < 0.9 * losses[0]


@pytest.mark.parametrize(
    ("name", "plain"), [("adam", torch.optim.Adam), ("adamw", torch.optim.AdamW), ("sgd", torch.optim.SGD)]
)
def test_training_takes_the_steps_of_a_plain_loop_of_torch(rows, name, plain):
    settings = neural.OptimizerSettings(name, lr=1e-2, weight_decay=0.1, max_grad_norm=None)
    momentum = {"momentum": settings.momentum} if name == "sgd" else {}
    trained = make_trainer(rows, optimizer=settings, batch_size=N_ROWS).train(
        [neural.Phase("only", neural.Reconstruction(), 5)]
    )
    network, X = make_network(), torch.as_tensor(rows, dtype=torch.float32)
    optimizer = plain(network.parameters(), lr=1e-2, weight_decay=0.1, foreach=False, **momentum)
    for _ in range(5):
        optimizer.zero_grad()
        nn.functional.mse_loss(network["decoder"](network["encoder"](X)), X).backward()
        optimizer.step()
    expected = network.state_dict()
    for key, values in weights_of(trained).items():
        # A hundredth of one step: sums in another order, which Adam makes larger where gradients nearly vanish.
        assert_allclose(values, expected[key].numpy(), rtol=0, atol=1e-4, err_msg=key)


def test_modules_are_in_training_mode_in_steps_and_not_for_held_out_rows(rows):
    modes = []

    class Modes(neural.Reconstruction):
        def loss(self, batch, network):
            modes.append((self.training, {module.training for module in network.modules()}))
            return super().loss(batch, network)

    make_trainer(rows, validation_share=0.25).train([neural.Phase("only", Modes(), 2, refresh_every=1)])
    assert all(own == {is_training} for is_training, own in modes)
    assert [is_training for is_training, _ in modes] == 2 * [True, True, True, False]


def test_weight_decay_reaches_the_optimizer(rows):
    sizes = []
    for decay in (0.0, 10.0):
        optimizer = neural.OptimizerSettings("adamw", weight_decay=decay, lr=1e-2)
        trained = make_trainer(rows, optimizer=optimizer).train([neural.Phase("only", neural.Reconstruction(), 5)])
        sizes.append(sum(np.abs(values).sum() for values in weights_of(trained).values()))
    assert sizes[1] < 0.5 * sizes[0]


def test_loss_that_is_not_a_number_gives_an_error_that_says_what_to_try():
    objective = Scripted(losses=[1.0, float("nan"), 1.0])
    with pytest.raises(ValueError, match=r"loss of phase 'only' became nan in epoch 1; a smaller optimizer__lr\?"):
        run_scripted(objective, 3)


def test_weights_that_explode_in_the_last_step_give_the_same_hint(rows):
    optimizer = neural.OptimizerSettings("sgd", lr=1e38, max_grad_norm=None)
    trainer = make_trainer(rows, optimizer=optimizer, batch_size=N_ROWS)
    with pytest.raises(ValueError, match=r"no longer finite after epoch 1; a smaller optimizer__lr\?"):
        trainer.train([neural.Phase("only", neural.Reconstruction(), 1)])


def test_objective_and_network_without_weights_can_still_run_their_course(rows):
    network = neural.build_autoencoder("identity", N_ROWS, N_FEATURES, N_FEATURES, seed=0)
    trained = make_trainer(rows, network).train([neural.Phase("only", neural.Reconstruction(), 2)])
    assert [entry["train_loss"] for entry in trained.history["only"]] == [0, 0]


def test_callback_that_asks_to_stop_ends_the_training_with_later_phases_only_started(rows):
    heard = []
    phases = [neural.Phase(name, Log(name, heard), 3) for name in "ab"]
    trained = make_trainer(rows, on_epoch=lambda now: True, batch_size=N_ROWS).train(phases)
    assert heard == ["start a", "train a", "start b"]
    assert [len(trained.history[name]) for name in "ab"] == [1, 0]
    assert trained.layers("encoder", "b") is not None


@pytest.mark.parametrize("restore_best", [True, False])
def test_what_is_seen_after_an_epoch_is_what_a_stop_would_leave(rows, restore_best):
    objective = Scripted(losses=[5, 3, 4, 2])
    seen, n_looks = [], []

    def look(trained):
        n_looks.append(1)
        return objective.weight.item(), len(trained.history["only"]), trained.layers("encoder")

    def on_epoch(now):
        if objective.n_refreshed != 2:
            seen.append(now(look))
        return False

    optimizer = neural.OptimizerSettings("sgd", lr=1)
    trainer = make_trainer(rows, on_epoch=on_epoch, batch_size=N_ROWS, optimizer=optimizer)
    trainer.train([neural.Phase("only", objective, 4, refresh_every=1, restore_best=restore_best)])
    # Momentum is 0.9: the weight is 1, 1 + 1.9, and so on.
    weights = [1, 1 + 1.9, 1 + 1.9 + 2.71, 1 + 1.9 + 2.71 + 3.439]
    best = [0, 1, 1, 3] if restore_best else range(4)
    expected = [weights[best[epoch]] for epoch in (0, 2, 3)]
    assert_allclose([weight for weight, _, _ in seen], expected, rtol=1e-5)
    assert [n_epochs for _, n_epochs, _ in seen] == [1, 3, 4]
    assert len(n_looks) == 3
    assert_allclose(objective.weight.item(), weights[best[3]], rtol=1e-5)


class Interrupting(neural.Reconstruction):
    def loss(self, batch, network):
        raise KeyboardInterrupt


def raise_interrupt(now):
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("objective", "on_epoch"), [(Interrupting(), None), (neural.Reconstruction(), raise_interrupt)]
)
def test_keyboard_interrupt_passes_through(rows, objective, on_epoch):
    trainer = make_trainer(rows, on_epoch=on_epoch)
    with pytest.raises(KeyboardInterrupt):
        trainer.train([neural.Phase("only", objective, 2), neural.Phase("next", neural.Reconstruction(), 1)])


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


class CountThreads(neural.Reconstruction):
    def loss(self, batch, network):
        self.n_threads = torch.get_num_threads()
        return super().loss(batch, network)


@pytest.mark.usefixtures("two_threads")
def test_small_network_trains_on_one_thread_and_restores_the_number(rows):
    objective = CountThreads()
    make_trainer(rows).train([neural.Phase("only", objective, 1)])
    assert objective.n_threads == 1
    assert torch.get_num_threads() == 2
    with pytest.raises(KeyboardInterrupt):
        make_trainer(rows).train([neural.Phase("only", Interrupting(), 1)])
    assert torch.get_num_threads() == 2


@pytest.mark.usefixtures("two_threads")
def test_large_network_keeps_its_threads(rows):
    objective = CountThreads()
    network = make_network(neural.NetworkSettings([1100, 1100]))
    make_trainer(rows, network).train([neural.Phase("only", objective, 1)])
    assert objective.n_threads == 2


def test_global_generators_are_left_as_they_were(rows):
    torch_before, numpy_before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    network = make_network(neural.NetworkSettings([8], dropout=0.5))
    make_trainer(rows, network).train([neural.Phase("only", neural.Reconstruction(0.5), 2)])
    with pytest.raises(KeyboardInterrupt):
        make_trainer(rows).train([neural.Phase("only", Interrupting(), 1)])
    assert torch.equal(torch.get_rng_state(), torch_before)
    assert_array_equal(np.random.get_state()[1], numpy_before)  # noqa: NPY002


def test_same_seed_gives_the_same_weights_whatever_the_global_generator(rows):
    def train(seed):
        network = make_network(neural.NetworkSettings([8], dropout=0.5))
        return weights_of(
            make_trainer(rows, network, seed=seed).train([neural.Phase("only", neural.Reconstruction(0.5), 2)])
        )

    first = train(0)
    torch.rand(3)
    assert_equal_weights(first, train(0))
    other = train(1)
    assert any(not np.array_equal(first[name], other[name]) for name in first)
