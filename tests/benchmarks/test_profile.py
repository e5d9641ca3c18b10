"""The profile groups ops of TensorFlow, PyTorch and its compiler into the same kinds."""

import pytest

from benchmarks.profile import BOTH, KINDS, REST, WALL, grouped, table


@pytest.mark.parametrize(
    "kind, names",
    {
        "convolution, input gradient": ["Conv2DBackpropInput", "_MklNativeConv3DBackpropInputV2"],
        "convolution, filter gradient": ["Conv2DBackpropFilter", "Conv3DBackpropFilterV2"],
        BOTH: ["aten::convolution_backward", "aten::mkldnn_convolution_backward"],
        "convolution": [
            *("_MklNativeConv2D", "_FusedConv2D", "Conv3D", "aten::mkldnn_convolution"),
            "mkldnn::_convolution_pointwise",
        ],
        "batch norm": [
            *("FusedBatchNormV3", "_MklNativeFusedBatchNormEx", "aten::native_batch_norm"),
            "graph_0_cpp_fused__native_batch_norm_legit_functional_relu_1",
        ],
        "batch norm, gradient": [
            *("FusedBatchNormGradV3", "aten::native_batch_norm_backward"),
            "graph_0_cpp_fused_native_batch_norm_backward_threshold_backward_4",
        ],
        "ReLU": ["Relu", "_MklNativeRelu", "aten::clamp_min_"],
        "ReLU, gradient": ["ReluGrad", "aten::threshold_backward"],
        "additions": ["AddV2", "AddN", "aten::add_"],
        "update": ["ResourceApplyKerasMomentum", "AssignSubVariableOp", "aten::_foreach_add_"],
        "padding and copies": [
            *("Pad", "Slice", "Cast", "aten::copy_", "graph_0_cpp_fused_convolution_0"),
        ],
        "matrix products": ["_MklMatMul", "_MklNativeFusedMatMul", "aten::mm", "aten::addmm"],
        REST: ["SparseSoftmaxCrossEntropyWithLogits", "GatherV2"],
    }.items(),
)
def test_each_op_has_its_kind(kind, names):
    assert grouped(dict.fromkeys(names, 1.0)) == {kind: len(names)}


def test_the_table_has_a_column_for_each_contender():
    columns = {"tensorlayer": {"ReLU": 1.25, WALL: 9}, "torch-2d": {"additions": 2, WALL: 8}}
    rows = [[cell.strip() for cell in row.split("|")] for row in table(columns).splitlines()]
    assert [row[1:4] for row in rows[2:]] == [
        ["ReLU", "1.2", "0.0"],
        ["additions", "0.0", "2.0"],
        ["wall", "9.0", "8.0"],
    ]
    assert set(KINDS).isdisjoint({REST, WALL})
