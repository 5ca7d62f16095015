"""Which facets and labels a file of users makes."""

from rankstream.content.user_files import ReadUsers
from rankstream.events.skipped import Skipped
from rankstream.features.profiles import MAX_LABELS
from rankstream.models.users.profiles import MAX_FACETS, OTHER, RANGES, MadeProfiles, user_profiles


def made_of(users: int = 100, **columns: list[str | float | None]) -> MadeProfiles:
    """The profiles of users 0, 1, ... by columns of one value each."""
    values = {name: {at: value for at, value in enumerate(of) if value is not None} for name, of in columns.items()}
    return user_profiles(ReadUsers(values, {user: user for user in range(users)}, users, Skipped(), ()))


def labels_of(made: MadeProfiles) -> tuple[str, ...]:
    (facet,) = made.profiles.facets
    return facet.labels


def test_values_are_labels_the_most_common_first():
    made = made_of(6, sex=["M", "M", "M", "F", "F", None])
    assert labels_of(made) == ("M", "F")
    assert made.profiles.codes[:, 0].tolist() == [1, 1, 1, 2, 2, 0, 0]  # the last row: any other user


def test_beyond_as_many_labels_as_there_are_values_are_others():
    values = [f"city {n % (MAX_LABELS + 10)}" for n in range(400)]
    labels = labels_of(made_of(400, city=values))
    assert len(labels) == MAX_LABELS
    assert labels[-1] == OTHER


def test_as_many_values_as_labels_have_one_each():
    assert OTHER not in labels_of(made_of(400, city=[f"city {n % MAX_LABELS}" for n in range(400)]))


def test_a_value_of_one_user_alone_is_an_other():
    assert labels_of(made_of(5, plan=["free", "free", "paid", "paid", "trial"])) == ("free", "paid", OTHER)


def test_a_number_has_ranges_with_as_many_users_each():
    made = made_of(800, age=[float(n) for n in range(800)])
    assert labels_of(made)[0] == "up to 99"
    assert labels_of(made)[-1] == "above 699"
    assert [int((made.profiles.codes[:-1, 0] == code).sum()) for code in range(1, RANGES + 1)] == [100] * RANGES


def test_equal_numbers_stand_in_one_range():
    made = made_of(200, friends=[0.0] * 150 + [float(n) for n in range(1, 51)])
    assert labels_of(made)[0] == "up to 0"
    assert set(made.profiles.codes[:150, 0].tolist()) == {1}


def test_texts_of_numbers_are_numbers_and_few_of_them_labels():
    assert labels_of(made_of(800, age=[str(n) for n in range(800)]))[0] == "up to 99"
    assert labels_of(made_of(4, age=[25.0, 25.0, 56.0, 56.0])) == ("25", "56")


def test_a_column_that_tells_no_users_apart_is_left_out_with_the_reason():
    made = made_of(100, name=[f"user {n}" for n in range(100)], country=["NO"] * 100, sex=["F", "M"] * 50)
    assert [facet.name for facet in made.profiles.facets] == ["sex"]
    assert made.left_out["country"] == "it has one value, so it tells no users apart"
    assert "are those of 0% of the users alone" in made.left_out["name"]


def test_of_many_columns_the_first_ones_are_kept():
    made = made_of(4, **{f"c{n:02}": ["a", "a", "b", "b"] for n in range(MAX_FACETS + 2)})
    assert len(made.profiles.facets) == MAX_FACETS
    assert set(made.left_out) == {f"c{MAX_FACETS}", f"c{MAX_FACETS + 1}"}
