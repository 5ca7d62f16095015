import pytest

from rankstream.ranking.deployment import DEPLOYMENT, Deployment, DeploymentError, read_deployment, write_deployment

A_SHADOW = Deployment("d1", "new", "old", "shadow", at_ms=1_000, share=0.1, until_ms=61_000)


def test_what_the_command_wrote_is_what_workers_read(tmp_path):
    assert read_deployment(tmp_path) is None
    write_deployment(tmp_path, A_SHADOW)
    assert read_deployment(tmp_path) == A_SHADOW


def test_a_shadow_ends_by_the_clock_where_its_command_was_killed():
    assert A_SHADOW.is_shadow(60_999)
    assert not A_SHADOW.is_shadow(61_000)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b'{"of_a_later_version": ' + b"[" * 2_000, "is not what `rankstream deploy` writes"),
        (b"new\n", "is not what `rankstream deploy` writes"),
        (b'{"id": "d1", "bundle": "new", "stage": "shadow", "at_ms": 1}', "missing required field `before`"),
        (b'{"id": "d1", "bundle": "../new", "before": "old", "stage": "shadow", "at_ms": 1}', "not beside it"),
        (b'{"id": "../d", "bundle": "new", "before": null, "stage": "serves", "at_ms": 1}', "not beside it"),
    ],
)
def test_another_content_is_refused_with_what_to_do(tmp_path, content, why):
    (tmp_path / DEPLOYMENT).write_bytes(content)
    with pytest.raises(DeploymentError, match=why) as refused:
        read_deployment(tmp_path)
    assert str(refused.value).endswith("delete it")
