import pytest

from rankstream.features.files import CURRENT, PointerError, current_name, make_current, whole_file, whole_folder
from tests.builders.killed import killed_at


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


WRITE_AND_DIE = """
arm()
with files.whole_folder(root / "bundle") as beside:
    for name in ("graph", "table"):
        (beside / name).write_bytes(name.encode())
with files.whole_file(root / "pointer") as beside:
    beside.write_bytes(b"new")
"""

KILLS = (  # in the order that the steps are taken: which call of one dies; is the folder there, what does the file hold
    ("write_bytes", 0, False, "old"), ("write_bytes", 1, False, "old"), ("sync", 0, False, "old"),
    ("sync", 2, False, "old"), ("rename", 0, False, "old"), ("sync", 3, True, "old"), ("write_bytes", 2, True, "old"),
    ("sync", 4, True, "old"), ("replace", 0, True, "old"), ("sync", 5, True, "new"),
)  # fmt: skip


@pytest.mark.parametrize(("step", "calls", "folder", "content"), KILLS)
def test_a_writer_killed_at_any_step_leaves_what_is_whole(tmp_path, step, calls, folder, content):
    (tmp_path / "pointer").write_text("old")
    assert killed_at(step, calls, tmp_path, WRITE_AND_DIE) == 9
    assert [path for path in names(tmp_path) if not path.startswith(".")] == ["bundle"] * folder + ["pointer"]
    assert not folder or names(tmp_path / "bundle") == ["graph", "table"]
    assert (tmp_path / "pointer").read_text() == content
