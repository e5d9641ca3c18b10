"""The authors' network in plain NumPy, float64: forward, backward and running averages.

It follows their pytorch/resnet.py, a function over a dictionary of arrays, and shares no code and
no structure with `wrn3d`. Every operation returns its output and a function from the output's
gradient to the input's; that function also stores the gradients of the operation's parameters.
Volumes are (N, D, H, W, C).
"""

from itertools import product

import numpy as np

EPSILON, MOMENTUM = 1e-5, 0.1


class Reference:
    """One forward pass of the network, with `logits` and, in training, new running `averages`.

    `loss_and_backward` adds the `gradients`.
    """

    def __init__(self, spec, weights, volumes, training):
        self.weights = {name: array.astype(np.float64) for name, array in weights.items()}
        self.training, self.averages, self.gradients = training, {}, {}
        self._tape = []

        def run(step):
            self._tape.append(step[1])
            return step[0]

        x = run(self.conv(np.asarray(volumes, np.float64), "conv0", 1))
        for group in range(3):
            for block in range((spec.depth - 4) // 6):
                stride = spec.strides[group] if block == 0 else 1
                name = f"group{group}.block{block}"
                x = run(self.block(x, name, stride, 16 * 2**group * spec.widen_factor))
        x = run(self.batch_norm_relu(x, "bn"))
        self.logits = run(self.linear(run(self.mean_pool(x))))

    def loss_and_backward(self, labels):
        """Return the mean cross-entropy; fill `gradients`."""
        exponentials = np.exp(self.logits - self.logits.max(axis=1, keepdims=True))
        probabilities = exponentials / exponentials.sum(axis=1, keepdims=True)
        gradient = (probabilities - np.eye(probabilities.shape[1])[labels]) / len(labels)
        for backward in reversed(self._tape):
            gradient = backward(gradient)
        return -np.log(probabilities[np.arange(len(labels)), labels]).mean()

    def block(self, x, name, stride, filters):
        o1, back_o1 = self.batch_norm_relu(x, f"{name}.bn0")
        y, back_y = self.conv(o1, f"{name}.conv0", stride)
        o2, back_o2 = self.batch_norm_relu(y, f"{name}.bn1")
        z, back_z = self.conv(o2, f"{name}.conv1", 1)
        if f"{name}.convdim" in self.weights:
            shortcut, back_projection = self.conv(o1, f"{name}.convdim", stride)

            def backward(gradient):
                into_o1 = back_y(back_o2(back_z(gradient))) + back_projection(gradient)
                return back_o1(into_o1)
        else:
            shortcut, back_shortcut = self.pad(x, filters, stride)

            def backward(gradient):
                return back_o1(back_y(back_o2(back_z(gradient)))) + back_shortcut(gradient)

        return z + shortcut, backward

    def conv(self, x, name, stride):
        kernel = self.weights[name]
        size = kernel.shape[0]
        margin = size // 2
        padded = np.pad(x, [(0, 0)] + [(margin, margin)] * 3 + [(0, 0)])
        out = [(side + 2 * margin - size) // stride + 1 for side in x.shape[1:4]]

        def window(offset):
            return (
                slice(None),
                *(
                    slice(start, start + stride * (count - 1) + 1, stride)
                    for start, count in zip(offset, out, strict=True)
                ),
            )

        offsets = list(product(range(size), repeat=3))
        y = sum(padded[window(offset)] @ kernel[offset] for offset in offsets)

        def backward(gradient):
            into_padded, into_kernel = np.zeros_like(padded), np.zeros_like(kernel)
            for offset in offsets:
                into_padded[window(offset)] += gradient @ kernel[offset].T
                into_kernel[offset] = np.einsum("ndhwc,ndhwf->cf", padded[window(offset)], gradient)
            self.gradients[name] = into_kernel
            inner = [slice(margin, margin + side) for side in x.shape[1:4]]
            return into_padded[(slice(None), *inner)]

        return y, backward

    def batch_norm_relu(self, x, name):
        weight, bias, mean, var = (
            self.weights[f"{name}.{end}"]
            for end in ("weight", "bias", "running_mean", "running_var")
        )
        count = x.size // x.shape[-1]
        if self.training:
            batch_mean, batch_var = x.mean(axis=(0, 1, 2, 3)), x.var(axis=(0, 1, 2, 3))
            unbiased = batch_var * count / (count - 1)
            self.averages[f"{name}.running_mean"] = mean + MOMENTUM * (batch_mean - mean)
            self.averages[f"{name}.running_var"] = var + MOMENTUM * (unbiased - var)
            mean, var = batch_mean, batch_var
        deviation = np.sqrt(var + EPSILON)
        normal = (x - mean) / deviation
        y = normal * weight + bias

        def backward(gradient):
            gradient = gradient * (y > 0)
            into_weight = (gradient * normal).sum(axis=(0, 1, 2, 3))
            into_bias = gradient.sum(axis=(0, 1, 2, 3))
            self.gradients |= {f"{name}.weight": into_weight, f"{name}.bias": into_bias}
            into_normal = gradient - into_bias / count - normal * into_weight / count
            return weight / deviation * into_normal

        return np.maximum(y, 0), backward

    def pad(self, x, filters, stride):
        extra = filters - x.shape[-1]
        if not extra and stride == 1:
            return x, lambda gradient: gradient
        before = extra - extra // 2
        out = [-(-side // stride) for side in x.shape[1:4]]
        y = np.zeros((len(x), *out, filters))
        cells = [
            (index, (slice(None), *(slice(i * stride, (i + 1) * stride) for i in index)))
            for index in product(*map(range, out))
        ]
        for (d, h, w), cell in cells:
            y[:, d, h, w, before : before + x.shape[-1]] = x[cell].mean(axis=(1, 2, 3))

        def backward(gradient):
            into = np.zeros_like(x)
            for (d, h, w), cell in cells:
                size = np.prod(into[cell].shape[1:4])
                share = gradient[:, d, h, w, before : before + x.shape[-1]] / size
                into[cell] = share[:, None, None, None]
            return into

        return y, backward

    def mean_pool(self, x):
        count = np.prod(x.shape[1:4])
        return x.mean(axis=(1, 2, 3)), lambda gradient: np.broadcast_to(
            gradient[:, None, None, None] / count, x.shape
        )

    def linear(self, x):
        weight = self.weights["fc.weight"]

        def backward(gradient):
            self.gradients["fc.weight"], self.gradients["fc.bias"] = x.T @ gradient, gradient.sum(0)
            return gradient @ weight.T

        return x @ weight + self.weights["fc.bias"], backward
