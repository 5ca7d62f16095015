"""Public logs in the very layout that they are published in (rows are made up): what is read of each."""

import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from rankstream.events.arrivals import LogError, concatenated
from rankstream.events.log import EventLog
from rankstream.events.open import FileLog, LogOptions, open_log
from rankstream.events.public import PUBLIC, kuairand, mind
from rankstream.events.public.stars import VOCABULARY, codes_of_stars
from rankstream.events.registry import kind_of, read_log

AT_S = 1_511_544_070


def opened(path: Path, kind: str) -> tuple[FileLog, EventLog]:
    log = open_log(path)
    columns = read_log(log, strict=False)
    assert kind_of(log, columns).name == kind
    return log, columns


def summary(log: EventLog) -> list[tuple[object, object, str, int]]:
    """User, item, action and time of each row."""
    names = [log.vocabulary.actions[code - 1] for code in log.actions]
    return list(zip(log.user_ids.tolist(), log.item_ids.tolist(), names, log.times_ms.tolist(), strict=True))


def test_taobao_has_no_heading_and_seconds(tmp_path):
    rows = ["1,2268318,2520377,pv,1511544070", "1,2333346,2520771,buy,1511561733", "7,2576651,149192,fav,1511572885"]
    (tmp_path / "UserBehavior.csv").write_text("\n".join([*rows, "7,3830808,4181361,cart,15115"]))  # the end of a head
    log, columns = opened(tmp_path, "taobao")
    assert summary(columns) == [
        (1, 2268318, "view", 1_511_544_070_000),
        (1, 2333346, "buy", 1_511_561_733_000),
        (7, 2576651, "save", 1_511_572_885_000),
    ]
    assert log.skipped.total() == 1
    assert log.notes[0].startswith(f"{tmp_path / 'UserBehavior.csv'} is read as taobao, with its actions view, save")


@pytest.mark.parametrize(
    ("name", "row", "delimiter"),
    [("u.data", "196|242|3|881250949", "\t"), ("ratings.dat", "196|242|3|881250949", "::")],
)
def test_movielens_without_a_heading(name, row, delimiter, tmp_path):
    more = ["186|302|5|891717742", "22|377|1|878887116", "22|378|4|878887117"]
    (tmp_path / name).write_text("".join(one.replace("|", delimiter) + "\n" for one in [row, *more]))
    _, columns = opened(tmp_path / name, "movielens")
    assert summary(columns) == [
        (22, 377, "hide", 878_887_116_000),
        (22, 378, "click", 878_887_117_000),
        (196, 242, "view", 881_250_949_000),
        (186, 302, "save", 891_717_742_000),
    ]


@pytest.mark.parametrize("times", [("1256677221", "1256677456"), ("2009-10-27 21:00:21", "2009-10-27 21:04:16")])
def test_movielens_with_a_heading_and_half_stars(times, tmp_path):
    """20M and later; Kaggle's copy of it has dates."""
    (tmp_path / "movies.csv").write_text('movieId,title,genres\n1,"Toy, The (1995)",Adventure|Comedy\n')
    (tmp_path / "tags.csv").write_text("userId,movieId,tag,timestamp\n1,1,fun,1256677221\n")
    (tmp_path / "ratings.csv").write_text(
        f"userId,movieId,rating,timestamp\n1,169,2.5,{times[0]}\n1,2471,4.5,{times[1]}\n"
    )
    log, columns = opened(tmp_path, "movielens")
    assert summary(columns) == [(1, 169, "hide", 1_256_677_221_000), (1, 2471, "click", 1_256_677_456_000)]
    assert "not read, as they are no log of this kind: movies.csv, tags.csv" in log.notes[-1]


def test_half_a_star_counts_as_the_whole_one_below():
    """The thresholds are those of whole stars, on which MovieLens began."""
    stars = np.array([0.5, 1, 1.5, 2, 2.5, 3, 3.5, 4, 4.5, 5, 0, 5.5, 4.7, np.nan])
    names = ["" if not code else VOCABULARY.actions[code - 1] for code in codes_of_stars(stars)]
    assert names == ["hide"] * 5 + ["view", "view", "click", "click", "save", "", "", "", ""]


