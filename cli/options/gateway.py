"""The flags of `rankstream gateway`: its own settings, and those of the connection that it shares with all clients."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path

from rankstream.cli.options.settings import CONNECTED
from rankstream.gateway.settings import GatewaySettings, read_gateway_settings
from rankstream.streams.setting_fields import about
from rankstream.streams.settings import Section, Settings, in_sections, read_settings

SHARED = (
    "fetch_max_wait_ms", "log_level", "log_format", "traces",
    "bundle", "user_vectors", "item_counts", "state_dir", "history_limit", "forget_after_days",  # with --worker
    "scorer", "scoring_threads", "variant", "variant_share", "variant_salt",
)  # fmt: skip
STREAM_FIELDS = [
    *in_sections(CONNECTED),
    *(known for known in in_sections(Section) if known.name in SHARED),
]
GATEWAY_FIELDS = [known for known in [*fields(GatewaySettings), *STREAM_FIELDS] if not about(known).secret]


@dataclass(frozen=True)
class BothSettings:
    """What a gateway reads."""

    stream: Settings
    gateway: GatewaySettings


def read_both(flags: Mapping[str, object], file: Path | None) -> BothSettings:
    """Read all settings; each flag is of one of the two, as no name is in both."""
    return BothSettings(read_settings(flags, file=file), read_gateway_settings(flags, file))
