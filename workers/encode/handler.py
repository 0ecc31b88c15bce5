"""Turns one original into a stored, verified stream. The original goes only after the stream was read back."""

from workers.context import Record, WorkContext
from workers.encode.resources import EncodeResources
from workers.encode.task import EncodeTask


class EncodeHandler:
    """Handles encode jobs with what the process has for them; called from many threads."""

    def __init__(self, resources: EncodeResources) -> None:
        self._resources = resources

    def __call__(self, context: WorkContext) -> Record:
        """Load the original, encode it, store the stream, read it back and rebuild its coarse picture."""
        task = EncodeTask.load(context, self._resources)
        made = task.encode(task.consult_model())
        sha256 = task.store(made.encoded)
        task.verify(made.encoded, sha256)
        # Asked now, and not while one transaction holds up the others.
        alike = task.likeness_in_words(made.perceptual_hash)
        return lambda session: task.record(session, made, sha256, alike)
