"""Delimited text as people have it: told delimiters, headings or none, marks, line ends, encodings."""

import csv
import gzip
import io
from itertools import chain, repeat
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rankstream.events.arrivals import Arrivals, LogError, concatenated
from rankstream.events.open import LogOptions, open_log
from rankstream.events.readers.columns import Substituted
from rankstream.events.readers.json_lines import Reading
from rankstream.events.readers.plain import PlainReader
from rankstream.events.readers.rows import NOTHING
from rankstream.events.readers.text import DELIMITERS, SUBSTITUTE, Layout, text_layout
from rankstream.events.registry import read_log
from rankstream.events.skipped import Skipped
from tests.builders.actions import MORNING_MS, VOCABULARY
from tests.builders.logs import same, whole
from tests.events.test_files import zstd

NAMES = ("user_id", "item_id", "action", "timestamp_ms")
ROWS = [("u1", "i1", "view", MORNING_MS), ("u2", "i2", "save", MORNING_MS + 1)]
NOW_MS = MORNING_MS + 10**10


def written(rows, delimiter=",", newline="\n", heading=NAMES) -> bytes:
    lines = [heading, *rows] if heading else rows
    return "".join(delimiter.join(map(str, row)) + newline for row in lines).encode()


def both_ways(path: Path, options: LogOptions = LogOptions()) -> tuple[Arrivals, Arrivals]:  # noqa: B008  # frozen
    """A file by the fast reader and by the plain one, which must skip the same."""
    log = open_log(path, options)
    (file,) = log.files
    fast, plain = (Reading(VOCABULARY, file.shape, NOW_MS, Skipped()) for _ in range(2))
    found = concatenated(list(file.reader.read(fast)))
    wanted = concatenated(list(PlainReader(file.layout).read(plain)))
    assert fast.skipped.rows.keys() == plain.skipped.rows.keys()
    assert fast.skipped.total() == plain.skipped.total()
    return found, wanted


def refusal(path: Path, **options: object) -> str:
    with pytest.raises(LogError) as refused:
        whole(open_log(path, LogOptions(**options)))  # type: ignore[arg-type]
    return str(refused.value)


ids = st.text(st.characters(blacklist_categories=["Cs", "Cc"], blacklist_characters='"\t;|,: '), min_size=1, max_size=9)
ids = ids.filter(lambda text: text not in NOTHING and not text.isspace())
rows = st.lists(st.tuples(ids, ids, st.sampled_from(VOCABULARY.actions), st.integers(MORNING_MS, NOW_MS)), min_size=1)


@settings(max_examples=60)
@given(
    rows,
    st.sampled_from(DELIMITERS),
    st.sampled_from(["\n", "\r\n"]),
    st.booleans(),
    st.sampled_from([".csv", ".txt.gz", ".TSV", ".dat.zst"]),
    st.integers(0, 2),
)
def test_any_delimiter_line_end_mark_and_packing_give_the_same_arrivals(
    tmp_path_factory, rows, delimiter, newline, mark, ending, blank
):
    data = b"\xef\xbb\xbf" * mark + newline.encode() * blank + written(rows, delimiter, newline)
    packed = {".txt.gz": gzip.compress, ".dat.zst": zstd}.get(ending, bytes)(data)
    path = tmp_path_factory.mktemp("text") / f"log{ending}"
    path.write_bytes(packed)
    fast, plain = both_ways(path)
    assert same(fast, plain)
    assert fast.user_ids == [row[0] for row in rows]
    assert fast.item_ids == [row[1] for row in rows]
    assert fast.times_ms.tolist() == [row[3] for row in rows]


fields = st.text(st.sampled_from('ab7,;\t|:"\n\r é'), max_size=6)


