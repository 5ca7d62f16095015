"""The page's own files, read once: they are the only ones that it serves."""

from importlib.resources import files

TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
INDEX = "index.html"


def static_files() -> dict[str, bytes]:
    """Return the bytes of each file by its name."""
    folder = files("rankstream.web") / "static"
    return {one.name: one.read_bytes() for one in folder.iterdir() if ending_of(one.name) in TYPES}


def ending_of(name: str) -> str:
    """Return the ending of a file's name, with its dot."""
    return "." + name.rpartition(".")[2]


def security_policy(pictures: str) -> str:
    """Return what a browser may do with the page: run its own scripts, load ``pictures``, call its own server alone."""
    rules = {
        "default-src": "'none'",
        "script-src": "'self'",
        "style-src": "'self'",
        "connect-src": "'self'",
        "img-src": pictures,
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
    }
    return "; ".join(f"{name} {allowed}" for name, allowed in rules.items())
