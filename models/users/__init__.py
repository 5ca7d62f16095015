"""User vectors: PinnerFormer, its labels, training, export and batch refresh."""
