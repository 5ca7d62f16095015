from dataclasses import replace

import numpy as np
import pytest

from rankstream.features.attributes.table import (
    ATTRIBUTE_FILES,
    arrays_of,
    attributes_tag,
    no_attributes,
    open_attributes,
    write_attributes,
)
from tests.builders.attributes import shop_attributes


@pytest.mark.parametrize("attributes", [shop_attributes(), no_attributes()], ids=["a shop", "none"])
def test_attributes_are_read_as_they_were_written(tmp_path, attributes):
    write_attributes(tmp_path / "it", attributes)
    assert sorted(path.name for path in (tmp_path / "it").iterdir()) == sorted(ATTRIBUTE_FILES)
    found = open_attributes(tmp_path / "it")
    assert found.names == attributes.names
    for name, array in arrays_of(attributes).items():
        assert array.tobytes() == arrays_of(found)[name].tobytes()
    assert attributes_tag(found) == attributes_tag(attributes)


@pytest.mark.parametrize("content", [b"", b"{", b"\x93NUMPY\x01\x00", b"\x93NUMPY\x01\x00\x04\x00{'a\n" + b"[" * 2_000])
@pytest.mark.parametrize("name", ATTRIBUTE_FILES)
def test_a_damaged_file_is_refused_as_a_value_error(tmp_path, name, content):
    write_attributes(tmp_path, shop_attributes())
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=r"is no whole \.npy file|can't be read"):
        open_attributes(tmp_path)


def test_another_price_is_another_tag():
    attributes = shop_attributes()
    other = replace(attributes, numbers=np.where(attributes.numbers > 0, 1, attributes.numbers))
    assert attributes_tag(other) != attributes_tag(attributes)
