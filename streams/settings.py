"""Every setting of workers and tools once: its default, its unit, its limits and why one would change it.

A value comes from the first source that has one: a flag (``--commit-interval-s 2``), the environment
(``RANKSTREAM_COMMIT_INTERVAL_S=2``), a file (``commit_interval_s = 2`` in ``rankstream.toml`` or the file that
``--config`` or ``RANKSTREAM_CONFIG`` names), the default. The command line's options and
``docs/configuration.md`` are made from the fields below; ``streams/setting_fields.py`` has the rules.
"""
# ruff: noqa: RUF009 - setting() gives a dataclass field, nothing that fields could share

import re
from collections.abc import Iterable, Mapping
from dataclasses import Field, dataclass, fields
from enum import Enum
from pathlib import Path
from typing import Any

from rankstream.ranking.backends.scorers import AUTO as AUTO_SCORER
from rankstream.ranking.backends.scorers import ONNXRUNTIME, SCORERS
from rankstream.ranking.popularity import EVER, LAST_WEEK, WINDOWS
from rankstream.ranking.retrieval_mix import BY_ALL, BY_CATEGORY
from rankstream.streams.kafka_options import HANDED_ON, options_in, text_of
from rankstream.streams.setting_fields import Origins, SettingsError, about, check_value, find_values, setting, variable
from rankstream.streams.tracing import OFF

SERVER = re.compile(r"\s*(\[[0-9a-fA-F:.]+\]|[^\s:,/]+):\d{1,5}\s*")
OAUTH, GSSAPI = "OAUTHBEARER", "GSSAPI"
PREFIX = re.compile(r"[a-zA-Z0-9._-]{0,100}")
AT_ONCE, TRANSACTIONAL = "at-once", "transactional"
VALUE_FORMATS = (JSON, AVRO, PROTOBUF) = ("json", "avro", "protobuf")
REGISTRY = re.compile(r"\s*https?://[^\s/@,?#]+(/[^\s@,?#]*)?\s*")
TEXT_OF_HEADER = re.compile(r"[\x21-\x7e]+")
AUTO, PLAIN, COMPILED = ENGINES = ("auto", "plain", "compiled")


class Section(Enum):
    """What a setting is about; commands offer the sections that they read."""

    CONNECTION = "Connection"
    SECURITY = "Security"
    TOPICS = "Topics"
    GROUP = "Consumer group"
    STATE = "State"
    RANKING = "Ranking"
    OPERATION = "Operation"