@settings(max_examples=60)
@given(st.lists(st.tuples(fields, fields, fields), min_size=1), st.sampled_from([",", ";", "\t", "|"]))
def test_quoted_fields_may_hold_delimiters_quotes_and_line_ends(tmp_path_factory, notes, delimiter):
    text = io.StringIO(newline="")
    lines = csv.writer(text, delimiter=delimiter)
    lines.writerow((*NAMES, "a", "b", "c"))
    lines.writerows((f"u{at}", *ROWS[0][1:], *three) for at, three in enumerate(notes))
    path = tmp_path_factory.mktemp("quoted") / "log.csv"
    path.write_bytes(text.getvalue().encode())
    fast, plain = both_ways(path, LogOptions(delimiter=delimiter))
    assert same(fast, plain)
    assert fast.user_ids == [f"u{at}" for at in range(len(notes))]


@pytest.mark.parametrize("last", ["q", "", ".", "e"])
def test_a_first_field_of_a_million_digits_is_read_as_fast_as_any(last, tmp_path):
    """A pattern that tries each way to split the digits takes minutes here."""
    path = tmp_path / "log.csv"
    path.write_text("1" * 1_000_000 + f"{last}\n")
    with pytest.raises(LogError):
        open_log(path)


@pytest.mark.parametrize("delimiter", DELIMITERS)
def test_ragged_rows_are_counted_and_empty_ones_are_none(delimiter, tmp_path):
    rows = [ROWS[0], ("u1",), (*ROWS[0], "more", "and"), ROWS[1], *[ROWS[0]] * 20]
    (tmp_path / "log.txt").write_bytes(written(rows, delimiter) + b"\n\n")
    fast, plain = both_ways(tmp_path / "log.txt")
    assert same(fast, plain)
    log = open_log(tmp_path / "log.txt")
    assert len(whole(log)) == 22
    assert log.skipped.total() == 2


SNIFFED = {
    "numbers with a decimal comma": (
        "user_id;item_id;action;timestamp_ms;price\nu1;i1;view;{0};3,50\nu2;i2;save;{0};4,00\n",
        ";",
    ),
    "genres with bars": (
        "user_id,item_id,action,timestamp_ms,genres\nu1,i1,view,{0},a|b|c\nu2,i2,save,{0},a|b\n",
        ",",
    ),
    "titles with commas": ("user_id\titem_id\taction\ttimestamp_ms\ttitle\nu1\ti1\tview\t{0}\tSo, what?\n", "\t"),
    "titles with semicolons, quoted": (
        'user_id,item_id,action,timestamp_ms,title\nu1,i1,view,{0},"a;b;c;d;e;f"\n',
        ",",
    ),
    "titles with a quote, not quoted": (
        'user_id\ttitle\titem_id\taction\ttimestamp_ms\nu1\t"Heroes\ti1\tview\t{0}\nu2\tx\ti2\tsave\t{0}\n',
        "\t",
    ),
    "one row": ("user_id|item_id|action|timestamp_ms\nu1|i1|view|{0}\n", "|"),
    "a column without a name, as pandas writes its index": (
        ",user_id,item_id,action,timestamp_ms\n0,u1,i1,view,{0}\n",
        ",",
    ),
    "columns between spaces, as in SNAP's files": (
        "user_id item_id action timestamp_ms\nu1 i1 view {0}\nu2 i2 save {0}\n",
        " ",
    ),
    "dates with times": ("user_id,item_id,action,time\nu1,i1,view,2023-11-14 10:00:00\n", ","),
}


@pytest.mark.parametrize("name", SNIFFED)
def test_the_delimiter_is_told_by_the_first_lines(name, tmp_path):
    text, delimiter = SNIFFED[name]
    (tmp_path / "log.csv").write_text(text.format(MORNING_MS))
    assert text_layout(tmp_path / "log.csv").delimiter == delimiter
    fast, plain = both_ways(tmp_path / "log.csv")
    assert same(fast, plain)
    assert (fast.user_ids[0], fast.item_ids[0]) == ("u1", "i1")


