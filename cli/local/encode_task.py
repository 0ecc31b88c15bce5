"""One picture of `misc encode`: what is asked of it, the file it becomes, and whether an earlier run made that."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cli.local.declared import declared_of
from cli.local.file_plan import Pair, died_result, error_result, is_newer
from cli.local.kept_metadata import file_date, metadata_document, metadata_path
from cli.local.source_records import SourceRecord, SourceRecords, SourceState
from cli.local.streams import read_input, write_output
from cli.local.verified_encode import encode_and_verify

if TYPE_CHECKING:
    from cli.local.describe_remote import Outcome
    from codec.bitstream import Stream
    from codec.captions import Captions
    from codec.encode.coarse.external import Reference
    from codec.encode.pipeline import Encoded
    from codec.errors import CaptionsError
    from codec.options import EncodeOptions

RESULT_KEYS = ("bytes", "bpp", "bits", "seconds", "describer")
"""What a result has beside its names and its error; without values where the picture failed."""


@dataclass(frozen=True)
class EncodeTask:
    """One picture, with all that its encode takes; goes to another process as it is."""

    pair: Pair
    options: "EncodeOptions"
    captions: "Captions | None"
    """Those of this picture alone."""
    fault: "CaptionsError | None"
    reference: "Reference | None"
    reference_suffix: str
    may_skip: bool
    keeps_metadata: bool = False
    records: SourceRecords | None = None
    """Of the folder of outputs."""
    former: SourceRecord | None = None
    """Of which file the output that may be there was made."""
    outcome: "Outcome | None" = None

    @property
    def needs_model(self) -> bool:
        """True when the description has to come from a language model."""
        from codec.encode.dependencies import needs_model

        return needs_model(self.options, has_captions=self.captions is not None)


def encode_one(task: EncodeTask) -> dict[str, Any]:
    """Encode one picture and write its file; an error becomes part of the result."""
    try:
        if task.fault is not None:
            raise task.fault
        has_all = not task.keeps_metadata or metadata_path(task.pair.target).is_file()
        if task.may_skip and has_all and (done := done_before(task)) is not None:
            return done
        return _encode_one(task)
    except Exception as error:  # noqa: BLE001 - one bad picture must not stop the rest; the result carries the error
        return error_result(task.pair, RESULT_KEYS, error)


def _encode_one(task: EncodeTask) -> dict[str, Any]:
    from cli.local.paths import weights_store
    from codec.encode.dependencies import EncodeDependencies, resolve
    from codec.encode.pipeline import encode as encode_picture
    from codec.picture.open import read_picture

    outcome, pair = task.outcome, task.pair
    if isinstance(outcome, Exception):
        raise outcome
    state = SourceState.of(pair.source) if task.records is not None else None
    opened = read_picture(read_input(pair.source))

    def _encode(options: "EncodeOptions") -> "Encoded":
        return encode_picture(
            opened.picture,
            options,
            source_name=pair.source.name,
            captions=task.captions,
            reference=task.reference,
            dependencies=resolve(
                EncodeDependencies(), options, weights_store(), has_captions=task.captions is not None
            ),
            outcome=outcome,
            picture_notes=opened.notes,
        )

    encoded, quality = encode_and_verify(opened.picture, task.options, _encode)
    if encoded.reference is not None:
        write_output(reference_path(pair.target, task.reference_suffix), encoded.reference)
    write_output(pair.target, encoded.data)
    if task.keeps_metadata:
        write_output(metadata_path(pair.target), _metadata(pair.source))
    if task.records is not None and state is not None:
        task.records.add(pair.target, SourceRecord(state, has_stand_in(task, encoded.describer)))
    result = _result(pair, encoded.data, encoded.stream, encoded.bits)
    result |= {"seconds": encoded.seconds, "describer": encoded.describer, "notes": list(encoded.notes)}
    result["usage"] = None if encoded.usage is None else asdict(encoded.usage)
    result["quality"] = quality
    return result


def has_stand_in(task: EncodeTask, describer: str | None) -> bool:
    """True when a language model was asked for, and something else described the picture in its place."""
    from codec.options import Describer

    return task.needs_model and describer not in (None, Describer.OPENAI)


def died(task: EncodeTask) -> dict[str, Any]:
    """The result of a picture whose process was killed from outside."""
    return died_result(task.pair, RESULT_KEYS)


def _metadata(source: Path) -> bytes:
    from codec.picture.capture import capture_of

    return metadata_document(source.name, file_date(source), asdict(capture_of(source)))


def reference_path(target: Path, suffix: str) -> Path:
    """Where the picture beside an external stream lies: NAME.ref.EXT beside NAME.misc."""
    return target.with_name(f"{target.stem}.ref{suffix or '.picture'}")


def _result(pair: Pair, data: bytes, stream: "Stream", bits: Any) -> dict[str, Any]:
    return {
        "input": str(pair.source),
        "output": str(pair.target),
        "bytes": len(data),
        "bpp": 8 * len(data) / (stream.width * stream.height),
        **declared_of(stream, bits),
        "bits": {part: getattr(bits, part) for part in ("container", "text", "maps", "coarse")},
        "seconds": None,
        "describer": None,
        "notes": [],
        "quality": None,
        "skipped": False,
        "error": None,
    }


def done_before(task: EncodeTask) -> dict[str, Any] | None:
    """The result of an earlier run, if its file was made of this very picture, is whole, and as far as it tells as
    asked. Of what picture an earlier version made it, only the dates tell."""
    from cli.local.paths import weights_store
    from cli.local.up_to_date import is_up_to_date
    from codec.bitstream import unpack
    from codec.errors import StreamError

    if task.former is not None and task.former.is_stand_in and task.needs_model:
        return None  # the model that was away then may be there now
    try:
        is_same = (
            is_newer(task.pair.target, task.pair.source)
            if task.former is None
            else task.former.state.is_still(task.pair.source)
        )
    except OSError:
        return None
    if not is_same:
        return None
    try:
        data = task.pair.target.read_bytes()
        unpacked = unpack(data)
    except (OSError, StreamError):
        return None
    if not is_up_to_date(unpacked, task.options, task.captions, task.pair.source.name, weights_store()):
        return None
    return _result(task.pair, data, unpacked.stream, unpacked.bits) | {"skipped": True}