@pytest.mark.parametrize(
    ("ratings", "points"), [("10,8.5,7,5,6,0,1", 10), ("100,85,71,50,66,0,9", 100)], ids=["of ten", "of a hundred"]
)
def test_points_are_half_stars_on_the_scale_that_the_log_tells(ratings, points, tmp_path):
    rows = (f"1,{item},{rating},125667722{item}\n" for item, rating in enumerate(ratings.split(",")))
    (tmp_path / "a.csv").write_text("user_id,item_id,rating,timestamp\n" + "".join(rows))
    (tmp_path / "b.csv").write_text("user_id,item_id,rating,timestamp\n2,seven,4,1256677300\n")  # alone it were stars
    log, columns = opened(tmp_path, "movielens")
    by_item = {str(item): action for _, item, action, _ in summary(columns)}
    assert by_item == {
        "0": "save", "1": "click", "2": "view", "3": "hide", "4": "view", "6": "hide", "seven": "hide"
    }  # fmt: skip
    assert log.skipped.total() == 1  # of 0 points: no rating
    assert (
        f"{tmp_path}: a tenth of the ratings are {points} or more, so {points} points count as five stars" in log.notes
    )


def test_stars_are_not_points(tmp_path):
    (tmp_path / "ratings.csv").write_text("userId,movieId,rating,timestamp\n1,169,4.5,1256677221\n")
    log, columns = opened(tmp_path, "movielens")
    assert [action for _, _, action, _ in summary(columns)] == ["click"]
    assert not any("five stars" in note for note in log.notes)


KUAIRAND = (
    "user_id,video_id,date,hourmin,time_ms,is_click,is_like,is_follow,is_comment,is_forward,is_hate,long_view,"
    "play_time_ms,duration_ms,profile_stay_time,comment_stay_time,is_profile_enter,is_rand,tab\n"
)


def test_kuairands_files_are_one_log(tmp_path):
    data = tmp_path / "KuaiRand-Pure" / "data"
    data.mkdir(parents=True)
    early, late, rand = 1_649_520_000_000, 1_650_700_000_000, 1_650_800_000_000
    for name, user, time_ms, is_rand in (
        ("log_standard_4_08_to_4_21_pure.csv", 0, early, 0),
        ("log_standard_4_22_to_5_08_pure.csv", 1, late, 0),
        ("log_random_4_22_to_5_08_pure.csv", 2, rand, 1),
    ):
        row = f"{user},7531,20220410,2000,{time_ms},1,0,0,0,0,0,0,9000,12000,0,0,0,{is_rand},1\n"
        (data / name).write_text(KUAIRAND + row)
    (data / "user_features_pure.csv").write_text("user_id,user_active_degree\n0,full_active\n")
    (data / "video_features_basic_pure.csv").write_text("video_id,author_id\n7531,1\n")
    log, columns = opened(tmp_path / "KuaiRand-Pure", "kuairand")
    assert summary(columns) == [(0, 7531, "click", early), (1, 7531, "click", late), (2, 7531, "click", rand)]
    arrivals = concatenated(list(log.batches(kuairand.VOCABULARY)))
    assert arrivals.times_ms.tolist() == [early, late, rand]  # in the order of time, over all files
    assert "not read, as they are no log of this kind: data/user_features_pure.csv, data/video" in log.notes[-1]


def event(play: int, at_s: int, seconds: object, user: int, track: int, between: str = "\t") -> str:
    who = f'{{"subjects":[{{"type":"user","id":{user}}}], "objects":[{{"type":"track","id":{track}}}]}}'
    return f'event.play\t{play}\t{at_s}\t{{"playtime":{seconds}}}{between}{who}\n'


@pytest.mark.parametrize("between", ["\t", " "])
def test_30music_has_a_play_a_line(between, tmp_path):
    lines = [
        event(1, AT_S, 285, 44361, 9, between),
        event(2, AT_S + 9, 20, 44361, 8, between),
        event(3, AT_S + 99, -1, 5, 9),
    ]
    (tmp_path / "events.idomaar").write_text("".join([*lines, "event.play\t4\tsoon\n"]))
    (tmp_path / "love.idomaar").write_text('preference\t1\t-1\t{"value":"love"}\t{"subjects":[],"objects":[]}\n')
    log, columns = opened(tmp_path, "30music")
    assert summary(columns) == [
        (44361, 9, "listen", AT_S * 1000),
        (44361, 8, "play", AT_S * 1000 + 9000),
        (5, 9, "play", AT_S * 1000 + 99_000),
    ]
    assert columns.values.tolist()[:2] == [285, 20]
    assert log.skipped.total() == 1


