"""Call the package's entries in forks of this process, and print {entry and way: outcome}.

    python -m tests.system.forked_calls PARENT CHECKPOINT

PARENT says what this process has done before it forks. An outcome is "worked", the message of a
UsageError, or "hangs".
"""

import json
import multiprocessing
import os
import sys
from multiprocessing.connection import wait

import numpy as np

DEADLINE = 60  # seconds
SMALL = {"dataset": "digits", "volume_size": 8, "batch_size": 8, "depth": 10, "widen_factor": 1}
VOLUMES = np.zeros((2, 1, 8, 8, 3), np.float32)
FRONT_ENDS = {"tensorlayer": "cifar_wide_resnet_tl", "keras": "cifar_wide_resnet_keras"}


def environment(front_end):
    return __import__(FRONT_ENDS[front_end]).CNNEnv(**SMALL)


def model(front_end):
    import wrn3d

    spec = wrn3d.WideResNetSpec(10, 1, input_shape=VOLUMES.shape[1:])
    return getattr(wrn3d, f"{front_end}_model")(spec)


def classifier(checkpoint):
    from wrn3d.predict import Classifier

    return Classifier(checkpoint)


def new(checkpoint):
    """Return the entries that need nothing from before the fork."""
    calls = {f"{name}_model": lambda name=name: model(name) for name in FRONT_ENDS}
    calls |= {f"CNNEnv {name}": lambda name=name: environment(name).step() for name in FRONT_ENDS}
    return calls | {"Classifier": lambda: classifier(checkpoint)(VOLUMES.astype(np.uint8))}


def existing(checkpoint):
    """Return the entries of what was made, and used once, before the fork."""
    calls = {}
    for front_end in FRONT_ENDS:
        env = environment(front_end)
        env.step()
        start, path = env.snapshot(), f"{checkpoint}.{front_end}"
        env.save(path)
        calls |= {
            f"{front_end} {name}": call
            for name, call in {
                "step": env.step,
                "step(update=False)": lambda env=env: env.step(update=False),
                "evaluate": env.evaluate,
                "predict_split": env.predict_split,
                "predict": lambda env=env: env.predict(VOLUMES),
                "gradients": env.gradients,
                "norms": env.norms,
                "snapshot": env.snapshot,
                "restore": lambda env=env, start=start: env.restore(start),
                "reset": env.reset,
                "load": lambda env=env, path=path: env.load(path),
                "save": lambda env=env, path=path: env.save(path),
                "get_weights": env.get_weights,
                "set_weights": lambda env=env, start=start: env.set_weights(start.weights),
                "keras_model": lambda env=env: env.keras_model,
            }.items()
        }
    tensorlayer, keras = model("tensorlayer"), model("keras")
    labels = np.zeros(len(VOLUMES), np.int64)
    keras.compile("sgd", "sparse_categorical_crossentropy")
    keras.fit(VOLUMES, labels, verbose=0)
    keras.evaluate(VOLUMES, labels, verbose=0)
    keras.predict(VOLUMES, verbose=0)
    classify = classifier(checkpoint)
    classify(VOLUMES.astype(np.uint8))
    return calls | {
        "tensorlayer model": lambda: tensorlayer(VOLUMES, is_train=False),
        "keras model": lambda: keras(VOLUMES),
        "keras fit": lambda: keras.fit(VOLUMES, labels, verbose=0),
        "keras evaluate": lambda: keras.evaluate(VOLUMES, labels, verbose=0),
        "keras predict": lambda: keras.predict(VOLUMES, verbose=0),
        "keras train_on_batch": lambda: keras.train_on_batch(VOLUMES, labels),
        "keras test_on_batch": lambda: keras.test_on_batch(VOLUMES, labels),
        "keras predict_on_batch": lambda: keras.predict_on_batch(VOLUMES),
        "keras export": lambda: keras.export(f"{checkpoint}.served", verbose=False),
        "existing Classifier": lambda: classify(VOLUMES.astype(np.uint8)),
    }


def prepare(parent, checkpoint):
    """Do what the parent is to have done, and return the entries {name: call}."""
    import tensorflow as tf

    if parent == "eager":
        tf.function(tf.nn.relu)(tf.ones(3))
    if parent == "session":
        import wrn3d.system.tensorflow_setup  # noqa: F401  (as any use of the package)

        with tf.Graph().as_default(), tf.compat.v1.Session() as session:
            session.run(tf.ones(3) + 1)
    made = existing(checkpoint) if parent == "environment" else {}
    return made | new(checkpoint)


def report(call, connection):
    try:
        call()
        outcome = "worked"
    except ValueError as error:
        outcome = str(error)
    connection.send(outcome)
    connection.close()


def fork(call, connection):
    if not (pid := os.fork()):
        report(call, connection)
        os._exit(0)
    return pid


def fork_by_multiprocessing(call, connection):
    process = multiprocessing.get_context("fork").Process(target=report, args=(call, connection))
    process.start()
    return process.pid


def fork_twice(call, connection):
    if not (pid := os.fork()):
        os.setpgid(0, 0)
        os.waitpid(fork(call, connection), 0)
        os._exit(0)
    return pid


WAYS = {"os.fork": fork, "multiprocessing": fork_by_multiprocessing, "grandchild": fork_twice}


def outcome(way, call):
    """Return what a call in a fork of this process reports, or "hangs"."""
    here, there = multiprocessing.Pipe(duplex=False)
    pid = WAYS[way](call, there)
    there.close()
    if wait([here], DEADLINE):
        result = here.recv()
        os.waitpid(pid, 0)
        return result
    os.kill(pid, 9)
    return "hangs"


if __name__ == "__main__":
    entries = prepare(*sys.argv[1:])
    outcomes = {
        f"{name} in {way}": outcome(way, call) for name, call in entries.items() for way in WAYS
    }
    print(json.dumps(outcomes))
