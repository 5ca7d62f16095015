"""The feed of the default training against the baselines that people would use instead, over several logs."""
