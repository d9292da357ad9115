"""Moving a private key into place: only the one whose public half the preview showed."""

from remediator.host.commit.entries import PathEntry
from remediator.host.commit.files import FileWrite
from remediator.host.commit.openssl import key_public_sha256, require_openssl
from remediator.host.commit.outcomes import ChangedKeyError, KeyLeftError, StepError, plain_line, system_error
from remediator.host.commit.staged_pair import KEY_PATH, drop_staged_pair, staged_key


class KeySource:
    """Where a key comes from (`host`: made here; `controller`: `secret`, PEM) and the sha256 of its public half."""

    def __init__(self, source: str, public_sha256: str, secret: bytes) -> None:
        self.is_made_here = source == "host"
        self._public_sha256 = public_sha256
        self._secret = secret

    def key(self) -> bytes:
        """The key itself, as previewed. Raises ChangedKeyError where it is another, OSError or StepError for none."""
        require_openssl()
        key = staged_key() if self.is_made_here else self._secret
        if not key:
            raise StepError("the private key did not come with the request: this is a defect of remediator's own")
        found = key_public_sha256(key)
        if found != self._public_sha256:
            raise ChangedKeyError(
                "the private key is another than at the preview (sha256 of its public half: %s now, %s then); preview "
                "again" % (found, self._public_sha256)
            )
        return key


class KeyInstall(FileWrite):
    """A private key as a file, with FileWrite's promises; its staged copy goes once the transaction stands."""

    def __init__(self, entry: PathEntry, source: KeySource, key: bytes, backups: int) -> None:
        FileWrite.__init__(self, entry, key, backups)
        self._source = source

    def keep(self) -> None:
        """Drops the pair that this key was made with. Raises KeyLeftError where the pair stays."""
        if self._source.is_made_here:
            drop_pair_or_tell()


def drop_pair_or_tell() -> None:
    """Removes the pair that was staged. Raises KeyLeftError where it stays."""
    try:
        drop_staged_pair()
    except (OSError, StepError) as error:
        why = system_error(KEY_PATH, error) if isinstance(error, OSError) else plain_line(str(error))
        raise KeyLeftError("the key is in its place, but its staged copy is left too (%s): remove %s" % (why, KEY_PATH))
