"""What an audit of the dependencies comes to."""

from deploy.dependencies import audit_sentence

_SOUND = {"name": "numpy", "version": "1.26.4", "vulns": []}
_WEAK = {"name": "pillow", "version": "9.0", "vulns": [{"id": "CVE-2023-50447"}]}
_UNKNOWN = {"name": "redis", "skip_reason": "not found"}


def test_known_weakness_is_named_and_bad() -> None:
    sentence, is_bad = audit_sentence({"dependencies": [_SOUND, _WEAK, _UNKNOWN]})
    assert is_bad and "pillow 9.0: CVE-2023-50447" in sentence


def test_audit_that_could_ask_nobody_says_so_and_is_no_failure() -> None:
    for document in (None, {"dependencies": [_UNKNOWN, _UNKNOWN]}):
        sentence, is_bad = audit_sentence(document)
        assert sentence.startswith("Weaknesses were not looked for") and not is_bad


def test_packages_that_could_not_be_looked_up_are_counted() -> None:
    assert audit_sentence({"dependencies": [_SOUND, _UNKNOWN]}) == (
        "1 packages have no known weakness. 1 could not be looked up.",
        False,
    )
