from dataclasses import replace

import numpy as np
import pytest

from rankstream.features.attributes.table import (
    ATTRIBUTE_FILES,
    arrays_of,
    attributes_tag,
    labels_tag,
    no_attributes,
    open_attributes,
    write_attributes,
)
from rankstream.features.ids import id_keys
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
    assert labels_tag(found) == labels_tag(attributes)


def test_attributes_of_before_are_read_and_can_not_grow(tmp_path):
    attributes = shop_attributes()
    write_attributes(tmp_path, attributes)
    for name in ("label_keys", "usual_numbers"):
        (tmp_path / f"{name}.npy").unlink()
    found = open_attributes(tmp_path)
    assert (attributes.can_grow, found.can_grow) == (True, False)
    assert attributes_tag(found) == attributes_tag(attributes)  # no model reads them


def test_items_are_added_and_what_was_known_stays_as_it_is():
    attributes = shop_attributes()
    more = replace(attributes, keys=id_keys(["zzz", *range(5)])[np.array([1, 2, 3, 4, 5, 0])])
    changed = replace(more, numbers=more.numbers + 1)
    found = attributes.with_items(changed)
    assert len(found) == 12
    assert found.keys.tolist() == sorted(found.keys.tolist())
    old, new = found.rows(attributes.keys), found.rows(more.keys)
    np.testing.assert_array_equal(found.numbers[old], attributes.numbers[:-1])
    np.testing.assert_array_equal(found.numbers[new], changed.numbers[:-1])
    np.testing.assert_array_equal(found.labels[:, new], more.labels[:, :-1])
    assert (found.labels[:, -1] == found.no_label).all()


def test_items_of_other_labels_are_not_added():
    attributes = shop_attributes()
    with pytest.raises(ValueError, match="another training's labels"):
        attributes.with_items(replace(attributes, label_keys=attributes.label_keys + np.uint64(1)))


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
