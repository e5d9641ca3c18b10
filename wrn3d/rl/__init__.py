"""Training as a Gymnasium environment: an episode is a run, a step one iteration.

    import gymnasium
    import wrn3d                                # registers the environment

    env = gymnasium.make("wrn3d/Training-v0", front_end="tensorlayer", dataset="digits",
                         depth=10, widen_factor=1, iterations=100)
    observation, info = env.reset(seed=0)
    observation, reward, terminated, truncated, info = env.step(env.action_space.sample())

Needs Gymnasium: `pip install "wrn3d[rl]"`. Nothing else in the package imports this folder.
"""

try:
    import gymnasium  # noqa: F401
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        'wrn3d.rl needs Gymnasium, which is not installed: pip install "wrn3d[rl]"', name=error.name
    ) from error