@dataclass(frozen=True)
class Settings:
    """What a worker, a client or a tool needs to know; immutable, checked when made."""

    bootstrap_servers: str = setting(
        "127.0.0.1:9092", Section.CONNECTION, "Kafka brokers to start from: host:port, several with commas."
    )
    topic_prefix: str = setting(
        "", Section.CONNECTION, "Prefix of the name of every topic, so that several systems can share a cluster."
    )
    kafka: str = setting(
        "",
        Section.CONNECTION,
        "Options that are handed on to the client libraries under their names: name=value, several with commas; in the "
        f"file a table [kafka]. Those are {', '.join(HANDED_ON)}; others are refused, with the setting that says the "
        "same where there is one.",
        as_text=text_of,
    )
    value_format: str = setting(
        JSON,
        Section.CONNECTION,
        "What producers write to user-actions, ranking-requests, impressions and item-updates: JSON, or Avro or "
        "Protobuf framed with the id of a schema in schema_registry. JSON is read with each of them, by a record's "
        "first byte, so a topic may change over while workers run; what is written is JSON.",
        choices=VALUE_FORMATS,
    )
    schema_registry: str = setting(
        "",
        Section.CONNECTION,
        "URL of a Confluent-compatible schema registry, several of one with commas, which the schemas of framed values "
        "come from.",
    )
    security_protocol: str = setting(
        "PLAINTEXT",
        Section.SECURITY,
        "How to speak to the brokers.",
        choices=("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"),
    )
    sasl_mechanism: str = setting(
        "SCRAM-SHA-512",
        Section.SECURITY,
        "How to log in where security_protocol begins with SASL.",
        choices=("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", OAUTH, GSSAPI),
    )
    sasl_username: str | None = setting(None, Section.SECURITY, "Name to log in with.")
    sasl_password: str | None = setting(
        None, Section.SECURITY, "Password to log in with; by environment or file only.", secret=True
    )
    sasl_oauth_token: str | None = setting(
        None,
        Section.SECURITY,
        "Of OAUTHBEARER: module:function, a function without arguments that returns a valid token; called whenever a "
        "connection is made, so it should keep a token until that is about to expire.",
    )
    sasl_kerberos_service_name: str = setting(
        "kafka", Section.SECURITY, "Of GSSAPI: the first part of the brokers' Kerberos principal, kafka/host@REALM."
    )
    sasl_kerberos_domain_name: str | None = setting(
        None,
        Section.SECURITY,
        "Of GSSAPI: the host name in that principal, where it is not the one that a broker is reached by.",
    )
    ssl_cafile: Path | None = setting(
        None, Section.SECURITY, "PEM file of the authorities to trust; the system's own if not given."
    )
    ssl_certfile: Path | None = setting(
        None, Section.SECURITY, "PEM file of the client's own certificate, where the brokers ask for one (mTLS)."
    )
    ssl_keyfile: Path | None = setting(
        None, Section.SECURITY, "PEM file of its key; not given where ssl_certfile holds both."
    )
    ssl_key_password: str | None = setting(
        None, Section.SECURITY, "Password of that key; by environment or file only.", secret=True
    )
    schema_registry_user: str | None = setting(None, Section.SECURITY, "Name to log in to the schema registry with.")
    schema_registry_password: str | None = setting(
        None, Section.SECURITY, "Password to log in to it with; by environment or file only.", secret=True
    )
    schema_registry_token: str | None = setting(
        None, Section.SECURITY, "Bearer token to show it instead; by environment or file only.", secret=True
    )
    schema_registry_cafile: Path | None = setting(
        None, Section.SECURITY, "PEM file of the authorities to trust with it; the system's own if not given."
    )
    partitions: int = setting(
        8,
        Section.TOPICS,
        "Partitions of topics that are created: at most as many workers can share the work. Keep it: users would "
        "land on other partitions than their state.",
        minimum=1,
        maximum=10_000,
    )
    replication_factor: int = setting(
        1, Section.TOPICS, "Copies of topics that are created; 3 in production.", minimum=1, maximum=32_767
    )
    create_topics: bool = setting(
        True, Section.TOPICS, "Create missing topics at the start; otherwise stop and name them."
    )
    partitioner: str = setting(
        "murmur2",
        Section.TOPICS,
        "How producers choose partitions. A record that lies elsewhere than Kafka's own partitioner would have sent it "
        "becomes a dead letter, as another worker knows its user; `any` takes records wherever they lie, for producers "
        "that send all records of a user, actions and requests, to one partition by another rule.",
        choices=("murmur2", "any"),
    )
    served_features: bool = setting(
        False,
        Section.TOPICS,
        "Write beside each feed what it was made from to the topic served-features, for `rankstream verify` and "
        "`rankstream explain`.",
    )
    feed_delivery: str = setting(
        AT_ONCE,
        Section.TOPICS,
        "How feeds and served-features are written: at once, where a kill may repeat some, or in a transaction every "
        "100 ms with the offset of their requests, so that consumers that read committed records see each answer "
        "exactly once.",
        choices=(AT_ONCE, TRANSACTIONAL),
    )
    app_id: str = setting("rankstream", Section.GROUP, "Consumer group; all workers of one system share it.")
    group_instance_id: str | None = setting(
        None,
        Section.GROUP,
        "Static membership: a name that this worker keeps over restarts and no other has. A killed worker that comes "
        "back with it has its partitions at once instead of after session_timeout_s.",
    )
    session_timeout_s: float = setting(
        10.0,
        Section.GROUP,
        "After so long without a heartbeat a worker counts as dead and others take its partitions.",
        unit="s",
        minimum=1,
        maximum=1800,
    )
    heartbeat_interval_s: float = setting(
        2.0, Section.GROUP, "Time between heartbeats; at most a third of session_timeout_s.", unit="s", minimum=0.1
    )
    fetch_max_wait_ms: int = setting(
        50,
        Section.GROUP,
        "The longest that a broker waits with a fetch while there are no records. Long waits for idle partitions delay "
        "busy ones.",
        unit="ms",
        minimum=1,
        maximum=30_000,
    )
    fetch_pace_ms: float = setting(
        3.0,
        Section.GROUP,
        "Time between the starts of two fetches from one broker, at least: each costs about a millisecond of CPU, "
        "however little it brings. While actions come more often than that, a broker keeps them for as long, unless "
        "512 bytes are there, as with a request of a hundred candidates. 0: as quickly as it can. While requests are "
        "shed it is up to 25.",
        unit="ms",
        minimum=0,
        maximum=50,
    )
    state_dir: Path = setting(
        Path("rankstream-state"), Section.STATE, "Folder of the users' states, one database a partition."
    )
    changelog: bool = setting(
        True,
        Section.STATE,
        "Write states to the compacted changelog topic too, so that a lost or moved partition can be restored.",
    )
    commit_interval_s: float = setting(
        1.0,
        Section.STATE,
        "Time between checkpoints: after a kill at most that much work is done, and answered, again.",
        unit="s",
        minimum=0.05,
        maximum=60,
    )
    restore_deadline_s: float = setting(
        600.0, Section.STATE, "A restore that takes longer ends the worker with a message.", unit="s", minimum=1
    )
    cached_users: int = setting(
        100_000,
        Section.STATE,
        "Users whose states a worker keeps in memory after a checkpoint, of all its partitions together; up to 2 KB "
        "each.",
        unit="users",
        minimum=1_000,
        maximum=10_000_000,
    )
    history_limit: int = setting(
        100, Section.STATE, "Newest actions kept of a user; at least what the model sees.", minimum=1, maximum=255
    )
    forget_after_days: float = setting(
        0.0,
        Section.STATE,
        "A user without an action for so long is forgotten, by the times of the log; 0 forgets nobody for that. "
        "`verify`, `explain` and `replay` need the value that workers have.",
        unit="days",
        minimum=0,
        maximum=36_500,
    )
    bundle: Path = setting(Path("bundle"), Section.RANKING, "Folder of the model bundle to serve.")
    trusted_keys: Path | None = setting(
        None,
        Section.RANKING,
        "File of public keys, or folder of such files, of `rankstream bundle keygen`: bundles that none of them has "
        "signed are refused. Not given, any bundle that verifies is served.",
    )
    user_vectors: Path | None = setting(
        None,
        Section.RANKING,
        "Folder of the batch user vectors that `rankstream embed` publishes; without it all are zero.",
    )
    item_counts: Path | None = setting(
        None,
        Section.RANKING,
        "Folder of the item counts that `rankstream count` or `rankstream embed` publishes; without it they stay those "
        "of the training.",
    )
    interests: Path | None = setting(
        None,
        Section.RANKING,
        "Folder of the users' interests that `rankstream embed --interests-to` publishes: requests with a limit are "
        "then answered with what is near to each of them, too.",
    )
    graph: Path | None = setting(
        None,
        Section.RANKING,
        "Folder of the graph of items and boards that `rankstream graph build` publishes: requests with a limit are "
        "then answered with what walks on it find, too.",
    )
    catalogue: Path | None = setting(
        None,
        Section.RANKING,
        "Folder of the catalogue that `rankstream catalogue` publishes: requests with a limit are then answered with "
        "what is in it, new and popular items among them. Without it nothing is new or gone, and filters are refused.",
    )
    new_share: float = setting(
        0.1,
        Section.RANKING,
        "With a catalogue: the share of the candidates that are new items, sampled by the request.",
        minimum=0,
        maximum=0.9,
    )
    new_days: float = setting(
        14.0, Section.RANKING, "How young an item is that counts as new.", unit="days", minimum=0.001, maximum=36_500
    )
    popular_share: float = setting(
        0.05,
        Section.RANKING,
        "With a catalogue: the share of the candidates that are the items most was done to in the last days.",
        minimum=0,
        maximum=0.9,
    )
    popular_window: str = setting(
        LAST_WEEK,
        Section.RANKING,
        "In which days, before the item counts end, most was done to what counts as popular; of equally many, ever.",
        choices=(*WINDOWS, EVER),
    )
    popular_by: str = setting(
        BY_ALL,
        Section.RANKING,
        "Whose popular items a user is proposed: those of all, or first those of the category that most of the user's "
        "positive feedback is on, the widest in the catalogue.",
        choices=(BY_ALL, BY_CATEGORY),
    )
    exclude_seen: bool = setting(
        True,
        Section.RANKING,
        "Propose nothing that the user's known actions are on. Switch it off where people come back to the same items.",
    )
    item_vectors: Path | None = setting(
        None,
        Section.RANKING,
        "Folder of the item vectors that `rankstream embed` and `rankstream vectors import` publish, so that new items "
        "are found and ranked; without it they stay those of the training.",
    )
    exploration: str = setting(
        "off",
        Section.RANKING,
        "Exploration policy: plackett-luce samples the order, items of higher score more often first; epsilon-greedy "
        "fills a position with any item now and then. Feeds then carry the propensity of each position, which "
        "`rankstream off-policy` needs.",
        choices=("off", "plackett-luce", "epsilon-greedy"),
    )
    exploration_temperature: float = setting(
        0.1,
        Section.RANKING,
        "Of plackett-luce, in units of the spread of a request's scores (a standard deviation that outliers don't "
        "move): an item whose score is higher by this share of it is ranked first e (2.7) times as often. 0.1 explores "
        "a little on any bundle.",
        minimum=1e-4,
        maximum=1e4,
    )
    exploration_epsilon: float = setting(
        0.1,
        Section.RANKING,
        "Of epsilon-greedy: the share of positions that are filled with any item.",
        minimum=1e-4,
        maximum=1,
    )
    exploration_seed: int = setting(
        0,
        Section.RANKING,
        "Seeds the generator, with the user and the request: the same request gets the same feed, live and in replay.",
        minimum=0,
    )
    variant: Path | None = setting(
        None,
        Section.RANKING,
        "Bundle, or folder of bundles, that serves a share of the users in place of the other: an experiment. Feeds "
        "name their variant, control or treatment, and `rankstream monitor` compares the two.",
    )
    variant_share: float = setting(
        0.5, Section.RANKING, "Share of the users that `variant` serves, by a hash of their id.", minimum=0, maximum=1
    )
    variant_salt: str = setting(
        "", Section.RANKING, "Goes into that hash: another experiment, another salt, and users are assigned anew."
    )
    scorer: str = setting(
        ONNXRUNTIME,
        Section.RANKING,
        "What runs the model's graphs: onnxruntime or openvino in float32, openvino-bf16 on processors with bf16 "
        "instructions, openvino-int8 with large weights as 8-bit integers (pip install 'rankstream[openvino]'), "
        "cuda and cuda-bf16 on a CUDA card (pip install 'rankstream[cuda]'; never run on one so far). Each "
        "must give the bundle's golden outputs within its bound. auto takes openvino-bf16 where it does and is at "
        "least 1.1 times as fast as onnxruntime when the bundle is opened, else onnxruntime.",
        choices=(AUTO_SCORER, *SCORERS),
    )
    scoring_threads: int = setting(
        1,
        Section.RANKING,
        "Threads that score requests, beside the one that applies actions. With 1 that one also scores requests itself "
        "while few wait and they are quick, 5 ms together.",
        minimum=1,
        maximum=256,
    )
    max_pending_requests: int = setting(
        1000, Section.RANKING, "Requests that may wait for scoring; beyond it, reading of more pauses.", minimum=1
    )
    answer_within_ms: int = setting(
        500,
        Section.RANKING,
        "Under overload: of the requests that wait, those that can't be ranked within about this time are answered by "
        "popularity at once, marked `fallback`. 0 ranks all, in the order in which they came, however late.",
        unit="ms",
        minimum=0,
        maximum=3_600_000,
    )
    chunk_size: int = setting(
        2000,
        Section.OPERATION,
        "Most records of one partition applied at once: more is faster, fewer shortens the wait of a request behind "
        "them.",
        unit="records",
        minimum=1,
        maximum=100_000,
    )
    engine: str = setting(
        AUTO,
        Section.OPERATION,
        "What applies actions and joins requests: `plain` Python, or the same `compiled` to machine code by numba (the "
        "extra `fast`), with the same results to the byte, several times as fast and 150 MB larger; `auto` is compiled "
        "where numba is installed.",
        choices=ENGINES,
    )
    web_port: int = setting(
        0,
        Section.OPERATION,
        "Port of the worker's pages, `/metrics`, `/live`, `/ready` and others, or of those of `rankstream count`; 0 "
        "for none.",
        minimum=0,
        maximum=65_535,
    )
    web_host: str = setting(
        "127.0.0.1",
        Section.OPERATION,
        "Address that the pages listen on: they have no login, so others than this machine are let in only if told so, "
        "as by 0.0.0.0.",
    )
    log_level: str = setting(
        "INFO",
        Section.OPERATION,
        "Least important messages to log. Faust and the Kafka clients tell each step only at DEBUG.",
        choices=("DEBUG", "INFO", "WARNING", "ERROR"),
    )
    log_format: str = setting(
        "text",
        Section.OPERATION,
        "How a record is logged, one line each: as text for people, or as JSON for machines.",
        choices=("text", "json"),
    )
    traces: str = setting(
        OFF,
        Section.OPERATION,
        "Whether requests are traced: `otlp` sends spans of OpenTelemetry by OTLP over HTTP (the extra `otel`). The "
        "collector, the sampling and the service's name are set by OpenTelemetry's own variables, as "
        "OTEL_EXPORTER_OTLP_ENDPOINT.",
        choices=(OFF, "otlp"),
    )

    @property
    def forget_after_ms(self) -> int:
        """Return after how long without an action a user is forgotten; 0 for never."""
        return int(self.forget_after_days * 86_400_000)

    def __post_init__(self) -> None:
        for known in fields(self):
            check_value(known, getattr(self, known.name), known.name)
            _check(known, getattr(self, known.name), known.name)
        if self.heartbeat_interval_s * 3 > self.session_timeout_s:
            raise SettingsError(
                f"heartbeat_interval_s is {self.heartbeat_interval_s:g} and session_timeout_s "
                f"{self.session_timeout_s:g}; a session must last at least three heartbeats"
            )
        if self.new_share + self.popular_share >= 1:
            raise SettingsError(
                f"new_share is {self.new_share:g} and popular_share {self.popular_share:g}; wanted less than 1 "
                "together, as the rest is found by what the user did"
            )
        by_token = self.sasl_mechanism == OAUTH
        if self.security_protocol.startswith("SASL") and by_token and not self.sasl_oauth_token:
            raise SettingsError(
                f"sasl_mechanism is {OAUTH}, which needs sasl_oauth_token, the module:function that returns a token"
            )
        with_password = self.security_protocol.startswith("SASL") and self.sasl_mechanism not in (OAUTH, GSSAPI)
        if with_password and not (self.sasl_username and self.sasl_password):
            raise SettingsError(
                f"security_protocol is {self.security_protocol}, which needs sasl_username and sasl_password "
                f"(the password in the environment variable {variable('sasl_password')} or in the file)"
            )
        self._check_registry()
        if self.ssl_keyfile is not None and self.ssl_certfile is None:
            raise SettingsError(f"ssl_keyfile is {self.ssl_keyfile}, but there is no ssl_certfile that it belongs to")
        if self.ssl_certfile is not None and not self.security_protocol.endswith("SSL"):
            raise SettingsError(
                f"ssl_certfile is {self.ssl_certfile}, but security_protocol is {self.security_protocol}, which shows "
                "no certificate; wanted SSL or SASL_SSL"
            )

    def _check_registry(self) -> None:
        if self.value_format != JSON and not self.schema_registry:
            raise SettingsError(
                f"value_format is {self.value_format}, which needs schema_registry, the URL that the schemas come from"
            )
        if self.schema_registry and bool(self.schema_registry_user) != bool(self.schema_registry_password):
            raise SettingsError(
                "one of schema_registry_user and schema_registry_password is given; wanted both (the password in the "
                f"environment variable {variable('schema_registry_password')} or in the file)"
            )
        if self.schema_registry_user and self.schema_registry_token:
            raise SettingsError("schema_registry_user and schema_registry_token are given; wanted one way to log in")
        if self.schema_registry_token and not TEXT_OF_HEADER.fullmatch(self.schema_registry_token):
            raise SettingsError(
                "schema_registry_token holds a space, a line's end or what is not ASCII; wanted a token"
            )


