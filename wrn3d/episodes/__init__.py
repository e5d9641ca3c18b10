"""Training as a Gymnasium environment: an episode is a run, an action decides an iteration.

    import gymnasium
    import wrn3d.episodes                       # registers it

    env = gymnasium.make("wrn3d/Training-v0", front_end="tensorlayer", dataset="digits",
                         depth=10, widen_factor=1, iterations=100)
    observation, info = env.reset(seed=0)
    observation, reward, terminated, truncated, info = env.step(env.action_space.sample())

Needs requirements-rl.txt; nothing else imports it.
"""
import gymnasium

ID = "wrn3d/Training-v0"

gymnasium.register(ID, entry_point="wrn3d.episodes.training:TrainingEpisode")
