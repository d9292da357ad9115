"""sha256, as the C code of Python alone: hashlib loads OpenSSL, which costs a host more than reading all its files."""

MYPY = False
if MYPY:
    from hashlib import sha256
else:
    try:
        from _sha2 import sha256
    except ImportError:
        try:
            from _sha256 import sha256
        except ImportError:
            from hashlib import sha256

__all__ = ["sha256"]