@given(st.text(st.sampled_from("a:\n"), max_size=30), st.lists(st.integers(2, 5), min_size=1))
def test_a_delimiter_of_two_characters_may_lie_across_blocks(tmp_path_factory, text, sizes):
    path = tmp_path_factory.mktemp("blocks") / "log.dat"
    path.write_text(text)
    file = Substituted(Layout(path, "text", (), "::"))
    read = b""
    for size in chain(sizes, repeat(2)):
        block = file.read(size)
        if not block:
            break
        assert len(block) <= size
        read += block
    assert read.decode() == text.replace("::", SUBSTITUTE)


def test_a_space_after_each_delimiter_is_no_part_of_an_id(tmp_path):
    (tmp_path / "log.csv").write_bytes(written(ROWS, ", "))
    fast, plain = both_ways(tmp_path / "log.csv")
    assert same(fast, plain)
    assert fast.item_ids == ["i1", "i2"]


def test_a_heading_that_comes_again_is_a_skipped_row_and_names_no_action(tmp_path):
    (tmp_path / "log.csv").write_bytes(written(ROWS) + written(ROWS))
    log = open_log(tmp_path / "log.csv")
    assert (len(whole(log)), log.skipped.total(), log.vocabulary.actions) == (4, 1, ("save", "view"))


def test_long_descriptions_are_read_over(tmp_path):
    rows = [(*row, "x" * 300_000) for row in ROWS]
    (tmp_path / "log.csv").write_bytes(written(rows, heading=(*NAMES, "description")))
    fast, plain = both_ways(tmp_path / "log.csv")
    assert same(fast, plain)
    keyed = '{"customer": "u1", "sku": 2, "event": "view", "ts": 1700000000000, "text": "' + "x" * 300_000 + '"}\n'
    (tmp_path / "log.jsonl").write_text(keyed * 2)
    assert whole(open_log(tmp_path / "log.jsonl")).item_ids == [2, 2]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (gzip.compress(b"a", mtime=0), "packed by gzip; let its name end with .gz"),
        (b"PAR1...", "Parquet; let its name end with .parquet"),
        (b"PK\x03\x04", "a ZIP archive or a workbook"),
    ],
)
def test_a_file_whose_ending_says_something_else_than_it_holds_is_named(data, words, tmp_path):
    (tmp_path / "log.csv").write_bytes(data)
    with pytest.raises(LogError, match=f"log.csv is no text by what it holds, but {words}"):
        open_log(tmp_path / "log.csv")


def test_a_few_ragged_rows_do_not_change_the_delimiter(tmp_path):
    rows = [("u1", "a|b", "view", MORNING_MS)] * 30 + [("u1",)] * 2
    (tmp_path / "log.csv").write_bytes(written(rows))
    assert text_layout(tmp_path / "log.csv").delimiter == ","


@pytest.mark.parametrize(
    ("given_as", "delimiter"), [("tab", "\t"), ("\\t", "\t"), ("^", "^"), ("::", "::"), ("semicolon", ";")]
)
def test_a_delimiter_that_is_said_is_used(given_as, delimiter, tmp_path):
    (tmp_path / "log.csv").write_bytes(written(ROWS, delimiter))
    assert whole(open_log(tmp_path / "log.csv", LogOptions(delimiter=given_as))).user_ids == ["u1", "u2"]


def test_a_delimiter_that_can_be_none_is_refused(tmp_path):
    (tmp_path / "log.csv").write_bytes(written(ROWS))
    assert "delimiter 'and' can't be read; give one character, tab or ::" in refusal(
        tmp_path / "log.csv", delimiter="and"
    )


