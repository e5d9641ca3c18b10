"""The network, written once for every front end: block, group and whole network.

`layers` has the layers below. The modules `layers_tl` and `layers_keras` build models,
`layers_shapes` only computes shapes, `on_shards` computes a batch in shards, and `folded` computes
with constant weights. A layer is made with its settings and then called with its input. Volumes are
(N, D, H, W, C).

    Conv3d(filters, kernel_size, stride, name)   symmetric zero padding, no bias
    BatchNormRelu(name)                          batch norm over (N, D, H, W), then ReLU
    Dropout(rate, seed, name)                    its mask depends on (seed, name, iteration)
    PadShortcut(filters, stride, name)           average pooling by the stride, then zero channels
    Add(name)                                    the sum of a list of two tensors
    GlobalAveragePool(name)                      (N, D, H, W, C) -> (N, C)
    Dense(units, name)                           (N, C) -> (N, units), with bias
    Cast(to, name)                               change of precision; `layers_shapes` has none

Layers with weights are named as in the authors' pytorch/resnet.py.
"""

from typing import Any, TypeAlias

from wrn3d.network.spec import WideResNetSpec
from wrn3d.system.checks import check_choice

STEM_FILTERS = 16
PRECISIONS = ("float32", "bfloat16")

Tensor: TypeAlias = Any  # the tensors of the framework that `layers` belongs to


def residual_block(
    layers: Any,
    x: Tensor,
    filters: int,
    stride: int,
    spec: WideResNetSpec,
    seed: int,
    name: str,
) -> Tensor:
    """Return BN-ReLU-conv-BN-ReLU-(dropout)-conv of x plus the shortcut (paper, figure 1d).

    x is (N, D, H, W, C); the result is (N, ceil(D / stride), ..., filters).
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
        # The authors project the activated input, not x itself.
        projection = layers.Conv3d(filters, kernel_size=1, stride=stride, name=f"{name}.convdim")
        shortcut = projection(activated)
    else:
        shortcut = layers.PadShortcut(filters, stride=stride, name=f"{name}.pad")(x)
    return layers.Add(name=f"{name}.add")([y, shortcut])


def group(
    layers: Any,
    x: Tensor,
    filters: int,
    stride: int,
    spec: WideResNetSpec,
    seed: int,
    name: str,
) -> Tensor:
    """Return x after n blocks; only the first has the stride and changes the number of channels."""
    for block in range(spec.blocks_per_group):
        block_stride = stride if block == 0 else 1
        x = residual_block(layers, x, filters, block_stride, spec, seed, f"{name}.block{block}")
    return x


def wide_resnet(
    layers: Any,
    volumes: Tensor,
    spec: WideResNetSpec,
    seed: int,
    precision: str = "float32",
) -> Tensor:
    """Return the logits (N, num_classes) of volumes (N, D, H, W, C).

    `seed` is for the dropout masks; the initial weights are assigned later (`models`).
    `precision` is the precision of the convolutions and the layers between them; weights,
    batch-norm statistics and logits are always float32. Raises UsageError for an unknown precision.
    """
    check_precision(precision)
    x = volumes
    if precision != "float32":
        x = layers.Cast(precision, name="cast")(x)
    x = layers.Conv3d(STEM_FILTERS, kernel_size=3, stride=1, name="conv0")(x)
    for number, (filters, stride) in enumerate(zip(spec.group_filters, spec.strides, strict=True)):
        x = group(layers, x, filters, stride, spec, seed, f"group{number}")
    x = layers.BatchNormRelu(name="bn")(x)
    x = layers.GlobalAveragePool(name="pool")(x)
    return layers.Dense(spec.num_classes, name="fc")(x)


def check_precision(precision: str) -> None:
    """Raise UsageError unless `precision` is one of PRECISIONS."""
    check_choice("precision", precision, PRECISIONS)