def test_30musics_sessions_hold_plays_that_start_after_the_session(tmp_path):
    tracks = [
        {"type": "track", "id": 4698874, "playstart": 0, "playtime": 547, "playratio": 1.6, "action": "play"},
        {"type": "track", "id": 838286, "playstart": 547, "playtime": 2, "playratio": None, "action": "skip"},
    ]
    relations = json.dumps({"subjects": [{"type": "user", "id": 44361}], "objects": tracks}, separators=(",", ":"))
    line = f'event.session\t287144\t{AT_S}\t{{"numtracks":2,"playtime":549}} {relations}\n'
    (tmp_path / "sessions.idomaar").write_text(line)
    _, columns = opened(tmp_path / "sessions.idomaar", "30music")
    assert summary(columns) == [
        (44361, 4698874, "listen", AT_S * 1000),
        (44361, 838286, "play", AT_S * 1000 + 547_000),
    ]


def test_retailrocket(tmp_path):
    (tmp_path / "events.csv").write_text(
        "timestamp,visitorid,event,itemid,transactionid\n"
        "1433221332117,257597,view,355908,\n1433224214164,992329,addtocart,248676,\n"
        "1433222276276,599528,transaction,356475,4000\n"
    )
    (tmp_path / "category_tree.csv").write_text("categoryid,parentid\n1016,213\n")
    (tmp_path / "item_properties_part1.csv").write_text(
        "timestamp,itemid,property,value\n1435460400000,460429,categoryid,1338\n"
    )
    _, columns = opened(tmp_path, "retailrocket")
    assert summary(columns) == [
        (257597, 355908, "view", 1_433_221_332_117),
        (599528, 356475, "buy", 1_433_222_276_276),
        (992329, 248676, "cart", 1_433_224_214_164),
    ]


def test_lastfm_1k_has_no_heading_dates_and_tracks_without_an_id(tmp_path):
    artist, track = "f1b1cf71-bd35-4e99-8624-24a6e15f133a", "f7c1f8f8-b935-45ed-8fc8-7def69d92a10"
    rows = [
        ("user_000001", "2009-05-04T23:08:57Z", artist, "Deep Dish", "", "Fuck Me Im Famous (Pacha Ibiza)"),
        ("user_000001", "2009-05-04T13:54:10Z", artist, '"Quoted', track, "Composition 0919"),
        ("user_000002", "2009-05-04T13:52:04Z", "", "Someone\u2019s", track, 'Mc2 (Live_2009_4_15)"'),
    ]
    name = "userid-timestamp-artid-artname-traid-traname.tsv"
    (tmp_path / name).write_text("".join("\t".join(row) + "\r\n" for row in rows), encoding="utf-8", newline="")
    (tmp_path / "userid-profile.tsv").write_text(
        "#id\tgender\tage\tcountry\tregistered\nuser_000001\tm\t\tJapan\tAug 13, 2006\n"
    )
    log, columns = opened(tmp_path, "lastfm")
    assert summary(columns) == [
        ("user_000002", track, "play", 1_241_445_124_000),
        ("user_000001", track, "play", 1_241_445_250_000),
    ]
    assert log.skipped.total() == 1
    assert "userid-profile.tsv" in log.notes[-1]


REVIEWS = {
    "2014": {"reviewerID": "A2SUAM1J3GNN3B", "asin": "0000013714", "reviewerName": "J. M", "helpful": [2, 3],
             "reviewText": "I bought this", "overall": 5.0, "summary": "Heavenly", "unixReviewTime": 1252800000,
             "reviewTime": "09 13, 2009"},
    "2018": {"overall": 4.0, "vote": "2", "verified": True, "reviewTime": "01 1, 2018", "reviewerID": "AUI6WTTT0QZYS",
             "asin": "5120053084", "style": {"Size:": "Large"}, "reviewText": "I now", "unixReviewTime": 1514764800},
    "2023": {"rating": 1.0, "title": "No", "text": "Bad", "images": [], "asin": "B07PNNCSP9",
             "parent_asin": "B097R46CSY", "user_id": "AE2YHBHVTUKJHHNSF6GHA6PFLXNQ",
             "timestamp": 1588615855070, "helpful_vote": 0, "verified_purchase": True},
}  # fmt: skip
WANTED = {
    "2014": ("A2SUAM1J3GNN3B", "0000013714", "save", 1_252_800_000_000),
    "2018": ("AUI6WTTT0QZYS", 5120053084, "click", 1_514_764_800_000),
    "2023": ("AE2YHBHVTUKJHHNSF6GHA6PFLXNQ", "B097R46CSY", "hide", 1_588_615_855_070),
}


@pytest.mark.parametrize("year", REVIEWS)
@pytest.mark.parametrize("name", ["reviews.json.gz", "reviews.jsonl"])
def test_amazons_reviews_are_json_lines(year, name, tmp_path):
    data = (json.dumps(REVIEWS[year]) + "\n").encode()
    (tmp_path / name).write_bytes((gzip.compress if name.endswith("gz") else bytes)(data))
    log, columns = opened(tmp_path / name, "amazon")
    user, item, action, at_ms = WANTED[year]
    assert summary(columns) == [(user, str(item), action, at_ms)]
    assert not log.skipped


