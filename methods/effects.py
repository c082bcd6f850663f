"""What methods do to the stored tensors, and which of it cannot come after which."""

from __future__ import annotations

import enum


class Effect(enum.IntEnum):
    """What a method does to the stored tensors. Methods of a chain come in rising order of effect."""

    MAKES_NETWORK = -1  # another network in place of the one that came in: a student, an ensemble
    REMOVES_CHANNELS = 0  # the same layers with fewer channels
    REPLACES_LAYERS = 1  # writes new stored tensors: the coefficients of a spectral layer
    ZEROS_WEIGHTS = 2  # holds some entries of stored tensors at zero
    LOWERS_PRECISION = 3  # maps stored tensors to few bits
    WRITES_FILE = 4  # changes nothing but how the file is written


_DROPPED = "it would start from another network and drop what had been done"
WHY_NOT_AFTER = {
    **{(effect, Effect.MAKES_NETWORK): _DROPPED for effect in Effect},
    (Effect.REPLACES_LAYERS, Effect.REMOVES_CHANNELS): "it would cut channels of layers that have been replaced",
    (Effect.ZEROS_WEIGHTS, Effect.REMOVES_CHANNELS): "it would cut channels of tensors whose entries were set to zero",
    (Effect.LOWERS_PRECISION, Effect.REMOVES_CHANNELS): "it would cut channels of tensors that were quantised",
    (Effect.ZEROS_WEIGHTS, Effect.REPLACES_LAYERS): "it would replace the tensors whose entries were set to zero",
    (Effect.LOWERS_PRECISION, Effect.REPLACES_LAYERS): "it would replace the tensors that were quantised",
    (Effect.LOWERS_PRECISION, Effect.ZEROS_WEIGHTS): "what it stores was fitted to the weights before pruning",
    (Effect.LOWERS_PRECISION, Effect.LOWERS_PRECISION): "its precision has been lowered already",
    (Effect.REPLACES_LAYERS, Effect.REPLACES_LAYERS): "its layers have been replaced already",
    **{(Effect.WRITES_FILE, effect): "how the file is written is said last" for effect in Effect},
}
