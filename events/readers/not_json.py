"""What a line is that should be a JSON object and is none, and the command that makes one of it."""

import re

PYTHON = re.compile(rb"\{\s*u?'")
NO_NUMBER = re.compile(rb"[:\[,]\s*-?(NaN|Infinity)\b")
DELIMITER = re.compile(rb"[,;\t|]")
OF_PYTHON = (
    "; it is an object of Python, so convert it: python3 -c 'import ast, json, sys; "
    "[print(json.dumps(ast.literal_eval(line))) for line in sys.stdin]' < FILE > FILE.jsonl"
)


def remedy(line: bytes) -> str:
    """Return what to do with a line that is no JSON; nothing where that is not plain."""
    text = line.strip()
    if PYTHON.match(text):
        return OF_PYTHON
    if text.startswith(b"{"):
        if re.search(rb"\}\s*\{", text):
            return "; write each object on a line of its own: jq -c . FILE > FILE.jsonl"
        if text.endswith(b"},"):
            return "; leave out what is behind the objects: sed 's/,$//' FILE > FILE.jsonl"
        return "; write null for NaN and Infinity" if NO_NUMBER.search(text) else ""
    if text.endswith(b"}") and b'{"' in text:
        return "; leave out what is before the objects: sed 's/^[^{]*//' FILE > FILE.jsonl"
    if DELIMITER.search(text) and not text.startswith((b"[", b'"')):
        return "; if that is delimited text, let its name end with .csv"
    return ""
