import pytest

from rankstream.features.stores.memory import MemoryStore
from tests.contracts.user_store import UserStoreContract


class TestMemoryStore(UserStoreContract):
    @pytest.fixture
    def open_store(self):
        return MemoryStore
