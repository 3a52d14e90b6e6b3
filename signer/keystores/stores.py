"""The key stores of one process. A key is used in the store its reference names, and in no other: there is no fallback."""

from collections.abc import Mapping, Sequence

from core.errors import ServiceError, Unavailable
from core.values import Digest, Message, SignatureAlgorithm
from signer.keystores.model import Health, KeyPurpose, KeyRef, KeyStore

__all__ = ["KeyStores"]

_WORST = ("open", "denied", "sealed", "unreachable")


class KeyStores:
    """Satisfies ``KeyStore``: new keys go to ``default``, the others hold what was made before."""

    def __init__(self, default: KeyStore, *others: KeyStore) -> None:
        self.default = default
        self._by_name: Mapping[str, KeyStore] = {each.name: each for each in (*others, default)}

    def __repr__(self) -> str:
        return f"KeyStores({', '.join(sorted(self._by_name))})"

    @property
    def name(self) -> str:
        """Of the store that new keys go to."""
        return self.default.name

    @property
    def not_for_production(self) -> bool:
        """Of the store that new keys go to."""
        return self.default.not_for_production

    def of(self, ref: KeyRef) -> KeyStore:
        """Where this key is. Raises ``key.no_such_store`` where that store is not opened here."""
        found = self._by_name.get(ref.store)
        if found is None:
            raise Unavailable("key.no_such_store", store=ref.store)
        return found

    def all(self) -> tuple[KeyStore, ...]:
        """Every opened store, by name."""
        return tuple(self._by_name[name] for name in sorted(self._by_name))

    async def create(self, name: str, purpose: KeyPurpose, algorithm: SignatureAlgorithm) -> KeyRef:
        """In the default store."""
        return await self.default.create(name, purpose, algorithm)

    async def public_key(self, ref: KeyRef) -> bytes:
        """As its store has it now."""
        return await self.of(ref).public_key(ref)

    async def sign(self, ref: KeyRef, to_sign: Digest | Message, *, purpose: KeyPurpose, event_id: str) -> bytes:
        """In its store."""
        return await self.of(ref).sign(ref, to_sign, purpose=purpose, event_id=event_id)

    async def sign_batch(
        self, ref: KeyRef, items: Sequence[Digest], *, purpose: KeyPurpose, event_id: str
    ) -> list[bytes | ServiceError]:
        """In its store."""
        return await self.of(ref).sign_batch(ref, items, purpose=purpose, event_id=event_id)

    async def health(self) -> Health:
        """The worst of all, named."""
        found = [(each.name, await each.health()) for each in self.all()]
        name, worst = max(found, key=lambda each: _WORST.index(each[1].state))
        return Health(state=worst.state, detail=f"{name}: {worst.detail}")

    async def disable(self, ref: KeyRef) -> None:
        """In its store."""
        await self.of(ref).disable(ref)

    async def destroy(self, ref: KeyRef) -> None:
        """In its store."""
        await self.of(ref).destroy(ref)