def test_amazons_ratings_of_2014_have_the_user_first_and_those_of_2018_the_item(tmp_path):
    (tmp_path / "2014.csv").write_text(
        "A3AF8FFZAZYNE5,0000000078,5.0,1092182400\nAH2L9G3DQHHAJ,B000000116,4.0,1019865600\n"
    )
    (tmp_path / "2018.csv").write_text(
        "0000000078,A3AF8FFZAZYNE5,5.0,1092182400\nB000000116,AH2L9G3DQHHAJ,4.0,1019865600\n"
    )
    both = [summary(opened(tmp_path / f"{year}.csv", "amazon")[1]) for year in (2014, 2018)]
    assert (
        both[0]
        == both[1]
        == [
            ("AH2L9G3DQHHAJ", "B000000116", "click", 1_019_865_600_000),
            ("A3AF8FFZAZYNE5", "0000000078", "save", 1_092_182_400_000),
        ]
    )


def test_amazons_ratings_of_2023_have_a_heading_and_ms(tmp_path):
    (tmp_path / "Books.csv").write_text(
        "user_id,parent_asin,rating,timestamp\nAFKZENTNBQ7A7V7UXW5JJI6UGRYQ,B097R46CSY,5.0,1588615855070\n"
    )
    _, columns = opened(tmp_path / "Books.csv", "amazon")
    assert summary(columns) == [("AFKZENTNBQ7A7V7UXW5JJI6UGRYQ", "B097R46CSY", "save", 1_588_615_855_070)]


def test_lines_of_a_public_log_that_are_no_json_are_counted(tmp_path):
    (tmp_path / "reviews.json").write_text(
        json.dumps(REVIEWS["2014"]) + "\n{'asin': 'python'}\n" + json.dumps(REVIEWS["2014"] | {"asin": 7}) + "\n"
    )
    log, columns = opened(tmp_path / "reviews.json", "amazon")
    assert columns.item_ids.tolist() == ["0000013714", "7"]
    assert log.skipped.total() == 1


def test_a_shops_log_as_rees46_publishes_it_is_told_by_its_names(tmp_path):
    (tmp_path / "2019-Oct.csv").write_text(
        "event_time,event_type,product_id,category_id,category_code,brand,price,user_id,user_session\n"
        "2019-10-01 00:00:00 UTC,view,44600062,2103807459595387724,,shiseido,35.79,541312140,72d76fde-8bb3-4e00-8c23\n"
        "2019-10-01 00:00:05 UTC,cart,3900821,2053013552326770905,appliances.water,aqua,33.20,554748717,9333dfbd-b87a\n"
    )
    log, columns = opened(tmp_path, "events")
    assert summary(columns) == [
        (541312140, 44600062, "view", 1_569_888_000_000),
        (554748717, 3900821, "cart", 1_569_888_005_000),
    ]
    assert "item_id is product_id, action is event_type, timestamp_ms is event_time" in log.notes[0]


def test_uci_online_retail_is_told_by_its_names_and_an_action_for_all(tmp_path):
    (tmp_path / "retail.csv").write_bytes(
        "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country\n"
        "536365,85123A,\xa3 HOLDER,6,2010-12-01 08:26:00,2.55,17850,United Kingdom\n".encode("latin-1")
    )
    with pytest.raises(LogError, match=r"has no column action; .* --set action=view"):
        open_log(tmp_path / "retail.csv")
    log = read_log(open_log(tmp_path / "retail.csv", LogOptions(constants={"action": "buy"})))
    assert summary(log) == [(17850, "85123A", "buy", 1_291_191_960_000)]


def test_a_folder_of_several_files_of_one_kind_is_one_log_but_a_published_name_is_the_whole(tmp_path):
    for name in ("part-0.csv", "part-1.csv"):
        (tmp_path / name).write_text(f"user_id,item_id,rating,timestamp\n1,{name[5]},5,881250949\n")
    assert len(opened(tmp_path, "movielens")[1]) == 2
    (tmp_path / "u.data").write_text("196\t242\t3\t881250949\n")
    log, columns = opened(tmp_path, "movielens")
    assert columns.item_ids.tolist() == [242]
    assert "read u.data; not read, as they are no log of this kind: part-0.csv, part-1.csv" in log.notes[-1]


