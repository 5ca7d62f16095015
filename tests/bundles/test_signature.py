"""Who vouches for a bundle: only what a trusted key has signed, and not a byte of it changed since, may serve."""

import shutil
import subprocess
from pathlib import Path

import msgspec
import pytest

pytest.importorskip("cryptography", reason="the extra rankstream[sign]")

from rankstream.bundles.manifest import read_manifest, write_manifest
from rankstream.bundles.signature import SIGNATURE, SignatureError, new_key, sign, trusted_keys
from rankstream.features.files import make_current
from rankstream.ranking.bundle import BundleRefusedError, open_bundle
from rankstream.ranking.serving import LiveRanker
from tests.builders.bundle import a_bundle
from tests.builders.cli import rankstream, refusal


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return a_bundle(tmp_path_factory.mktemp("template") / "bundle", num_items=5)


@pytest.fixture
def bundle(template: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(template, tmp_path / "bundles" / "one"))


@pytest.fixture
def key(tmp_path: Path) -> Path:
    """A private key, whose public one is the only one in the folder ``trusted``."""
    (tmp_path / "trusted").mkdir()
    new_key(tmp_path / "signing.key")
    shutil.copy(tmp_path / "signing.key.pub", tmp_path / "trusted")
    return tmp_path / "signing.key"


def trusted_of(key: Path) -> Path:
    return key.parent / "trusted"


def why_refused(bundle: Path, key: Path) -> str:
    with pytest.raises(BundleRefusedError) as refused:
        open_bundle(bundle, trusted_keys=trusted_of(key))
    return str(refused.value)


def test_a_bundle_that_a_trusted_key_has_signed_serves(bundle: Path, key: Path):
    name = sign(bundle, key)
    assert open_bundle(bundle, trusted_keys=trusted_of(key)).folder == bundle
    assert open_bundle(bundle, trusted_keys=trusted_of(key) / "signing.key.pub").folder == bundle
    assert (bundle / SIGNATURE).read_text().startswith(f"{name} ")
    assert SIGNATURE not in read_manifest(bundle).files


def test_one_without_a_signature_is_refused(bundle: Path, key: Path):
    assert "has no manifest.sig, and only signed bundles may serve" in why_refused(bundle, key)
    assert open_bundle(bundle).folder == bundle  # where nobody asks


def test_one_that_another_key_has_signed_is_refused(bundle: Path, key: Path):
    other = new_key(key.with_name("other.key"))
    sign(bundle, key.with_name("other.key"))
    assert f"is signed by {other}, but only" in why_refused(bundle, key)


def test_the_signature_of_another_bundle_is_refused(bundle: Path, key: Path, tmp_path: Path):
    other = a_bundle(tmp_path / "bundles" / "other", model_version="another", num_items=5)
    sign(other, key)
    shutil.copy(other / SIGNATURE, bundle)
    assert "is no signature of the manifest.json beside it" in why_refused(bundle, key)


def test_a_manifest_that_was_sealed_again_is_refused(bundle: Path, key: Path):
    """Its checksums hold; whoever changed it has no key."""
    sign(bundle, key)
    write_manifest(
        bundle, msgspec.structs.replace(read_manifest(bundle), utility={"save": -9.0, "click": 1, "hide": 1})
    )
    assert "is no signature of the manifest.json beside it" in why_refused(bundle, key)


@pytest.mark.parametrize("pattern", ["user.onnx", "golden.npz", "items/CURRENT", "items/*/vectors.f16"])
def test_a_changed_byte_in_any_file_is_refused(bundle: Path, key: Path, pattern: str):
    sign(bundle, key)
    (path,) = bundle.glob(pattern)
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    assert "was changed after the export" in why_refused(bundle, key)


@pytest.mark.parametrize("text", ["", "nobody", "a key of many words", "0011223344556677 AAAA", "é", "\n\n"])
def test_a_signature_that_is_none_is_refused(bundle: Path, key: Path, text: str):
    (bundle / SIGNATURE).write_text(text)
    why = why_refused(bundle, key)
    assert "sign the bundle again" in why or "sign it with one of these keys" in why
    sign(bundle, key)
    assert open_bundle(bundle, trusted_keys=trusted_of(key)).folder == bundle


