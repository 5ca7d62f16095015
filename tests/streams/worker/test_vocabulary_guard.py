import pytest

from rankstream.features.actions import Vocabulary
from rankstream.streams.worker.vocabulary_guard import VocabularyRefusedError, keep_vocabulary


def test_names_may_be_added_behind_the_old_ones_and_a_shorter_bundle_still_fits(tmp_path):
    for names in (("view", "save"), ("view", "save", "hide"), ("view",)):
        keep_vocabulary(tmp_path, Vocabulary(names))
    with pytest.raises(VocabularyRefusedError, match="view, save, hide"):
        keep_vocabulary(tmp_path, Vocabulary(("view", "save", "buy")))


@pytest.mark.parametrize("names", [("save", "view"), ("look", "save")])
def test_a_bundle_that_renames_a_code_is_refused(tmp_path, names: tuple[str, ...]):
    keep_vocabulary(tmp_path, Vocabulary(("view", "save"), ("home",)))
    with pytest.raises(VocabularyRefusedError, match="new ones behind them"):
        keep_vocabulary(tmp_path, Vocabulary(names, ("home",)))


def test_a_damaged_file_is_named_with_the_remedy(tmp_path):
    (tmp_path / "vocabulary.json").write_text("{")
    with pytest.raises(VocabularyRefusedError, match="is damaged"):
        keep_vocabulary(tmp_path, Vocabulary(("view",)))
