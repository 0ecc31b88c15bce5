"""What is wrong with an export, with who signed it, or with the place that it is to be written to."""

from core.errors import Fault, ServiceError


class ExportInvalid(ServiceError):
    """What is to be imported is no export, is not whole, or has other bytes than its manifest says."""

    code = "export_invalid"
    fault = Fault.JOB


class ExportImpossible(ServiceError):
    """Nothing can be exported like this: nothing is selected, or something else lies at the target."""

    code = "export_impossible"
    fault = Fault.JOB


class SignatureInvalid(ServiceError):
    """The manifest is not what the key that it names has signed."""

    code = "signature_invalid"
    fault = Fault.JOB


class SignerUnknown(ServiceError):
    """Nobody has signed the export, or somebody whose key is not among the trusted ones."""

    code = "signer_unknown"
    fault = Fault.JOB


class SigningKeyUnusable(ServiceError):
    """A file of a signing key or of trusted keys cannot be read, is readable for others, or is there already."""

    code = "signing_key_unusable"
    fault = Fault.JOB
