"""The network as a newcomer to Keras would write it."""

from wrn3d.network.wide_resnet import STEM_FILTERS


def stock_keras_model(spec):
    """The network of `spec` (with the projection shortcut) in stock Keras layers, compiled."""
    import keras
    from keras import layers

    def batch_norm_relu(x):
        return layers.ReLU()(layers.BatchNormalization()(x))

    def conv3d(x, filters, size, stride):
        return layers.Conv3D(filters, size, stride, padding="same", use_bias=False)(x)

    volumes = keras.Input(spec.input_shape)
    x = conv3d(volumes, STEM_FILTERS, 3, 1)
    for filters, group_stride in zip(spec.group_filters, spec.strides, strict=True):
        for block in range(spec.blocks_per_group):
            stride = group_stride if block == 0 else 1
            activated = batch_norm_relu(x)
            y = conv3d(activated, filters, 3, stride)
            y = conv3d(batch_norm_relu(y), filters, 3, 1)
            shortcut = x if y.shape == x.shape else conv3d(activated, filters, 1, stride)
            x = layers.Add()([y, shortcut])
    x = layers.GlobalAveragePooling3D()(batch_norm_relu(x))
    model = keras.Model(volumes, layers.Dense(spec.num_classes, dtype="float32")(x))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.01), loss=loss, metrics=["accuracy"])
    return model
