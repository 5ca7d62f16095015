"""PinnerFormer and HierTCN on 30Music."""
