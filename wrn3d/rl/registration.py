"""Register the environment with Gymnasium; `import wrn3d` imports this module after Gymnasium."""

import gymnasium

ID = "wrn3d/Training-v0"

gymnasium.register(ID, entry_point="wrn3d.rl.environment:TrainingEpisode")
