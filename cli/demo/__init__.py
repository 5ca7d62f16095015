"""``rankstream demo``: the main job on real data, from the raw log to a report, on one machine."""
