"""The authors' network in plain NumPy, float64: forward, backward and running averages.

It follows their pytorch/resnet.py, a function over a dictionary of arrays, and shares no code and
no structure with the network that it checks. Every operation returns its output and a function from
the output's gradient to those of its arguments. Volumes are (N, D, H, W, C).
"""

from itertools import product

import numpy as np

EPSILON, MOMENTUM = 1e-5, 0.1
OVER_VOLUMES = (0, 1, 2, 3)  # all axes but the channels


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
        self.logits = run(self.linear(run(mean_pool(x))))

    def loss_and_backward(self, labels):
        """Return the mean cross-entropy; fill `gradients`."""
        loss, backward = cross_entropy(labels, self.logits)
        gradient = backward(1.0)
        for backward in reversed(self._tape):
            gradient = backward(gradient)
        return loss

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
            shortcut, back_shortcut = pad_shortcut(x, filters, stride)

            def backward(gradient):
                return back_o1(back_y(back_o2(back_z(gradient)))) + back_shortcut(gradient)

        return z + shortcut, backward

    def conv(self, x, name, stride):
        return self._kept(convolution(x, self.weights[name], stride), [name])

    def batch_norm_relu(self, x, name):
        weight, bias, *averages = (
            self.weights[f"{name}.{end}"]
            for end in ("weight", "bias", "running_mean", "running_var")
        )
        normal, back_normal, mean, var = batch_norm(
            x, weight, bias, *averages, training=self.training
        )
        if self.training:
            self.averages |= {f"{name}.running_mean": mean, f"{name}.running_var": var}
        y, back_y = relu(normal)
        step = y, lambda gradient: back_normal(back_y(gradient))
        return self._kept(step, [f"{name}.weight", f"{name}.bias"])

    def linear(self, x):
        names = ["fc.weight", "fc.bias"]
        return self._kept(dense(x, *(self.weights[name] for name in names)), names)

    def _kept(self, step, names):
        """Return the step with a function that keeps the gradients of the named parameters."""
        y, gradients = step

        def backward(gradient):
            into_x, *others = gradients(gradient)
            self.gradients |= dict(zip(names, others, strict=True))
            return into_x

        return y, backward


def convolution(x, kernel, stride):
    """Return y and a function from y's gradient to those of x and the kernel (k, k, k, C, F)."""
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
            into_kernel[offset] = np.tensordot(padded[window(offset)], gradient, [OVER_VOLUMES] * 2)
        inner = [slice(margin, margin + side) for side in x.shape[1:4]]
        return into_padded[(slice(None), *inner)], into_kernel

    return y, backward


def batch_norm(x, weight, bias, mean, var, *, training):
    """Return (y, a function to the gradients of x, weight and bias, running mean and variance)."""
    count = x.size // x.shape[-1]
    new_mean, new_var = mean, var
    if training:
        batch_mean = x.mean(OVER_VOLUMES)
        difference = x - batch_mean
        batch_var = (difference * difference).mean(OVER_VOLUMES)
        unbiased = batch_var * count / (count - 1)
        new_mean = mean + MOMENTUM * (batch_mean - mean)
        new_var = var + MOMENTUM * (unbiased - var)
        mean, var = batch_mean, batch_var
    deviation = np.sqrt(var + EPSILON)
    normal = (x - mean) / deviation

    def backward(gradient):
        into_weight = (gradient * normal).sum(OVER_VOLUMES)
        into_bias = gradient.sum(OVER_VOLUMES)
        into_normal = gradient
        if training:
            into_normal = gradient - into_bias / count - normal * into_weight / count
        return weight / deviation * into_normal, into_weight, into_bias

    return normal * weight + bias, backward, new_mean, new_var


def relu(x):
    """Return the positive part of x, and a function to x's gradient."""
    y = np.maximum(x, 0)
    return y, lambda gradient: gradient * (y > 0)


def pad_shortcut(x, filters, stride):
    """Return the means over cells between zero channels, and a function to x's gradient."""
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


def mean_pool(x):
    """Return the means over (D, H, W), and a function to x's gradient."""
    count = np.prod(x.shape[1:4])
    return x.mean(axis=(1, 2, 3)), lambda gradient: np.broadcast_to(
        gradient[:, None, None, None] / count, x.shape
    )


def dense(x, weight, bias):
    """Return x @ weight + bias, and a function to the gradients of the three."""
    return x @ weight + bias, lambda gradient: (
        gradient @ weight.T,
        x.T @ gradient,
        gradient.sum(0),
    )


def cross_entropy(labels, logits, smoothing=0.0, weights=1.0):
    """Return the mean of the samples' cross-entropies times `weights`, a number or (N,).

    Label smoothing spreads the share `smoothing` of each label over all classes. Also return a
    function to the logits' gradient.
    """
    count, classes = logits.shape
    targets = (1 - smoothing) * np.eye(classes)[labels] + smoothing / classes
    weights = np.broadcast_to(weights, count)[:, None] / count
    shifted = logits - logits.max(axis=1, keepdims=True)
    exponentials = np.exp(shifted)
    sums = exponentials.sum(axis=1, keepdims=True)
    losses = targets * (np.log(sums) - shifted) * weights
    return losses.sum(), lambda gradient: (exponentials / sums - targets) * weights * gradient