def test_a_log_with_actions_is_no_ratings_log(tmp_path):
    (tmp_path / "log.csv").write_text("user_id,item_id,action,rating,timestamp\n1,2,click,5,881250949\n")
    assert summary(opened(tmp_path, "events")[1]) == [(1, 2, "click", 881_250_949_000)]


def test_a_kind_that_is_said_is_held_to(tmp_path):
    (tmp_path / "log.csv").write_text("user_id,item_id,rating,timestamp\n1,2,5,881250949\n")
    with pytest.raises(LogError, match="is no taobao: it has no column behavior; it has user_id, item_id, rating"):
        open_log(tmp_path / "log.csv", LogOptions(kind="taobao"))
    with pytest.raises(LogError, match="has no column action"):
        open_log(tmp_path / "log.csv", LogOptions(kind="events"))
    with pytest.raises(LogError, match="the format 'movies' is not known; it is one of "):
        open_log(tmp_path / "log.csv", LogOptions(kind="movies"))


def test_a_time_unit_that_is_said_of_a_public_log_is_used(tmp_path):
    (tmp_path / "log.csv").write_text("user_id,item_id,behavior,timestamp\n1,2,pv,1511544070000\n")
    log = read_log(open_log(tmp_path / "log.csv", LogOptions(time_unit="ms")))
    assert summary(log) == [(1, 2, "view", 1_511_544_070_000)]


def test_a_public_log_is_described_in_one_file_and_known_to_the_command_line():
    from rankstream.cli.options.logs import FORMATS

    assert set(FORMATS) == {*PUBLIC, "events"}
    assert set(PUBLIC) >= {"movielens", "kuairand", "taobao", "30music", "amazon", "lastfm", "retailrocket"}


MIND = (
    "7\tU13\t11/11/2019 9:05:58 PM\tN1 N2 N1\tN4-0 N5-1 N6-0\n"
    "9\tU8\t11/12/2019 12:00:01 AM\t\tN4-1 N5-1\n"
    "12\tU13\t11/13/2019 12:30:00 PM\tN1 N2 N1\tN7-0 N4-0\n"
)


def test_minds_rows_are_lists_and_clicks_and_a_users_history_comes_once_and_before(tmp_path):
    (tmp_path / "behaviors.tsv").write_text(MIND)
    log, columns = opened(tmp_path / "behaviors.tsv", "mind")
    at_ms = 1_573_506_358_000  # 2019-11-11 21:05:58 UTC
    four_weeks_ms = 28 * 86_400_000
    assert summary(columns) == [
        ("U13", "N1", "click", mind.HISTORY_FROM_MS + four_weeks_ms // 4),
        ("U13", "N2", "click", mind.HISTORY_FROM_MS + four_weeks_ms // 2),
        ("U13", "N1", "click", mind.HISTORY_FROM_MS + four_weeks_ms * 3 // 4),
        ("U13", "N5", "click", at_ms),
        ("U8", "N4", "click", at_ms + 10_443_000),
        ("U8", "N5", "click", at_ms + 10_443_000),
    ]
    assert columns.vocabulary.actions == ("click",)
    lists = columns.impressions
    assert lists is not None
    assert lists.times_ms.tolist() == [at_ms, at_ms + 10_443_000, 1_573_648_200_000]
    assert log.notes[0].endswith(
        "is read as mind, with its actions click and its lists as shown; --format events says otherwise"
    )
    assert kind_of(log, columns).exposures


def test_minds_lists_without_clicks_are_not_read_as_mind(tmp_path):
    """Those of the test set: taken for MIND's they would be lists of which nothing was clicked."""
    (tmp_path / "behaviors.tsv").write_text(MIND.replace("-0", "").replace("-1", ""))
    with pytest.raises(LogError, match="has no heading"):
        open_log(tmp_path / "behaviors.tsv")


def test_mind_says_itself_what_was_shown(tmp_path):
    for name in ("behaviors.tsv", "more.tsv"):
        (tmp_path / name).write_text(MIND)
    with pytest.raises(LogError, match="read as mind, which says itself what was shown; leave out --impressions"):
        open_log(tmp_path / "behaviors.tsv", LogOptions(impressions=tmp_path / "more.tsv"))


def test_a_day_of_mind_that_is_none_is_told(tmp_path):
    (tmp_path / "behaviors.tsv").write_text(MIND.replace("11/13/2019 12:30", "11/31/2019 12:30"))
    with pytest.raises(LogError, match="column time holds 11/31/2019 12:30:00 PM, a day that is none"):
        read_log(open_log(tmp_path / "behaviors.tsv"), strict=False)
