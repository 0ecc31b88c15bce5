"""Everything that can be wrong with a picture, a stream, a text or an option, as typed errors with stable codes.

No error here knows HTTP or an exit status: `api/errors.py` and `cli/errors.py` map them.
"""

from codec.usage import Usage


class CodecError(Exception):
    """Root of all codec errors. `code` is stable and part of the interface; the message says what to do."""

    code = "codec_error"


class PictureError(CodecError):
    """The input picture cannot be used."""

    code = "picture_invalid"


class PictureEmpty(PictureError):
    """The file has no bytes."""

    code = "picture_empty"


class PictureUnrecognised(PictureError):
    """The bytes are no picture format that is understood here."""

    code = "picture_unrecognised"


class PictureTruncated(PictureError):
    """The file begins like a picture but ends or breaks before all of it is there."""

    code = "picture_truncated"


class PictureUnsupported(PictureError):
    """The file is whole, but of a kind that is not known to come out right here; another format has the picture too."""

    code = "picture_unsupported"


class PictureTooLarge(PictureError):
    """The picture claims more pixels, or a longer side, than is allowed."""

    code = "picture_too_large"


class PictureTooCostly(PictureError):
    """Opening the picture took more processor time or memory than a picture of its size may."""

    code = "picture_too_costly"


class SignerUnusable(CodecError):
    """The certificate and key that reconstructions are signed with cannot be used."""

    code = "signer_unusable"


class StreamError(CodecError):
    """A `.misc` stream cannot be read."""

    code = "stream_invalid"


class StreamTruncated(StreamError):
    """The stream ends before all that it announces is there."""

    code = "stream_truncated"


class StreamCorrupt(StreamError):
    """The checksum, or what the payload decodes to, contradicts the stream."""

    code = "stream_corrupt"


class StreamUnsupported(StreamError):
    """A newer version, an unknown critical section or an unknown mode."""

    code = "stream_unsupported"


class StreamLimitExceeded(StreamError):
    """The stream claims a size beyond the limits; nothing was allocated for it."""

    code = "stream_limit_exceeded"


class NetworkMismatch(StreamError):
    """The stream needs a network that is not at hand, or another one than is loaded."""

    code = "network_mismatch"


class ReferenceMissing(CodecError):
    """An external stream names a reference picture that was not given."""

    code = "reference_missing"


class TextError(CodecError):
    """A description cannot be stored: too long, or not Unicode text."""

    code = "text_invalid"


class CaptionsError(CodecError):
    """A file of descriptions cannot be read, or has none for this picture."""

    code = "captions_invalid"


class OptionError(CodecError):
    """An option is unknown, out of its bounds, or contradicts another one."""

    code = "option_invalid"


class DecodeTooCostly(CodecError):
    """A decode would take more pixels or network evaluations than are allowed where it was ordered."""

    code = "decode_too_costly"


class BudgetUnreachable(CodecError):
    """No setting of the chosen codec fits the bits allowed."""

    code = "budget_unreachable"


class FeatureUnavailable(CodecError):
    """What was asked for needs a library, a plugin or weights that are not installed here."""

    code = "feature_unavailable"


class Cancelled(CodecError):
    """The caller asked for the work to stop, and it did at the next step."""

    code = "cancelled"


class DescriberError(CodecError):
    """The language model gave no description that can be used; the fallback that is configured takes over.

    `usage` is what answers of no use cost all the same, None where nothing was paid."""

    code = "describer_failed"
    usage: Usage | None = None


class DescriberUnavailable(DescriberError):
    """The model's server could not be reached, or failed, or was too slow, as often as the policy tries."""

    code = "describer_unavailable"


class DescriberMisconfigured(DescriberError):
    """The server refuses the key, the model or the request as such; trying again cannot help."""

    code = "describer_misconfigured"


class DescriptionRefused(DescriberError):
    """The model, or a content filter in front of it, refused to describe the picture."""

    code = "description_refused"


class DescriptionUnusable(DescriberError):
    """The answer was cut off, is not what was asked for, or says nothing."""

    code = "description_unusable"


class BudgetExhausted(DescriberError):
    """The spending cap for descriptions is reached."""

    code = "description_budget_exhausted"


class WeightsError(CodecError):
    """A network's weights cannot be used."""

    code = "weights_invalid"


class WeightsMissing(WeightsError):
    """The weights are not on this machine; the message names them, their digest and what fetches them."""

    code = "weights_missing"


class WeightsCorrupt(WeightsError):
    """The file has another digest than the manifest says, or does not hold what it should."""

    code = "weights_corrupt"


class OutOfMemory(CodecError):
    """The work does not fit in the memory that is free, not even in its smallest pieces."""

    code = "out_of_memory"