def in_sections(sections: Iterable[Section]) -> list["Field[Any]"]:
    """Return the fields of these sections, in the order of ``Settings``."""
    wanted = set(sections)
    return [known for known in fields(Settings) if about(known).section in wanted]


def read_settings(
    flags: Mapping[str, object] | None = None,
    environment: Mapping[str, str] | None = None,
    file: Path | None = None,
) -> Settings:
    """Read all settings. Raises ``SettingsError``, which names the source of the value that is wrong."""
    return read_origins(flags, environment, file).settings


def read_origins(
    flags: Mapping[str, object] | None = None,
    environment: Mapping[str, str] | None = None,
    file: Path | None = None,
) -> Origins[Settings]:
    """Read all settings, with their sources; a flag of ``None`` and an empty variable are not given."""
    return find_values(Settings, flags, environment, file, check=_check)


def _check(known: "Field[Any]", value: object, source: str) -> None:
    if known.name == "bootstrap_servers" and not all(SERVER.fullmatch(one) for one in str(value).split(",")):
        raise SettingsError(f"{source} is {value!r}; wanted host:port, several with commas between")
    if known.name == "topic_prefix" and not PREFIX.fullmatch(str(value)):
        raise SettingsError(f"{source} is {value!r}; Kafka's topics have letters, digits, . _ and - only")
    if known.name == "schema_registry" and value and not all(map(REGISTRY.fullmatch, str(value).split(","))):
        raise SettingsError(
            f"{source} is no URL as https://registry:8081, several with commas between; a name and a password go to "
            "schema_registry_user and schema_registry_password"
        )  # it is not shown, as it may hold them
    if known.name == "kafka":
        options_in(str(value), source)
    if known.name == "app_id" and not value:
        raise SettingsError(f"{source} is empty; wanted the name of the consumer group")
