"""The digest of a snapshot's entries: equal content, equal digest, updated in microseconds.

Entry hash = SHA-256(line). Each entry belongs to one of 256 buckets, by the first byte of
SHA-256(kind NUL key). A bucket's hash is the SHA-256 over its entry hashes, sorted; an empty
bucket's is 32 zero bytes. The digest is the SHA-256 over the 256 bucket hashes, in hexadecimal.

So one changed entry costs one bucket and one outer hash, whatever the number of entries, and the
order in which entries came does not matter. The format is fixed: `docs/wire-format.md`.
"""

from hashlib import sha256

__all__ = ["SnapshotDigest"]

_EMPTY = bytes(32)
_NONE: set[bytes] = set()  # of every bucket that nothing was put into; never changed
_MOST_RECENT = 512  # changes kept beside the table that copies share, before there is a new one

_Found = tuple[int, bytes]  # of an entry: its bucket, and its hash


class SnapshotDigest:
    """A mutable set of entries that knows its digest. Not safe for use from several threads."""

    __slots__ = ("_buckets", "_dirty", "_hashes", "_own", "_recent", "_table")

    def __init__(self) -> None:
        self._table: dict[tuple[str, str], _Found] = {}  # copies have the same: never changed
        self._recent: dict[tuple[str, str], _Found | None] = {}  # put since, or removed
        self._buckets: list[set[bytes]] = [_NONE] * 256
        self._hashes: list[bytes] = [_EMPTY] * 256
        self._dirty: set[int] = set()
        self._own: set[int] = set()  # buckets that nobody else has: to be changed in place

    def copy(self) -> "SnapshotDigest":
        """Return an equal set that changes apart from this one; its cost is that of what changed.

        Now and then it takes as long as copying a table of all entries.
        """
        if len(self._recent) > _MOST_RECENT:
            merged = {**self._table, **self._recent}
            self._table = {name: found for name, found in merged.items() if found is not None}
            self._recent = {}
        other = SnapshotDigest()
        other._table = self._table
        other._recent = self._recent.copy()
        other._buckets = self._buckets.copy()
        other._hashes = self._hashes.copy()
        other._dirty = self._dirty.copy()
        self._own = set()
        return other

    def put(self, kind: str, key: str, line: bytes) -> None:
        """Add an entry, or replace the one of that kind and key."""
        self.remove(kind, key)
        # surrogatepass: a key is only hashed here; that it is valid text is validated elsewhere
        name = kind.encode() + b"\0" + key.encode("utf-8", "surrogatepass")
        bucket = sha256(name).digest()[0]
        entry_hash = sha256(line).digest()
        self._recent[kind, key] = (bucket, entry_hash)
        self._bucket(bucket).add(entry_hash)

    def remove(self, kind: str, key: str) -> None:
        """Remove an entry; absent ones are no error."""
        name = (kind, key)
        found = self._recent[name] if name in self._recent else self._table.get(name)
        if found is not None:
            self._recent[name] = None
            # Lines hold their kind and key, so no two entries share a hash.
            self._bucket(found[0]).discard(found[1])

    def _bucket(self, bucket: int) -> set[bytes]:
        """Return a bucket to change."""
        self._dirty.add(bucket)
        if bucket not in self._own:
            self._own.add(bucket)
            self._buckets[bucket] = self._buckets[bucket].copy()
        return self._buckets[bucket]

    def hexdigest(self) -> str:
        """Return the digest as 64 hexadecimal digits."""
        for bucket in self._dirty:
            hashes = self._buckets[bucket]
            self._hashes[bucket] = sha256(b"".join(sorted(hashes))).digest() if hashes else _EMPTY
        self._dirty.clear()
        return sha256(b"".join(self._hashes)).hexdigest()
