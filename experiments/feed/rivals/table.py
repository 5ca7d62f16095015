"""The rivals of the command line, and the parts that may be left out, in the order of the tables' rows."""

from rankstream.experiments.feed.product import RANKS
from rankstream.experiments.feed.rivals import ablations, never, sequences, trees, vmis
from rankstream.experiments.feed.rivals.base import Rival

RIVALS = {
    "never": Rival("default, no realtime actions", never.rank),
    "lightgbm": Rival("LightGBM", trees.rank),
    "sasrec": Rival("SASRec", sequences.rank_sasrec),
    "gru4rec": Rival("GRU4Rec", sequences.rank_gru4rec),
    "vmis-tuned": Rival("VMIS-kNN, tuned", vmis.rank),
}
ABLATIONS = ablations.ROWS  # of the default itself, each without a part
MAKES_RIVALS = (
    *RANKS,
    *(f"experiments/{name}" for name in ("feed/rivals", "feed/replayed.py", "feed/task.py", "movielens/next_item.py")),
)
