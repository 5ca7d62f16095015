"""Who vouches for a bundle: signatures over its manifest, whose checksums cover every file (Ed25519, RFC 8032).

::

    bundle/
        manifest.json
        manifest.sig     a line a signature: the key's name, and 64 bytes in base64

A key's name is the start of the SHA-256 of its 32 bytes, so a reader finds the key that a line is of. Several keys may
sign, and several may be trusted: that is how one follows another. Keys are PEM, as OpenSSL writes them too (``openssl
genpkey -algorithm ed25519``). What is signed begins with ``PURPOSE``, so that a signature that the same key made for
something else is none of a bundle.
"""

from base64 import b64decode, b64encode
from collections.abc import Iterator, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

from rankstream.bundles.manifest import MANIFEST, SIGNATURE
from rankstream.features.files import whole_file

PURPOSE = b"rankstream bundle\n"
NAME_DIGITS = 16
PEM_BEGIN, PEM_END = b"-----BEGIN PUBLIC KEY-----", b"-----END PUBLIC KEY-----"
WANTED = "wanted Ed25519, as `rankstream bundle keygen` makes"
MISSING = 'signatures need the package cryptography: pip install "rankstream[sign]"'


class SignatureError(ValueError):
    """A key that can't be used, or a bundle that no trusted key vouches for; one sentence, with what to do."""


def new_key(path: Path, password: bytes | None = None) -> str:
    """Write a new private key to ``path``, for its owner's eyes alone, and its public one beside it (``.pub``).

    With a password the private key is encrypted. Return the key's name. Raises ``SignatureError`` where one of the
    files is there already.
    """
    ed25519, serialization = _library()
    public_path = path.with_name(f"{path.name}.pub")
    for there in (path, public_path):
        if there.exists():
            raise SignatureError(f"{there} is there already; give the new key another name")
    key = ed25519.Ed25519PrivateKey.generate()
    hidden = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    pem, pkcs8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    path.touch(mode=0o600, exist_ok=False)
    path.write_bytes(key.private_bytes(pem, pkcs8, hidden))
    public = key.public_key()
    public_path.write_bytes(public.public_bytes(pem, serialization.PublicFormat.SubjectPublicKeyInfo))
    return _name_of(public)


def sign(folder: Path, key_path: Path, password: bytes | None = None) -> str:
    """Sign the manifest in ``folder`` by the private key in a file; return the key's name.

    Signatures of other keys stay, one of the same key is replaced. Raises ``OSError``, and ``SignatureError`` for a
    file that holds no such key.
    """
    key = _private_key(key_path, password)
    name = _name_of(key.public_key())
    try:
        written = _signatures(folder)
    except SignatureError:  # none, or none that can be read
        written = {}
    written[name] = key.sign(PURPOSE + (folder / MANIFEST).read_bytes())
    with whole_file(folder / SIGNATURE) as beside:
        beside.write_text("".join(f"{one} {b64encode(made).decode()}\n" for one, made in sorted(written.items())))
    return name


def signer_of(folder: Path, manifest: bytes, trusted: Path) -> str:
    """Return the name of a trusted key that has signed this manifest of the bundle in ``folder``.

    ``trusted`` is a file of public keys, one or several, or a folder of such files (``.pub``, ``.pem``). Raises
    ``SignatureError`` where no key there has.
    """
    keys, found = trusted_keys(trusted), _signatures(folder)
    both = sorted(keys.keys() & found.keys())
    for name in both:
        if _fits(keys[name], found[name], PURPOSE + manifest):
            return name
    if both:
        raise SignatureError(
            f"{folder / SIGNATURE} is no signature of the {MANIFEST} beside it by {', '.join(both)}: that was changed "
            "after it was signed, or the signature is another bundle's; copy the bundle again, or sign it"
        )
    raise SignatureError(
        f"{folder} is signed by {', '.join(found) or 'nobody'}, but only {', '.join(keys)} of {trusted} may vouch for "
        "a bundle; sign it with one of these keys, or add the key's public file there if you trust it"
    )


def trusted_keys(path: Path) -> Mapping[str, Any]:
    """Return the public keys in a file, or in the files of a folder, by name. Raises ``SignatureError``."""
    keys: dict[str, Any] = {}
    try:
        inside = sorted(one for one in path.iterdir() if one.suffix in (".pub", ".pem")) if path.is_dir() else [path]
        for file in inside:
            for key in _public_keys(file):
                keys[_name_of(key)] = key
    except OSError as exc:
        raise SignatureError(f"the trusted keys {path} can't be read ({exc.strerror or exc})") from exc
    if not keys:
        raise SignatureError(f"{path} holds no public key; put the .pub file of `rankstream bundle keygen` there")
    return keys


def _public_keys(file: Path) -> Iterator[Any]:
    """Yield the keys of a file, whatever text stands between them."""
    ed25519, serialization = _library()
    for block in file.read_bytes().split(PEM_BEGIN)[1:]:
        try:
            key = serialization.load_pem_public_key(PEM_BEGIN + block.partition(PEM_END)[0] + PEM_END)
        except Exception as exc:  # of cryptography, with no common type
            raise SignatureError(f"{file} holds a public key that can't be read ({exc})") from exc
        if not isinstance(key, ed25519.Ed25519PublicKey):
            raise SignatureError(f"{file} holds a key of another kind; {WANTED}")
        yield key


def _private_key(path: Path, password: bytes | None) -> Any:
    ed25519, serialization = _library()
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), password)
    except OSError:
        raise
    except Exception as exc:  # wrong password, no password, no key: of cryptography, with no common type
        raise SignatureError(
            f"{path} is no private key that can be read ({exc}); wanted PEM, and its password"
        ) from exc
    if not isinstance(key, ed25519.Ed25519PrivateKey):
        raise SignatureError(f"{path} holds a key of another kind; {WANTED}")
    return key


def _signatures(folder: Path) -> dict[str, bytes]:
    """Return the signatures beside a manifest, by the names of their keys. Raises ``SignatureError``."""
    path = folder / SIGNATURE
    try:
        lines = path.read_text(encoding="ascii").splitlines()
        return {name: b64decode(text, validate=True) for name, text in (line.split(" ") for line in lines)}
    except FileNotFoundError as exc:
        raise SignatureError(
            f"{folder} has no {SIGNATURE}, and only signed bundles may serve; sign it with `rankstream bundle sign "
            f"{folder} --key FILE`"
        ) from exc
    except (OSError, ValueError) as exc:
        raise SignatureError(f"{path} can't be read ({exc}); sign the bundle again") from exc


def _name_of(public: Any) -> str:
    return sha256(public.public_bytes_raw()).hexdigest()[:NAME_DIGITS]


def _library() -> tuple[Any, Any]:
    """Return what is used of cryptography, an extra. Raises ``SignatureError`` where it is not installed."""
    try:
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import ed25519
    except ImportError as exc:
        raise SignatureError(MISSING) from exc
    return ed25519, serialization


def _fits(key: Any, signature: bytes, message: bytes) -> bool:
    from cryptography.exceptions import InvalidSignature

    try:
        key.verify(signature, message)
    except InvalidSignature:
        return False
    return True
