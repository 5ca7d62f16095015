import pytest

from rankstream.features.actions import Vocabulary, VocabularyRefusedError
from rankstream.streams.worker.vocabulary_guard import KeptVocabulary, Names, keep_vocabulary


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


def test_names_of_a_bundle_that_was_swapped_in_are_kept_before_a_state_holds_their_codes(tmp_path):
    """Else the next bundle may give a code of theirs another name."""
    serving = [Vocabulary(("view", "save"))]
    kept = KeptVocabulary(tmp_path, lambda: serving[0])
    kept.keep()
    serving[0] = Vocabulary(("view", "save", "hide"))
    kept.keep()
    assert kept.names == Names(("view", "save", "hide"))
    with pytest.raises(VocabularyRefusedError, match="view, save, hide"):
        keep_vocabulary(tmp_path, Vocabulary(("view", "save", "buy")))


def test_names_of_states_that_are_restored_are_compared_and_kept(tmp_path):
    kept = KeptVocabulary(tmp_path, lambda: Vocabulary(("view", "save")))
    kept.join(Names(("view", "save", "hide")), "user-state-changelog", 3)
    assert keep_vocabulary(tmp_path, Vocabulary(("view",))) == Names(("view", "save", "hide"))
    with pytest.raises(VocabularyRefusedError, match="partition 3 in the changelog user-state-changelog were written"):
        kept.join(Names(("save",)), "user-state-changelog", 3)