def test_a_file_without_a_heading_is_refused_with_its_first_row_and_the_flag_that_reads_it(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text(f"u1,i1,12.5,view,{MORNING_MS}\nu2,i2,3,save,{MORNING_MS}\n")
    words = refusal(path)
    assert f"has no heading, its first row is u1, i1, 12.5, view, {MORNING_MS}; name its columns" in words
    flag = words.partition("--columns ")[2]
    assert flag == "user_id,item_id,column3,action,timestamp_ms"
    assert whole(open_log(path, LogOptions(heading=tuple(flag.split(","))))).user_ids == ["u1", "u2"]


@pytest.mark.parametrize("delimiter", DELIMITERS)
def test_columns_that_are_named_read_a_file_without_a_heading(delimiter, tmp_path):
    (tmp_path / "log.dat").write_bytes(written(ROWS, delimiter, heading=None))
    fast, plain = both_ways(
        tmp_path / "log.dat",
        LogOptions(heading=("customer", "sku", "event", "at_ms"), columns={"timestamp_ms": "at_ms"}),
    )
    assert same(fast, plain)
    assert fast.user_ids == ["u1", "u2"]


def test_names_that_the_file_has_itself_are_no_row(tmp_path):
    (tmp_path / "log.csv").write_bytes(written(ROWS))
    assert len(whole(open_log(tmp_path / "log.csv", LogOptions(heading=NAMES)))) == 2


def test_a_wrong_number_of_names_is_refused(tmp_path):
    (tmp_path / "log.csv").write_bytes(written(ROWS, heading=None))
    words = refusal(tmp_path / "log.csv", heading=("user_id", "item_id"))
    assert words.startswith("--columns names 2 columns, but the first row of")
    assert "has 4: u1, i1, view" in words


def test_a_row_of_words_that_is_taken_for_a_heading_is_shown_with_the_flag(tmp_path):
    (tmp_path / "log.csv").write_text("ann,lamp,seen\nbob,sofa,seen\n")
    words = refusal(tmp_path / "log.csv")
    assert "has no column user_id, item_id, action, timestamp_ms; it has ann, lamp, seen" in words
    assert "if that is a row and no heading, name the columns with --columns NAME,NAME,..." in words


def test_numbers_between_spaces_are_refused_with_the_names_that_read_them(tmp_path):
    (tmp_path / "messages.txt").write_text("1 2 1082040961\n3 4 1082155839\n")
    words = refusal(tmp_path / "messages.txt")
    assert words.endswith("has no heading, its first row is 1, 2, 1082040961; name its columns, for example "
                          "--columns user_id,item_id,timestamp")  # fmt: skip


@pytest.mark.parametrize(
    ("row", "names"),
    [
        ("1\t2010-10-12T00:21:28Z\t40.6438\t-73.7828\t23261", "user_id,timestamp,column3,column4,item_id"),
        ("6,2,4,1289241911.72836", "user_id,item_id,column3,timestamp"),
    ],
)
def test_the_names_of_the_refusal_read_the_file(row, names, tmp_path):
    """Neither a coordinate is an id, nor are seconds milliseconds."""
    (tmp_path / "log.txt").write_text(f"{row}\n{row}\n")
    assert refusal(tmp_path / "log.txt").endswith(f"--columns {names}")
    given = LogOptions(heading=tuple(names.split(",")), constants={"action": "view"})
    times = whole(open_log(tmp_path / "log.txt", given)).times_ms.astype("datetime64[ms]")
    assert set(times.astype("datetime64[Y]").astype(str)) == {"2010"}


def test_words_between_spaces_are_no_columns_where_a_row_has_more_of_them(tmp_path):
    (tmp_path / "log.txt").write_text("a lamp seen\na green lamp seen\n")
    assert text_layout(tmp_path / "log.txt").columns == ("a lamp seen",)


def test_text_that_is_not_split_says_how(tmp_path):
    (tmp_path / "log.csv").write_bytes(written(ROWS, "~"))
    assert "say what is between them with --delimiter" in refusal(tmp_path / "log.csv")
    assert len(whole(open_log(tmp_path / "log.csv", LogOptions(delimiter="~")))) == 2


def test_a_byte_order_mark_is_no_part_of_a_name(tmp_path):
    (tmp_path / "bom.csv").write_bytes(b"\xef\xbb\xbf" + written(ROWS))
    (tmp_path / "bom.jsonl").write_bytes(
        b"\xef\xbb\xbf" + b'{"user_id":"u1","item_id":"i1","action":"view","timestamp_ms":1700000000000}\n'
    )
    assert len(read_log(open_log(tmp_path / "bom.csv"))) == 2
    assert len(read_log(open_log(tmp_path / "bom.jsonl"))) == 1


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("name", ["log.csv", "log.jsonl"])
def test_utf_16_is_named_with_what_converts_it(name, encoding, tmp_path):
    text = written(ROWS).decode() if name == "log.csv" else '{"user_id": 1}\n'
    (tmp_path / name).write_bytes(text.encode(encoding))
    assert f"iconv -f {'UTF-16' if encoding == 'utf-16' else 'UTF-16LE'} -t UTF-8 {name} > utf8-{name}" in refusal(
        tmp_path / name
    )


@pytest.mark.parametrize("at", [1, 5000])
def test_latin_1_is_named_by_its_line_and_byte_with_what_converts_it(at, tmp_path):
    rows = [(f"u{n}", *ROWS[0][1:]) for n in range(6000)]
    before = written(rows[:at])
    data = before + f"Café,i1,view,{MORNING_MS}\n".encode("latin-1") + written(rows[at:], heading=None)
    (tmp_path / "log.csv").write_bytes(data)
    words = refusal(tmp_path / "log.csv")
    assert f"is no UTF-8: line {at + 2:,} has the byte 0xe9 (byte {len(before) + 3:,} of the text)" in words
    assert "iconv -f ISO-8859-1 -t UTF-8 log.csv > utf8-log.csv" in words
    with pytest.raises(LogError, match="is no UTF-8"):
        list(PlainReader(text_layout(tmp_path / "log.csv")).rows())


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # pyarrow can't hand such a row to us
def test_latin_1_in_a_ragged_row_is_named_too(tmp_path):
    path = tmp_path / "log.csv"
    path.write_bytes(b"user_id,item_id,action,timestamp_ms\nu1,a,view,1700000000000\nu1,caf\xe9\n")
    with pytest.raises(LogError, match=r"line 3 has the byte 0xe9"):
        whole(open_log(path))


def test_latin_1_in_a_heading_is_named_too(tmp_path):
    (tmp_path / "log.csv").write_bytes("user_id,item_id,action,timestamp_ms,größe\n".encode("latin-1"))
    assert "line 1 has the byte 0xf6" in refusal(tmp_path / "log.csv")


def test_latin_1_in_columns_that_are_not_read_is_of_no_matter(tmp_path):
    """UCI's Online Retail has pound signs in its descriptions."""
    data = written([(*row, "5 \xa3") for row in ROWS], heading=(*NAMES, "description"))
    (tmp_path / "log.csv").write_bytes(data.decode().encode("latin-1"))
    log = open_log(tmp_path / "log.csv")
    assert len(whole(log)) == 2
    assert len(list(log.files[0].reader.rows())) == 2


def test_nul_bytes_are_no_text(tmp_path):
    (tmp_path / "log.csv").write_bytes(written(ROWS)[:50] + b"\0" * 20)
    assert "is no text: it has NUL bytes, the first is byte 50" in refusal(tmp_path / "log.csv")


def test_a_heading_alone_and_nothing_at_all(tmp_path):
    (tmp_path / "log.csv").write_bytes(written([]))
    assert "holds no rows" in refusal(tmp_path / "log.csv")
    (tmp_path / "log.csv").write_bytes(b"\n\n")
    assert "is empty" in refusal(tmp_path / "log.csv")


def test_two_columns_of_one_name_are_refused_by_every_reader(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    from rankstream.events.readers.rows import open_rows

    names, values = [*NAMES, "user_id"], [["u1"], ["i1"], ["view"], [MORNING_MS], ["X"]]
    (tmp_path / "log.csv").write_bytes(written([row for row in zip(*values, strict=True)], heading=names))
    pq.write_table(pa.Table.from_arrays(list(map(pa.array, values)), names), tmp_path / "log.parquet")
    (tmp_path / "log.jsonl").write_text(
        '{"user_id":"u1","item_id":"i1","action":"view","timestamp_ms":1,"user_id":"X"}\n'
    )
    for name in ("log.csv", "log.parquet"):
        assert "has several columns of the name user_id; give each its own name" in refusal(tmp_path / name)
        with pytest.raises(LogError, match="several columns of the name user_id"):
            open_rows(tmp_path / name)
    assert "a line of " in (words := refusal(tmp_path / "log.jsonl"))
    assert "has the key user_id 2 times" in words


@pytest.mark.parametrize(
    "text", ['[{"user_id": 1}, {"user_id": 2}]', '[\n  {"user_id": 1},\n  {"user_id": 2}\n]\n', "[\n"]
)
def test_one_json_array_is_said_to_be_one(text, tmp_path):
    (tmp_path / "array.json").write_text(text)
    words = refusal(tmp_path / "array.json")
    assert "is one JSON array, not a message a line" in words
    assert "jq -c '.[]' array.json > array.jsonl" in words


def test_json_over_several_lines_is_said_to_be_that(tmp_path):
    (tmp_path / "log.json").write_text('{\n "user_id": 1\n}\n')
    assert "has JSON objects over several lines; write each on a line of its own: jq -c ." in refusal(
        tmp_path / "log.json"
    )


def test_names_of_columns_of_parquet_are_not_given(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(
        pa.table({name: [value] for name, value in zip(NAMES, ROWS[0], strict=True)}), tmp_path / "log.parquet"
    )
    assert "names the columns of text without a heading" in refusal(tmp_path / "log.parquet", heading=NAMES)


def test_text_is_read_without_pyarrow_and_packed_by_zstandard_says_what_is_missing(tmp_path, monkeypatch):
    import sys

    (tmp_path / "log.csv").write_bytes(written(ROWS))
    (tmp_path / "log.jsonl.zst").write_bytes(zstd(b"{}\n"))
    wanted = whole(open_log(tmp_path / "log.csv"))
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.delitem(sys.modules, "rankstream.events.readers.columns")
    assert same(whole(open_log(tmp_path / "log.csv")), wanted)
    assert 'needs pyarrow: pip install "rankstream[train]", or zstd -d' in refusal(tmp_path / "log.jsonl.zst")


@pytest.mark.parametrize("nothing", ["-", "?", "nil", "none", "[null]", " ", "\t "])
@pytest.mark.parametrize("quoted", ["", '"'])
def test_what_stands_for_nothing_is_no_id(nothing, quoted, tmp_path):
    rows = [("u1", "i1", "view", MORNING_MS), (f"{quoted}{nothing}{quoted}", "i2", "view", MORNING_MS)] * 2
    (tmp_path / "log.csv").write_bytes(written([*rows, *[ROWS[0]] * 9]))
    fast, plain = both_ways(tmp_path / "log.csv")
    assert same(fast, plain)
    assert set(fast.item_ids) == {"i1"}


def test_a_quote_that_is_never_closed_swallows_no_rows(tmp_path):
    heading = (*NAMES, "title")
    rows = [(*row, title) for row, title in zip(ROWS * 3, ["a", '"b', "c", "d", 'e"', '"f'], strict=True)]
    for delimiter in ",;\t":
        (tmp_path / "log.txt").write_bytes(written(rows, delimiter, heading=heading))
        fast, plain = both_ways(tmp_path / "log.txt")
        assert same(fast, plain)
        assert fast.user_ids == ["u1", "u2"] * 3


def test_a_line_end_in_quotes_is_still_one(tmp_path):
    rows = [(*ROWS[0], '"a\n1,2,3,4,5\nb"'), (*ROWS[1], '"x, y"')] * 3
    (tmp_path / "log.csv").write_bytes(written(rows, heading=(*NAMES, "text")))
    assert both_ways(tmp_path / "log.csv")[0].user_ids == ["u1", "u2"] * 3