def test_keys_follow_one_another(bundle: Path, key: Path):
    """Workers trust both for a while, bundles are signed by both; then either may go."""
    old, new = sign(bundle, key), new_key(key.with_name("new.key"))
    assert sign(bundle, key.with_name("new.key")) == new
    assert {line.split()[0] for line in (bundle / SIGNATURE).read_text().splitlines()} == {old, new}
    shutil.copy(key.with_name("new.key.pub"), trusted_of(key))
    assert set(trusted_keys(trusted_of(key))) == {old, new}
    (trusted_of(key) / "signing.key.pub").unlink()
    assert open_bundle(bundle, trusted_keys=trusted_of(key)).folder == bundle


def test_several_keys_may_stand_in_one_file(key: Path):
    new_key(key.with_name("new.key"))
    both = key.with_name("both.pem")
    both.write_bytes(b"ours\n" + b"and theirs\n".join(path.read_bytes() for path in key.parent.glob("*.pub")))
    assert len(trusted_keys(both)) == 2


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "can't be read"),
        (b"", "holds no public key"),
        (b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----", "holds a public key that can't be read"),
    ],
)
def test_keys_that_can_not_be_used_are_named(bundle: Path, key: Path, content: bytes | None, words: str):
    sign(bundle, key)
    file = key.with_name("wrong.pem")
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(BundleRefusedError, match=words):
        open_bundle(bundle, trusted_keys=file)


def test_a_private_key_is_its_owners_and_never_written_over(key: Path):
    assert key.stat().st_mode & 0o077 == 0
    with pytest.raises(SignatureError, match="is there already"):
        new_key(key)


def test_a_key_with_a_password_signs_with_that_alone(bundle: Path, tmp_path: Path):
    new_key(tmp_path / "key", b"hunter2")
    for password in (None, b"wrong"):
        with pytest.raises(SignatureError, match="is no private key that can be read"):
            sign(bundle, tmp_path / "key", password)
    assert sign(bundle, tmp_path / "key", b"hunter2")


@pytest.mark.skipif(not shutil.which("openssl"), reason="needs openssl")
def test_keys_of_openssl_will_do(bundle: Path, tmp_path: Path):
    private, public = tmp_path / "key.pem", tmp_path / "public.pem"
    subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519", "-out", private], check=True)
    subprocess.run(["openssl", "pkey", "-in", private, "-pubout", "-out", public], check=True)
    assert list(trusted_keys(public)) == [sign(bundle, private)]
    assert open_bundle(bundle, trusted_keys=public).folder == bundle


def test_a_worker_goes_on_with_the_signed_bundle_when_an_unsigned_one_comes(bundle: Path, key: Path, caplog):
    bundles = bundle.parent
    sign(bundle, key)
    a_bundle(bundles / "two", model_version="two", num_items=5)
    make_current(bundles, "one")
    serving = LiveRanker.open(bundles, trusted_keys=trusted_of(key))
    make_current(bundles, "two")
    assert not serving.reload()
    assert serving.current.model_version == "tiny-1"
    assert "two has no manifest.sig" in caplog.text
    sign(bundles / "two", key)
    assert serving.reload()
    assert serving.current.model_version == "two"


def test_the_commands_sign_verify_and_refuse(bundle: Path, tmp_path: Path):
    assert rankstream("bundle", "keygen", tmp_path / "k").exit_code == 0
    keys = ("--trusted-keys", tmp_path / "k.pub")
    for words in (("bundle", "verify", bundle), ("bundle", "use", bundle.parent, "one"),
                  ("deploy", bundle.parent, "one", "--watch-s", "0")):  # fmt: skip
        assert "has no manifest.sig" in refusal(rankstream(*words, *keys))
    assert not (bundle.parent / "CURRENT").exists()
    assert "is signed by" in rankstream("bundle", "sign", bundle, "--key", tmp_path / "k").output
    assert "may serve, signed by" in rankstream("bundle", "verify", bundle, trusted_keys=str(tmp_path / "k.pub")).output
    assert rankstream("bundle", "use", bundle.parent, "one", *keys).exit_code == 0
    assert "is no private key that can be read" in refusal(
        rankstream("bundle", "sign", bundle, "--key", tmp_path / "k.pub")
    )


def test_without_the_library_one_sentence_says_what_to_install(
    bundle: Path, key: Path, monkeypatch: pytest.MonkeyPatch
):
    sign(bundle, key)
    monkeypatch.setitem(__import__("sys").modules, "cryptography.hazmat.primitives", None)
    assert why_refused(bundle, key) == 'signatures need the package cryptography: pip install "rankstream[sign]"'
