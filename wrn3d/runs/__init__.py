"""A run from its first iteration to its last, and what is kept of it in its folder.

    python cifar_wide_resnet_tl.py --output runs/first

`training` steps an environment, `folder` keeps checkpoints and logs, `record`, `curves`,
`mistakes` and `events` let people see what is going on and what came of it.
"""
