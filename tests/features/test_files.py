import pytest

from rankstream.features.files import CURRENT, PointerError, current_name, make_current, whole_file, whole_folder


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def fail_to_write(whole, part):
    with whole as beside:
        part(beside).write_text("ne")
        raise OSError("disk full")


def test_a_file_is_there_once_it_is_whole(tmp_path):
    path = tmp_path / "file"
    with whole_file(path) as beside:
        beside.write_text("new")
        assert not path.exists()
    assert path.read_text() == "new"
    assert names(tmp_path) == ["file"]


def test_a_file_that_was_not_finished_leaves_the_old_one(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(OSError, match="disk full"):
        fail_to_write(whole_file(path), lambda beside: beside)
    assert path.read_text() == "old"
    assert names(tmp_path) == ["file"]


def test_a_folder_is_there_whole_or_not_at_all(tmp_path):
    with pytest.raises(OSError, match="disk full"):
        fail_to_write(whole_folder(tmp_path / "runs" / "one"), lambda beside: beside / "part")
    assert names(tmp_path / "runs") == []
    with whole_folder(tmp_path / "runs" / "one") as beside:
        (beside / "part").write_text("new")
    assert names(tmp_path / "runs") == ["one"]


def test_current_names_what_was_made_current_last(tmp_path):
    for name in ("one", "two"):
        make_current(tmp_path, name)
        assert current_name(tmp_path) == name
    assert names(tmp_path) == [CURRENT]


@pytest.mark.parametrize("content", [b"", b"\n", b"../elsewhere", b".hidden", b"\xff\xfe"])
def test_a_pointer_to_nothing_beside_it_is_refused(tmp_path, content):
    (tmp_path / CURRENT).write_bytes(content)
    with pytest.raises(PointerError, match=f"{CURRENT} (names no folder beside it|is not text)"):
        current_name(tmp_path)


def test_where_nothing_is_current_no_file_is_there(tmp_path):
    with pytest.raises(FileNotFoundError):
        current_name(tmp_path)
