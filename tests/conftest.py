"""Options of the whole suite."""

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--broker", choices=("embedded", "kafka"), help="broker of the tests marked so (embedded)")
    parser.addoption("--bootstrap-servers", help="a running broker to test against instead")
