"""Small environments of either front end."""

SCRIPTS = {"tensorlayer": "cifar_wide_resnet_tl", "keras": "cifar_wide_resnet_keras"}
SMALL = {"depth": 10, "widen_factor": 1, "batch_size": 32, "shards": 1}


def environment_class(front_end):
    return getattr(__import__(SCRIPTS[front_end]), "CNNEnv")  # noqa: B009


def small_environment(front_end, **settings):
    named = settings.keys() & {"dataset", "data"}
    data = {} if named else {"dataset": "digits", "volume_size": 16}
    return environment_class(front_end)(**SMALL | data | settings)
