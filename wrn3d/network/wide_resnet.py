"""The network, once: wide residual blocks in three groups, over any front end's layers.

`layers` is a module that offers Conv3d, BatchNormRelu, Dropout, PadShortcut, Add,
GlobalAveragePool and Dense, and Cast where the precision is not float32: `layers_keras` and
`layers_tl` build models of them, `parameters` only follows the shapes.
"""

from wrn3d.system.checks import check_choice

STEM_FILTERS = 16
PRECISIONS = ("float32", "bfloat16")


def wide_residual_block(layers, x, filters, stride, spec, seed, name):
    """BN-ReLU-conv-BN-ReLU-(dropout)-conv, added to the shortcut (paper, figure 1d).

    x is (N, D, H, W, C); returns (N, ceil(D / stride), ..., filters). The weights are named as
    in the authors' pytorch/resnet.py.
    """
    activated = layers.BatchNormRelu(name=f"{name}.bn0")(x)
    y = layers.Conv3d(filters, kernel_size=3, stride=stride, name=f"{name}.conv0")(activated)
    y = layers.BatchNormRelu(name=f"{name}.bn1")(y)
    if spec.dropout:
        y = layers.Dropout(spec.dropout, seed=seed, name=f"{name}.dropout")(y)
    y = layers.Conv3d(filters, kernel_size=3, stride=1, name=f"{name}.conv1")(y)

    if stride == 1 and x.shape[-1] == filters:
        shortcut = x
    elif spec.shortcut == "projection":
        # The authors project the activated input, not the raw one.
        projection = layers.Conv3d(filters, kernel_size=1, stride=stride, name=f"{name}.convdim")
        shortcut = projection(activated)
    else:
        shortcut = layers.PadShortcut(filters, stride=stride, name=f"{name}.pad")(x)
    return layers.Add(name=f"{name}.add")([y, shortcut])


def check_precision(precision):
    """Raise UsageError unless it is one of PRECISIONS."""
    check_choice("precision", precision, PRECISIONS)


def wide_resnet(layers, volumes, spec, seed, precision="float32"):
    """The whole network of `spec`: volumes (N, D, H, W, C) -> logits (N, num_classes).

    `seed` feeds the dropout masks only; initial weights are assigned afterwards. `precision` is
    that of the convolutions and of what lies between them; weights, batch norm's statistics and
    logits are float32 in either. Raises UsageError for one that is not in PRECISIONS.
    """
    check_precision(precision)
    x = volumes
    if precision != "float32":
        x = layers.Cast(precision, name="cast")(x)
    x = layers.Conv3d(STEM_FILTERS, kernel_size=3, stride=1, name="conv0")(x)
    for group, (filters, stride) in enumerate(zip(spec.group_filters, spec.strides, strict=True)):
        for block in range(spec.blocks_per_group):
            x = wide_residual_block(
                layers,
                x,
                filters,
                stride if block == 0 else 1,
                spec,
                seed,
                f"group{group}.block{block}",
            )
    x = layers.BatchNormRelu(name="bn")(x)
    x = layers.GlobalAveragePool(name="pool")(x)
    return layers.Dense(spec.num_classes, name="fc")(x)
