"""Where pictures come from: the template, else the catalogue's addresses, else nowhere; and what is no template."""

import pytest

from rankstream.web.cards import BadImagesError, Cards
from tests.builders.catalogue import a_catalogue, an_item

PICTURES = {
    "https://shop.example/7.jpg": "https://shop.example/7.jpg",
    "pictures/7.jpg": None,
    "javascript:alert(1)": None,
    "data:image/svg+xml,<svg/>": None,
    "https://[": None,
}


@pytest.mark.parametrize(("given", "shown"), PICTURES.items())
def test_pictures_of_the_catalogue_are_shown_where_they_are_addresses(given, shown):
    cards = Cards(a_catalogue(an_item(7, title="Seven", picture=given)))
    assert cards.of((7,))[0].picture == shown


def test_a_template_is_filled_with_ids_that_can_not_leave_their_place():
    cards = Cards(images="https://shop.example/{id}.jpg")
    assert cards.of(("../a b?",))[0].picture == "https://shop.example/..%2Fa%20b%3F.jpg"
    assert cards.sources == "'self' https://shop.example"


def test_without_a_catalogue_no_picture_of_others_is_loaded():
    assert Cards().sources == "'self'"
    assert Cards().of(("7",))[0].title is None


@pytest.mark.parametrize(
    "template",
    ["https://shop.example/7.jpg", "pictures/{id}.jpg", "https://{id}.example/a", "https://a;b/{id}", "{id}"],
)
def test_what_is_no_template_is_refused_with_one_that_is(template):
    with pytest.raises(BadImagesError, match=r"wanted one as https://host/\{id\}\.jpg"):
        Cards(images=template)
