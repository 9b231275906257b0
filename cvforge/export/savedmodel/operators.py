"""What each TensorFlow Lite operator computes, written in TensorFlow's own operators; imported in the worker only.

Both know the same arithmetic in the same layout, (batch, height, width, channels), so one becomes one: weights are turned
round once, activations that TFLite keeps inside an operator follow it.
Source: tensorflow/lite/schema/schema.fbs, which defines operators and options.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf


@dataclass(frozen=True)
class Call:
    """One operator of a graph, about to be written.

    Attributes:
        options: of the operator, in the object form of the file.
        inputs: arrays where they are constant, tensors where they follow from the image, None where left out.
        shape: of the output for one image; -1 in front where the number of images is open.
        dtype: of the output.
    """

    options: Any
    inputs: tuple[Any, ...]
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    def open_batch(self) -> bool:
        """Whether the output has as many rows as there are images."""
        return self.shape[:1] == (-1,)


def _relu_n1_to_1(x: Any) -> Any:
    return tf.clip_by_value(x, -1.0, 1.0)


ACTIVATIONS: Mapping[int, Callable[[Any], Any]] = {
    0: lambda x: x,
    1: tf.nn.relu,
    2: _relu_n1_to_1,
    3: tf.nn.relu6,
}
"""By number in the format; LiteRT leaves out the others (tanh, sign) without a word."""
_PADDINGS = {0: "SAME", 1: "VALID"}


def fused_activation(options: Any) -> int:
    """Number of the activation that an operator with these options ends with."""
    return int(getattr(options, "fusedActivationFunction", 0))


def _activated(call: Call, x: Any) -> Any:
    return ACTIVATIONS[fused_activation(call.options)](x)


def _with_bias(call: Call, x: Any) -> Any:
    bias = call.inputs[2] if len(call.inputs) > 2 else None
    return _activated(call, x if bias is None else tf.nn.bias_add(x, bias))


def _convolution(call: Call) -> Any:
    options, (image, weights) = call.options, call.inputs[:2]
    kernel = np.transpose(weights, (1, 2, 3, 0))  # TFLite keeps output channels first, TensorFlow last
    groups = image.shape[-1] // kernel.shape[2]
    strides, dilations = (options.strideH, options.strideW), (options.dilationHFactor, options.dilationWFactor)
    parts = [  # TensorFlow has no convolution by groups on processors
        tf.nn.conv2d(part, filters, strides, _PADDINGS[options.padding], dilations=dilations)
        for part, filters in zip(tf.split(image, groups, axis=-1), np.split(kernel, groups, axis=-1), strict=True)
    ]
    return _with_bias(call, tf.concat(parts, axis=-1) if groups > 1 else parts[0])


def _depthwise_convolution(call: Call) -> Any:
    options, (image, weights) = call.options, call.inputs[:2]
    kernel = weights[0].reshape(*weights.shape[1:3], -1, options.depthMultiplier)
    strides, dilations = (1, options.strideH, options.strideW, 1), (options.dilationHFactor, options.dilationWFactor)
    found = tf.nn.depthwise_conv2d(image, kernel, strides, _PADDINGS[options.padding], dilations=dilations)
    return _with_bias(call, found)


def _transposed_convolution(call: Call) -> Any:
    options, (_, weights, image) = call.options, call.inputs[:3]
    kernel = np.transpose(weights, (1, 2, 0, 3))
    size = [tf.shape(image)[0], *call.shape[1:]]
    strides = (options.strideH, options.strideW)
    found = tf.nn.conv2d_transpose(image, kernel, size, strides, _PADDINGS[options.padding])
    bias = call.inputs[3] if len(call.inputs) > 3 else None
    return _activated(call, found if bias is None else tf.nn.bias_add(found, bias))


def _fully_connected(call: Call) -> Any:
    rows = tf.reshape(call.inputs[0], (-1, call.inputs[1].shape[1]))
    found = _with_bias(call, tf.matmul(rows, call.inputs[1], transpose_b=True))
    return tf.reshape(found, call.shape)


def _batch_matmul(call: Call) -> Any:
    left, right = call.inputs
    return tf.matmul(left, right, transpose_a=call.options.adjX, transpose_b=call.options.adjY)


def _pooled(pool: Callable[..., Any]) -> Callable[[Call], Any]:
    def write(call: Call) -> Any:
        options = call.options
        window, strides = (options.filterHeight, options.filterWidth), (options.strideH, options.strideW)
        return _activated(call, pool(call.inputs[0], window, strides, _PADDINGS[options.padding]))

    return write


def _reduced(reduce: Callable[..., Any]) -> Callable[[Call], Any]:
    return lambda call: reduce(call.inputs[0], call.inputs[1].ravel().tolist(), keepdims=call.options.keepDims)


def _resized(resize: Callable[..., Any]) -> Callable[[Call], Any]:
    return lambda call: resize(
        images=call.inputs[0],
        size=call.inputs[1],
        align_corners=call.options.alignCorners,
        half_pixel_centers=call.options.halfPixelCenters,
    )


def _each(function: Callable[..., Any]) -> Callable[[Call], Any]:
    """Of functions of every element, and of pairs of elements."""
    return lambda call: _activated(call, function(*call.inputs))


def _broadcast(call: Call) -> Any:
    rows = tf.shape(call.inputs[0])[0] if call.open_batch else call.shape[0]
    return tf.broadcast_to(call.inputs[0], [rows, *call.shape[1:]])


def _slice(call: Call) -> Any:
    return tf.slice(call.inputs[0], call.inputs[1].ravel(), call.shape)


def _hard_swish(x: Any) -> Any:
    return x * tf.nn.relu6(x + 3.0) * (1 / 6)


OPERATORS: Mapping[str, Callable[[Call], Any]] = {
    "CONV_2D": _convolution,
    "DEPTHWISE_CONV_2D": _depthwise_convolution,
    "TRANSPOSE_CONV": _transposed_convolution,
    "FULLY_CONNECTED": _fully_connected,
    "BATCH_MATMUL": _batch_matmul,
    "MAX_POOL_2D": _pooled(tf.nn.max_pool2d),
    "AVERAGE_POOL_2D": _pooled(tf.nn.avg_pool2d),
    "MEAN": _reduced(tf.reduce_mean),
    "SUM": _reduced(tf.reduce_sum),
    "REDUCE_MAX": _reduced(tf.reduce_max),
    "RESIZE_BILINEAR": _resized(tf.raw_ops.ResizeBilinear),
    "RESIZE_NEAREST_NEIGHBOR": _resized(tf.raw_ops.ResizeNearestNeighbor),
    "ADD": _each(tf.add),
    "SUB": _each(tf.subtract),
    "MUL": _each(tf.multiply),
    "DIV": _each(tf.divide),
    "SQUARED_DIFFERENCE": _each(tf.math.squared_difference),
    "MINIMUM": _each(tf.minimum),
    "MAXIMUM": _each(tf.maximum),
    "RELU": _each(tf.nn.relu),
    "RELU6": _each(tf.nn.relu6),
    "HARD_SWISH": _each(_hard_swish),
    "LOGISTIC": _each(tf.sigmoid),
    "TANH": _each(tf.tanh),
    "EXP": _each(tf.exp),
    "SQRT": _each(tf.sqrt),
    "RSQRT": _each(tf.math.rsqrt),
    "LEAKY_RELU": lambda call: tf.nn.leaky_relu(call.inputs[0], call.options.alpha),
    "GELU": lambda call: tf.nn.gelu(call.inputs[0], approximate=call.options.approximate),
    "SOFTMAX": lambda call: tf.nn.softmax(call.inputs[0] * call.options.beta),
    "CAST": lambda call: tf.cast(call.inputs[0], call.dtype),
    "PAD": lambda call: tf.pad(call.inputs[0], call.inputs[1]),
    "TRANSPOSE": lambda call: tf.transpose(call.inputs[0], call.inputs[1]),
    "RESHAPE": lambda call: tf.reshape(call.inputs[0], call.shape),
    "BROADCAST_TO": _broadcast,
    "CONCATENATION": lambda call: tf.concat(call.inputs, call.options.axis),
    "SLICE": _slice,
}
"""By name of the operator: takes a call and gives its output. A test holds each against LiteRT on a file that uses it."""
