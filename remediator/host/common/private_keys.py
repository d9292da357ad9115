"""What tells a private key in PEM, and one that no daemon can read because it is encrypted."""

from remediator.host.common.patterns import pattern

KEY_HEAD = pattern(rb"-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY-----")


def is_private_key(content: "bytes") -> "bool":
    """Whether a private key in PEM stands in it, encrypted or not."""
    return KEY_HEAD.search(content) is not None


def is_encrypted_key(content: "bytes") -> "bool":
    """Whether its first private key is encrypted: by its kind (PKCS #8) or by a header (RFC 1421)."""
    head = KEY_HEAD.search(content)
    return head is not None and b"ENCRYPTED" in content[head.start() :].split(b"-----END")[0]
